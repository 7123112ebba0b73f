//! The entrypoint as it is in a container: static, in a root file system of its own, below `/tekton`. Needs root (for
//! chroot) and Debian's busybox-static.

mod process;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use process::{eventually, kill};

/// How `cargo x` builds the program for containers.
const FLAGS: &str = "-C target-feature=+crt-static -C strip=symbols -C relocation-model=static";
const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];

/// The static program, built once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let rustc = Command::new("rustc").arg("-vV").output().unwrap();
        let text = String::from_utf8(rustc.stdout).unwrap();
        let triple = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let target = Path::new(env!("CARGO_BIN_EXE_entrypoint")).ancestors().nth(2).unwrap().join("static");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "entrypoint", "--target", triple, "--target-dir"]);
        let built = build.arg(&target).env("RUSTFLAGS", FLAGS).status().unwrap();
        assert!(built.success(), "the static entrypoint cannot be built");
        target.join(triple).join("debug/entrypoint")
    })
}

/// A root file system for the steps of one pod.
struct Root {
    dir: tempfile::TempDir,
    user: &'static str,
    env: Vec<(&'static str, String)>,
}

impl Root {
    /// Nothing but the program and the folders that every step has.
    fn scratch() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = Self { dir, user: "0:0", env: Vec::new() };
        for folder in
            ["run/0/status", "run/1/status", "results", "steps", "scripts", "artifacts", "downward", "creds"]
        {
            fs::create_dir_all(root.path(&format!("tekton/{folder}"))).unwrap();
        }
        for folder in [
            "run",
            "run/0",
            "run/1",
            "run/0/status",
            "run/1/status",
            "results",
            "steps",
            "creds",
            "artifacts",
        ] {
            let folder = root.path(&format!("tekton/{folder}"));
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::copy(program(), root.path("entrypoint")).unwrap();
        root.file("tekton/termination", "");
        fs::set_permissions(root.path("tekton/termination"), fs::Permissions::from_mode(0o666)).unwrap();
        root
    }

