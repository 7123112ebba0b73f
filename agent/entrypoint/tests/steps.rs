//! The entrypoint as a process: what it runs, writes and returns.

mod process;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use process::{eventually, kill};

/// One step of a task, in a folder of its own.
struct Step {
    dir: tempfile::TempDir,
}

impl Step {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self, flags: &[&str], program: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entrypoint"));
        command.args(["-post_file", &self.path("run/out"), "-termination_path", &self.path("message")]);
        command.args(["-step_metadata_dir", &self.path("status")]).args(flags);
        if let Some((name, arguments)) = program.split_first() {
            command.args(["-entrypoint", name, "--"]).args(arguments);
        }
        command
    }

    fn run(&self, flags: &[&str], program: &[&str]) -> Output {
        self.command(flags, program).output().unwrap()
    }

    fn spawn(&self, flags: &[&str], program: &[&str]) -> Child {
        self.command(flags, program).stdout(Stdio::piped()).spawn().unwrap()
    }

    fn has(&self, name: &str) -> bool {
        Path::new(&self.path(name)).exists()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Value of an entry of the termination message.
    fn entry(&self, key: &str) -> Option<String> {
        let all: Vec<Value> = serde_json::from_str(&self.text("message")).unwrap();
        all.iter().find(|e| e["key"] == key).and_then(|e| e["value"].as_str().map(str::to_owned))
    }
}

