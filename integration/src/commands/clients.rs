//! `cargo x clients`: the real kubectl and tkn against a real server, a check a line.

mod old;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::commands::{Clock, Tools};
use crate::server::{Options, Server, Store};

const HELLO: &str = "apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata:\n  name: NAME\nspec:\n  taskSpec:\n    steps:\n      - name: one\n        image: busybox\n        script: |\n          echo hello from one\n      - name: two\n        image: alpine\n        script: |\n          SCRIPT\n";
const TASK: &str = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: greet\nspec:\n  params:\n    - name: who\n      type: string\n      default: world\n  steps:\n    - name: say\n      image: busybox\n      script: |\n        echo \"hi $(params.who)\"\n";
const PIPELINE: &str = "apiVersion: tekton.dev/v1\nkind: Pipeline\nmetadata:\n  name: greetings\nspec:\n  tasks:\n    - name: first\n      taskRef:\n        name: greet\n    - name: second\n      runAfter: [first]\n      taskRef:\n        name: greet\n";

/// One tenant's clients.
struct Clients<'a> {
    tools: &'a Tools,
    server: &'a Server,
    tkn: &'a Path,
}

type Check = fn(&Clients) -> Result<()>;

/// Every check, in order.
const CHECKS: [(&str, Check); 16] = [
    ("kubectl create -f (TaskRun), wait --for=condition=Succeeded", create_and_wait),
    ("kubectl get (table), get -o yaml, get -w", get),
    ("kubectl describe", describe),
    ("kubectl logs -f ends with the step", kubectl_logs),
    ("kubectl apply -f twice changes nothing", apply),
    ("kubectl create namespace, secret, configmap (protobuf)", core_kinds),
    ("kubectl auth whoami, can-i, api-resources, explain", questions),
    ("tkn taskrun logs -f", tkn_logs),
    ("tkn taskrun cancel", tkn_cancel),
    ("tkn pipeline start --showlog", tkn_start),
    ("tkn pipelinerun describe, list", tkn_describe),
    ("kubectl apply, wait, get of v1beta1 objects, read in both versions", old::kubectl),
    ("tkn describe, logs, start of v1beta1 objects", old::tkn),
    ("a foreign tenant sees nothing", foreign),
    ("bad input is refused with a reason", bad_input),
    ("kubectl delete", delete),
];

/// Runs the checks and prints the table; true when all passed.
pub fn run() -> Result<bool> {
    run_on(Store::wished())
}

/// As [`run`], on this store.
///
/// # Errors
/// When there are no clients, or no server.
pub fn run_on(store: Store) -> Result<bool> {
    let tools = Tools::with(store)?;
    let tkn = crate::tools::tkn(&crate::commands::build_dir()?.join("cella-tools"), &mut |line| {
        eprintln!("{line}")
    })?;
    let options = Options { store, ..Options::new(tools.cella.clone(), tools.images.clone()) };
    let mut server = Server::start(&options)?;
    let clients = Clients { tools: &tools, server: &server, tkn: &tkn };
    let mut passed = 0;
    for (name, check) in CHECKS {
        let began = Clock::now();
        match check(&clients) {
            Ok(()) => {
                passed += 1;
                println!("passed  {name} ({:.1} s)", began.elapsed().as_secs_f64());
            }
            Err(error) => println!("FAILED  {name}: {error:#}"),
        }
    }
    server.stop()?;
    println!("clients: {passed}/{}", CHECKS.len());
    Ok(passed == CHECKS.len())
}