    /// With a shell and its friends.
    fn shell() -> Self {
        let root = Self::scratch();
        for folder in ["bin", "dev"] {
            fs::create_dir_all(root.path(folder)).unwrap();
        }
        // Shells give it to what they start in the background.
        root.file("dev/null", "");
        let busybox = BUSYBOX.iter().find(|path| Path::new(path).exists());
        let busybox = busybox.expect("busybox is needed: apt-get install busybox-static (cargo verify does)");
        fs::copy(busybox, root.path("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "echo", "env", "sleep", "printf", "true", "false", "kill", "touch", "id"]
        {
            symlink("/bin/busybox", root.path(&format!("bin/{applet}"))).unwrap();
        }
        root
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A result that an earlier step has left.
    fn result_of_step(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("tekton/run/0/status/results")).unwrap();
        self.file(&format!("tekton/run/0/status/results/{name}"), text);
        // Made by the first result; outside of the root it leads nowhere.
        let _ = symlink("/tekton/run/0/status", self.path("tekton/steps/step-first"));
    }

    fn words(&self, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={}", self.user)).arg(self.dir.path()).arg("/entrypoint").args(words);
        command.env_clear().env("PATH", "/bin:/usr/sbin:/usr/bin:/sbin").envs(self.env.iter().cloned());
        command.stdin(Stdio::null());
        command
    }

    /// The second step of a pod.
    fn step(&self, flags: &[&str], program: &[&str]) -> Command {
        let mut words = vec!["-post_file", "/tekton/run/1/out", "-step_metadata_dir", "/tekton/run/1/status"];
        words.extend(flags);
        if let Some((name, arguments)) = program.split_first() {
            words.extend(["-entrypoint", name, "--"]);
            words.extend(arguments);
        }
        self.words(&words)
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> Output {
        self.step(flags, program).output().unwrap()
    }

    fn spawn(&self, flags: &[&str], program: &[&str]) -> Child {
        self.step(flags, program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn entries(&self) -> Vec<Value> {
        serde_json::from_str(&self.text("tekton/termination")).unwrap()
    }

    fn entry(&self, key: &str) -> Option<String> {
        self.entries().iter().find(|e| e["key"] == key).and_then(|e| e["value"].as_str().map(str::to_owned))
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_empty_image_and_any_user_are_enough() {
    let mut root = Root::scratch();
    root.user = "65532:4711";
    root.file("tekton/scripts/s", "ZWNobyBoaQo=");
    fs::set_permissions(root.path("tekton/scripts/s"), fs::Permissions::from_mode(0o666)).unwrap();
    let output = root.run(&[], &["/entrypoint", "decode-script", "/tekton/scripts/s"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(root.text("tekton/scripts/s"), "echo hi\n");
    assert!(root.has("tekton/run/1/out") && root.has("tekton/run/1/status/results"));
    let output = root.run(&[], &["no-such-program"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no-such-program"), "{}", said(&output));
}

#[test]
fn init_copies_the_program_and_links_the_steps() {
    let root = Root::scratch();
    fs::create_dir_all(root.path("tekton/bin")).unwrap();
    let output =
        root.words(&["init", "/entrypoint", "/tekton/bin/entrypoint", "step-a", "step-b"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let mode = fs::metadata(root.path("tekton/bin/entrypoint")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o311);
    for (link, target) in [("step-a", "0"), ("0", "0"), ("step-b", "1"), ("1", "1")] {
        let read = fs::read_link(root.path(&format!("tekton/steps/{link}"))).unwrap();
        assert_eq!(read, PathBuf::from(format!("/tekton/run/{target}/status")));
    }
    let other = Root::scratch();
    assert!(other.words(&["step-init", "step-a"]).output().unwrap().status.success());
    assert!(fs::read_link(other.path("tekton/steps/step-a")).is_ok());
}

#[test]
fn results_are_told_whatever_the_outcome_and_behind_what_stands_there() {
    let root = Root::shell();
    root.file("tekton/termination", r#"[{"key":"there","value":"already","type":3}]"#);
    let script =
        "printf 'two\\nlines\\n' >/tekton/results/r; printf own >/tekton/run/1/status/results/s; exit 3";
    let output =
        root.run(&["-results", "r,missing", "-step_results", "s,also-missing"], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let of = |key: &str| root.entries().into_iter().find(|e| e["key"] == key).unwrap_or_default();
    assert_eq!(of("r"), json!({"key": "r", "value": "two\nlines\n", "type": 1}), "raw, its last newline too");
    assert_eq!(of("s"), json!({"key": "s", "value": "own", "type": 4}));
    assert_eq!(root.entry("there").as_deref(), Some("already"));
    assert!(root.entry("missing").is_none() && root.entry("also-missing").is_none());
}

#[test]
fn the_limit_is_kubernetes_or_the_agents() {
    let write = "printf '%05000d' 1 >/tekton/results/r";
    for (flags, code) in [
        (vec!["-results", "r"], 1),
        (vec!["-results", "r", "-result_from", "agent", "-message_max", "6000"], 0),
        (vec!["-results", "r", "-result_from", "agent", "-message_max", "5000"], 1),
        (vec!["-results", "r", "-result_from", "sidecar-logs"], 0),
    ] {
        let root = Root::shell();
        let output = root.run(&flags, &["sh", "-c", write]);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {}", said(&output));
        assert_eq!(code == 1, said(&output).contains("caused by large task result"), "{}", said(&output));
        let told = root.text("tekton/termination").len();
        assert_eq!(told > 5000, code == 0 && !flags.contains(&"sidecar-logs"), "{flags:?}: {told}");
    }
}

#[test]
fn results_of_earlier_steps_are_put_into_arguments_variables_and_conditions() {
    let mut root = Root::shell();
    root.result_of_step("text", "one");
    root.result_of_step("list", r#"["a b","c"]"#);
    root.result_of_step("map", r#"{"key":"value"}"#);
    root.env = vec![("FROM_STEP", "<$(steps.first.results.text)>".to_owned())];
    let arguments = [
        "sh",
        "-c",
        "printf '[%s]' \"$@\" \"$FROM_STEP\"",
        "name",
        "$(steps.first.results.text)!",
        "$(steps.first.results.list[*])",
        "$(steps.first.results.list[1])",
        "$(steps.first.results.map.key)",
    ];
    let output = root.run(&[], &arguments);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "[one!][a b][c][c][value][<one>]",
        "{}",
        said(&output)
    );
    for (operator, skipped) in [("in", false), ("notin", true)] {
        let root = Root::shell();
        root.result_of_step("text", "one");
        let when = json!([{"input": "$(steps.first.results.text)", "operator": operator, "values": ["one"]}]);
        let output = root.run(&["-when_expressions", &when.to_string()], &["touch", "/ran"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert_eq!((root.has("ran"), root.text("tekton/run/1/status/exitCode").as_str()), (!skipped, "0"));
        assert_eq!(root.entry("Reason").as_deref(), skipped.then_some("Skipped"));
        assert!(root.has("tekton/run/1/out"), "the next step goes on");
    }
    let output = root.run(&[], &["echo", "$(steps.first.results.no-such)"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(root.has("tekton/run/1/out.err") && said(&output).contains("no-such"), "{}", said(&output));
}

#[test]
fn artifacts_of_earlier_steps_are_put_into_scripts_and_all_are_told() {
    let root = Root::shell();
    root.result_of_step("unused", "");
    fs::create_dir_all(root.path("tekton/run/0/status/artifacts")).unwrap();
    let values = json!([{"uri": "pkg:x", "digest": {"sha256": "ab"}}]);
    let provenance = json!({"inputs": [], "outputs": [{"name": "image", "values": values}]});
    root.file("tekton/run/0/status/artifacts/provenance.json", &provenance.to_string());
    let script = "#!/bin/sh\ncat <<'END'\n$(steps.first.outputs.image) $(steps.first.results.unused)\nEND\n\
                  echo '{}' >/tekton/run/1/status/artifacts/provenance.json\n\
                  echo '{\"inputs\":[]}' >/tekton/artifacts/provenance.json\n";
    root.file("tekton/scripts/script-1", script);
    fs::set_permissions(root.path("tekton/scripts/script-1"), fs::Permissions::from_mode(0o755)).unwrap();
    let output = root.run(&[], &["/tekton/scripts/script-1"]);
    // Results of steps are not replaced in scripts: their text would become code.
    let wanted = format!("{values} $(steps.first.results.unused)\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), wanted, "{}", said(&output));
    let told: Vec<i64> =
        root.entries().iter().filter_map(|e| e["type"].as_i64()).filter(|kind| *kind > 4).collect();
    assert_eq!(told, [5, 6]);
}

#[test]
fn a_cancelled_step_is_killed_and_says_so() {
    let root = Root::shell();
    let child = root.spawn(&["-on_error", "continue"], &["sh", "-c", "touch /up; sleep 60"]);
    eventually("it runs", || root.has("up"));
    // An empty file is the one that is there from the start.
    root.file("tekton/downward/cancel", "");
    std::thread::sleep(Duration::from_millis(50));
    root.file("tekton/downward/cancel", "CANCEL");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{}", said(&output));
    assert_eq!(root.entry("Reason").as_deref(), Some("Cancelled"));
    assert_eq!(root.text("tekton/run/1/status/exitCode"), "killed");
    assert!(root.has("tekton/run/1/out.err") && !root.has("tekton/run/1/out"));
}

#[test]
fn signals_reach_the_whole_group_and_a_timeout_only_the_program() {
    let root = Root::shell();
    let grandchild = "trap 'touch /below; exit' USR1; touch /up; while :; do sleep 0.05; done";
    let script = format!("trap 'touch /above' USR1; sh -c \"{grandchild}\" & wait; wait; exit 4");
    let child = root.spawn(&[], &["sh", "-c", &script]);
    eventually("it runs", || root.has("up"));
    kill(&child, "-USR1");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(4));
    assert!(root.has("above") && root.has("below"), "both got the signal");
    let root = Root::shell();
    let script = "sh -c 'sleep 0.6; touch /survived' & sleep 60";
    let output = root.run(&["-timeout", "200ms"], &["sh", "-c", script]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert_eq!(root.entry("Reason").as_deref(), Some("TimeoutExceeded"));
    eventually("what the program left goes on", || root.has("survived"));
}

#[test]
fn outputs_are_copied_into_files_that_are_made() {
    let root = Root::shell();
    root.file("there", "before\n");
    let script = "echo out; echo err >&2";
    let flags = ["-stdout_path", "/new/folder/out", "-stderr_path", "/there"];
    let output = root.run(&flags, &["sh", "-c", script]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(
        (root.text("new/folder/out").as_str(), root.text("there").as_str()),
        ("out\n", "before\nerr\n")
    );
    let mode = fs::metadata(root.path("new/folder/out")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let root = Root::shell();
    // Result files are filled like this: what the program says is the result.
    let flags =
        ["-stdout_path", "/tekton/results/both", "-stderr_path", "/tekton/results/both", "-results", "both"];
    root.run(&flags, &["sh", "-c", "echo out; sleep 0.1; echo err >&2"]);
    assert_eq!(root.entry("both").as_deref(), Some("out\nerr\n"));
}

#[test]
fn breakpoints_wait_for_a_person_before_and_after() {
    for (answer, code, ran) in [("0", 0, true), ("1", 1, false)] {
        let root = Root::shell();
        let mut child = root.spawn(&["-debug_before_step"], &["touch", "/ran"]);
        std::thread::sleep(Duration::from_millis(150));
        assert!(child.try_wait().unwrap().is_none() && !root.has("ran"));
        root.file("tekton/run/1/out.beforestepexit", answer);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!((root.has("ran"), root.has("tekton/run/1/out.err")), (ran, !ran));
    }
    let root = Root::shell();
    let mut child = root.spawn(&["-breakpoint_on_failure"], &["sh", "-c", "touch /up; exit 3"]);
    eventually("it has failed", || root.has("up"));
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none() && !root.has("tekton/run/1/out.err"));
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(2), "it can still be told to end");
    // A timeout is no failure that a person could look at.
    let root = Root::shell();
    let output = root.run(&["-breakpoint_on_failure", "-timeout", "100ms"], &["sleep", "60"]);
    assert_eq!((output.status.code(), root.has("tekton/run/1/out.err")), (Some(1), true));
}

#[test]
fn an_image_without_a_command_for_this_platform_is_an_error() {
    let mut root = Root::shell();
    let here = if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" };
    root.env = vec![("TEKTON_PLATFORM_COMMANDS", json!({here: ["echo", "from the image"]}).to_string())];
    let output = root.run(&["--", "and", "arguments"], &[]);
    assert_eq!(&output.stdout[..], b"from the image and arguments\n", "{}", said(&output));
    root.env = vec![("TEKTON_PLATFORM_COMMANDS", json!({"plan9/mips": ["echo"]}).to_string())];
    let output = root.run(&[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no program for"), "{}", said(&output));
}

#[test]
fn credentials_are_files_in_the_users_home() {
    let mut root = Root::shell();
    root.user = "4711:4711";
    root.env = vec![("HOME", "/home".to_owned())];
    fs::create_dir_all(root.path("home")).unwrap();
    fs::set_permissions(root.path("home"), fs::Permissions::from_mode(0o777)).unwrap();
    for (secret, key, text) in [
        ("login", "username", "me"),
        ("login", "password", "p@ss"),
        ("key", "ssh-privatekey", "PRIVATE\n"),
        ("key", "known_hosts", "example.com ssh-rsa AAAA\n"),
    ] {
        let folder = root.path(&format!("tekton/creds-secrets/{secret}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(key), text).unwrap();
    }
    let flags = [
        "-basic-git=login=https://example.com",
        "-basic-docker=login=registry.example",
        "-ssh-git=key=example.com",
    ];
    let output = root
        .run(&flags, &["sh", "-c", "cat ~/.git-credentials ~/.ssh/id_key; test -O ~/.docker/config.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "https://me:p%40ss@example.com\nPRIVATE\n");
    let docker: Value = serde_json::from_str(&root.text("home/.docker/config.json")).unwrap();
    assert_eq!(docker["auths"]["registry.example"]["auth"], "bWU6cEBzcw==");
    assert_eq!(root.text("home/.ssh/known_hosts"), "example.com ssh-rsa AAAA\n");
    let mode = fs::metadata(root.path("home/.ssh/id_key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