#[test]
fn every_outcome_has_its_code_files_and_entries() {
    // flags, program, code, post file, exitCode file, entry of the message
    type Case<'a> = (&'a [&'a str], &'a [&'a str], i32, &'a str, Option<&'a str>, Option<(&'a str, &'a str)>);
    let cases: &[Case<'_>] = &[
        (&[], &["true"], 0, "run/out", Some("0"), None),
        (&[], &["sh", "-c", "exit 3"], 3, "run/out.err", None, None),
        (
            &["-on_error", "continue"],
            &["sh", "-c", "exit 3"],
            0,
            "run/out",
            Some("3"),
            Some(("ExitCode", "3")),
        ),
        (&["--on_error=continue"], &["no-such-program"], 1, "run/out.err", None, None),
        (&[], &["sh", "-c", "kill -9 $$"], 255, "run/out.err", None, None),
        (
            &["-on_error", "continue"],
            &["sh", "-c", "kill -9 $$"],
            0,
            "run/out",
            Some("-1"),
            Some(("ExitCode", "-1")),
        ),
        (
            &["-timeout", "50ms"],
            &["sleep", "60"],
            1,
            "run/out.err",
            None,
            Some(("Reason", "TimeoutExceeded")),
        ),
        (
            &["-timeout", "50ms", "-on_error", "continue"],
            &["sleep", "60"],
            1,
            "run/out.err",
            None,
            Some(("Reason", "TimeoutExceeded")),
        ),
        (
            &["--when_expressions", r#"[{"input":"a","operator":"in","values":["b"]}]"#],
            &["false"],
            0,
            "run/out",
            Some("0"),
            Some(("Reason", "Skipped")),
        ),
        (
            &["--when_expressions", r#"[{"input":"a","operator":"notin","values":["b"]}]"#],
            &["sh", "-c", "exit 4"],
            4,
            "run/out.err",
            None,
            None,
        ),
    ];
    for (flags, program, code, post, exit_code, entry) in cases {
        let step = Step::new();
        let output = step.run(flags, program);
        let what = format!("{flags:?} {program:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "{what}");
        assert!(step.has(post), "{what}");
        assert_ne!(step.has("run/out"), step.has("run/out.err"), "{what}");
        assert_eq!(
            step.has("status/exitCode").then(|| step.text("status/exitCode")).as_deref(),
            *exit_code,
            "{what}"
        );
        assert!(step.entry("StartedAt").is_some(), "{what}");
        if let Some((key, value)) = entry {
            assert_eq!(step.entry(key).as_deref(), Some(*value), "{what}");
        }
    }
}

#[test]
fn a_step_waits_for_all_files_and_for_content() {
    let step = Step::new();
    let (first, second) = (step.path("ready"), step.path("second"));
    fs::write(&first, "").unwrap();
    let files = format!("{first},{second}");
    let mut child = step.spawn(&["-wait_file", &files, "-wait_file_content"], &["echo", "mine"]);
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "an empty file is not enough");
    fs::write(&first, "READY").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the second file is not there");
    fs::write(&second, "").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the second one must have content as well");
    fs::write(&second, "READY").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"mine\n"[..]));
}

#[test]
fn waiting_is_over_at_once_when_the_file_appears() {
    let step = Step::new();
    let file = step.path("go");
    let mut child = step.spawn(&["-wait_file", &file], &["true"]);
    std::thread::sleep(Duration::from_millis(200));
    fs::write(&file, "").unwrap();
    // A look once a second would need up to a second.
    for _ in 0..50 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not notice the file within 500 ms");
}

#[test]
fn a_failed_step_skips_the_next_unless_it_is_being_debugged() {
    let step = Step::new();
    let file = step.path("earlier");
    fs::write(format!("{file}.err"), "").unwrap();
    let output = step.run(&["-wait_file", &file], &["echo", "never"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    assert_eq!(step.entry("Reason").as_deref(), Some("Skipped"));
    assert!(step.has("run/out.err"));
    let step = Step::new();
    assert_eq!(step.run(&["-wait_file", &file, "-breakpoint_on_failure"], &["true"]).status.code(), Some(0));
}

#[test]
fn signals_reach_the_program_and_its_children_and_end_a_step_that_waits() {
    let step = Step::new();
    let script = "trap 'echo caught; exit 7' TERM; echo up; sleep 60 & wait";
    let child = step.spawn(&["-stdout_path", &step.path("copy/out")], &["sh", "-c", script]);
    eventually("it runs", || step.text("copy/out") == "up\n");
    kill(&child, "-TERM");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(step.text("copy/out"), "up\ncaught\n", "the copy is what was said");
    assert_eq!(output.stdout, b"up\ncaught\n");
    let step = Step::new();
    let mut child = step.spawn(&["-wait_file", &step.path("never")], &["true"]);
    eventually("its folders are made", || step.has("status/results"));
    std::thread::sleep(Duration::from_millis(50));
    kill(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn results_of_the_step_are_in_the_message_and_too_much_is_an_error() {
    let step = Step::new();
    let write =
        |size: usize| format!("head -c {size} /dev/zero | tr '\\0' x > {}", step.path("status/results/r"));
    let output = step.run(&["-step_results", "r,missing"], &["sh", "-c", &write(100)]);
    assert_eq!(output.status.code(), Some(0));
    let all: Vec<Value> = serde_json::from_str(&step.text("message")).unwrap();
    let result = all.iter().find(|e| e["key"] == "r").unwrap();
    assert_eq!((&result["type"], result["value"].as_str().unwrap().len()), (&json!(4), 100));
    assert!(step.entry("missing").is_none());
    let step = Step::new();
    let write = format!("head -c 5000 /dev/zero | tr '\\0' x > {}", step.path("status/results/r"));
    let output = step.run(&["-step_results", "r"], &["sh", "-c", &write]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("above max allowed size 4096"));
    let step = Step::new();
    let write = format!("head -c 5000 /dev/zero | tr '\\0' x > {}", step.path("status/results/r"));
    let output =
        step.run(&["-step_results", "r", "-compress_termination_message=true"], &["sh", "-c", &write]);
    assert_eq!(output.status.code(), Some(0));
    assert!(step.text("message").starts_with("tknz:"));
}

#[test]
fn a_breakpoint_waits_for_a_person() {
    let step = Step::new();
    let flags = ["-breakpoint_on_failure", "-on_error", "continue"];
    fs::create_dir_all(step.path("run")).unwrap();
    let mut child = step.spawn(&flags, &["sh", "-c", "echo tried; exit 3"]);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    assert!(!step.has("run/out") && !step.has("run/out.err"));
    fs::write(step.path("run/out.breakpointexit"), "5\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn init_containers_have_their_subcommands() {
    let step = Step::new();
    let run =
        |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_entrypoint")).args(words).status().unwrap().code();
    fs::write(step.path("script"), "IyEvYmluL3NoCmVjaG8gaGkK\n").unwrap();
    assert_eq!(run(&["decode-script", &step.path("script")]), Some(0));
    assert_eq!(step.text("script"), "#!/bin/sh\necho hi\n");
    assert_eq!(run(&["cp", "/bin/true", &step.path("true")]), Some(0));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(step.path("true")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o311);
    assert_eq!(run(&["decode-script", &step.path("missing")]), Some(1));
    assert_eq!(run(&["-no_such_flag", "x"]), Some(2));
}