impl Clients<'_> {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.tools.kubectl(self.server, "acme", arguments)
    }

    fn create(&self, text: &str) -> Result<String> {
        self.piped(&["create", "-f", "-"], text)
    }

    fn piped(&self, arguments: &[&str], text: &str) -> Result<String> {
        let mut command = Command::new(&self.tools.kubectl);
        command.arg("--kubeconfig").arg(self.server.kubeconfig("acme")).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("no standard input")?, text.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn tkn(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.tkn);
        command.arg("--kubeconfig").arg(self.server.kubeconfig("acme")).args(arguments);
        let output = command.stdin(Stdio::null()).output().context("cannot run tkn")?;
        if !output.status.success() {
            bail!("tkn {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait(&self, run: &str) -> Result<String> {
        self.kubectl(&["wait", "--for=condition=Succeeded", run, "--timeout=60s"])
    }
}

fn contains(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{part:?} is not in the answer:\n{text}");
    Ok(())
}

fn taskrun(name: &str, script: &str) -> String {
    HELLO.replace("NAME", name).replace("SCRIPT", script)
}

fn create_and_wait(c: &Clients) -> Result<()> {
    contains(&c.create(&taskrun("hello", "echo bye from two"))?, "taskrun.tekton.dev/hello created")?;
    contains(&c.wait("taskrun/hello")?, "condition met")
}

fn get(c: &Clients) -> Result<()> {
    let table = c.kubectl(&["get", "taskruns"])?;
    for part in ["NAME", "SUCCEEDED", "REASON", "STARTTIME", "hello", "Succeeded"] {
        contains(&table, part)?;
    }
    contains(&c.kubectl(&["get", "tr", "hello", "-o", "yaml"])?, "podName: hello-pod")?;
    let mut watch = Command::new(&c.tools.kubectl);
    watch.arg("--kubeconfig").arg(c.server.kubeconfig("acme")).args(["get", "taskruns", "-w", "-o", "name"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(Duration::from_millis(700));
    c.create(&taskrun("watched", "true"))?;
    c.wait("taskrun/watched")?;
    std::thread::sleep(Duration::from_millis(300));
    child.kill()?;
    let output = child.wait_with_output()?;
    contains(&String::from_utf8_lossy(&output.stdout), "taskrun.tekton.dev/watched")
}

fn describe(c: &Clients) -> Result<()> {
    let text = c.kubectl(&["describe", "taskrun", "hello"])?;
    for part in ["Name:", "hello", "All Steps have completed executing", "Events:", "Started"] {
        contains(&text, part)?;
    }
    Ok(())
}

fn kubectl_logs(c: &Clients) -> Result<()> {
    c.create(&taskrun("logged", "echo slowly; sleep 1; echo done"))?;
    for _ in 0..100 {
        if c.kubectl(&["get", "pod", "logged-pod"]).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let first = c.kubectl(&["logs", "-f", "logged-pod", "-c", "step-one"])?;
    ensure!(first == "hello from one\n", "the first step's log is {first:?}");
    let second = c.kubectl(&["logs", "-f", "logged-pod", "-c", "step-two"])?;
    ensure!(second == "slowly\ndone\n", "the second step's log is {second:?}");
    let again = c.kubectl(&["logs", "logged-pod", "-c", "step-two", "--tail=1"])?;
    ensure!(again == "done\n", "the log's last line is {again:?}");
    Ok(())
}

fn apply(c: &Clients) -> Result<()> {
    contains(&c.piped(&["apply", "-f", "-"], TASK)?, "task.tekton.dev/greet created")?;
    contains(&c.piped(&["apply", "-f", "-"], TASK)?, "task.tekton.dev/greet unchanged")
}

fn core_kinds(c: &Clients) -> Result<()> {
    contains(&c.kubectl(&["create", "namespace", "team"])?, "namespace/team created")?;
    c.kubectl(&["-n", "team", "create", "secret", "generic", "key", "--from-literal=a=b"])?;
    c.kubectl(&["-n", "team", "create", "configmap", "settings", "--from-literal=a=b"])?;
    contains(
        &c.kubectl(&["-n", "team", "get", "serviceaccount,secret,configmap"])?,
        "serviceaccount/default",
    )?;
    let value = c.kubectl(&["-n", "team", "get", "secret", "key", "-o", "jsonpath={.data.a}"])?;
    ensure!(value == "Yg==", "the secret's value is {value:?}");
    Ok(())
}

fn questions(c: &Clients) -> Result<()> {
    contains(&c.kubectl(&["auth", "whoami"])?, "acme-admin")?;
    contains(&c.kubectl(&["auth", "can-i", "create", "taskruns.tekton.dev"])?, "yes")?;
    contains(&c.kubectl(&["api-resources"])?, "pipelineruns")?;
    contains(&c.kubectl(&["explain", "taskrun.spec.timeout"])?, "timeout")
}

fn tkn_logs(c: &Clients) -> Result<()> {
    c.create(&taskrun("followed", "sleep 1; echo told by tkn"))?;
    let text = c.tkn(&["taskrun", "logs", "-f", "followed"])?;
    contains(&text, "hello from one")?;
    contains(&text, "told by tkn")
}

fn tkn_cancel(c: &Clients) -> Result<()> {
    c.create(&taskrun("endless", "sleep 600"))?;
    for _ in 0..200 {
        if c.kubectl(&["get", "tr", "endless", "-o", "jsonpath={.status.steps[1].running}"])?
            .contains("startedAt")
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    contains(&c.tkn(&["taskrun", "cancel", "endless"])?, "TaskRun cancelled")?;
    c.kubectl(&[
        "wait",
        "--for=jsonpath={.status.conditions[0].reason}=TaskRunCancelled",
        "tr/endless",
        "--timeout=20s",
    ])?;
    Ok(())
}

fn tkn_start(c: &Clients) -> Result<()> {
    c.create(PIPELINE)?;
    let text = c.tkn(&["pipeline", "start", "greetings", "--showlog"])?;
    contains(&text, "[first : say] hi world")?;
    contains(&text, "[second : say] hi world")
}

fn tkn_describe(c: &Clients) -> Result<()> {
    let text = c.tkn(&["pipelinerun", "describe", "--last"])?;
    contains(&text, "Succeeded")?;
    contains(&text, "first")?;
    contains(&c.tkn(&["pipelinerun", "list"])?, "greetings-run-")
}

fn foreign(c: &Clients) -> Result<()> {
    let text =
        c.tools.kubectl(c.server, "globex", &["get", "taskruns,tasks,pipelineruns", "-A", "-o", "name"])?;
    ensure!(text.trim().is_empty(), "another tenant sees {text}");
    let error =
        c.tools.kubectl(c.server, "globex", &["get", "taskrun", "hello"]).err().context("it was found")?;
    contains(&error.to_string(), "taskruns.tekton.dev \"hello\" not found")
}

fn bad_input(c: &Clients) -> Result<()> {
    let unknown = taskrun("bad", "true").replace("taskSpec:", "bogus: 1\n  taskSpec:");
    let error = c.create(&unknown).err().context("an unknown field was taken")?;
    contains(&error.to_string(), "unknown field \"spec.bogus\"")?;
    let error = c.create(&taskrun("Not_A_Name", "true")).err().context("an absurd name was taken")?;
    contains(&error.to_string(), "Not_A_Name")?;
    let strict = taskrun("nowhere", "true").replace(
        "  name: nowhere\n",
        "  name: nowhere\n  annotations:\n    cella.dev/regions: mars\n    cella.dev/placement: strict\n",
    );
    let error = c.create(&strict).err().context("a run for nowhere was taken")?;
    contains(&error.to_string(), "europe-west1")
}

fn delete(c: &Clients) -> Result<()> {
    contains(&c.kubectl(&["delete", "taskrun", "hello"])?, "deleted")?;
    for _ in 0..100 {
        if c.kubectl(&["get", "pod", "hello-pod"]).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the pod of a deleted TaskRun stays")
}
