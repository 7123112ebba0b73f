//! `cargo x examples`: runs every example file for real, and says of each how it ended. What the files need of the
//! outside is answered by [`crate::outside`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::commands::{Clock, Tools};
use crate::outside::{self, Outside};
use crate::server::{Options, Server};

/// Each file gets this long; nothing hangs.
const FILE_MAX: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const AT_ONCE: usize = 6;

/// Flags of the legs in which the reference's own CI runs its files. The folder says the leg; the rest is run with
/// every flag at its default.
const LEGS: [(&str, &[(&str, &str)]); 2] = [
    (
        "beta",
        &[("enable-api-fields", "beta"), ("results-from", "sidecar-logs"), ("keep-pod-on-cancel", "true")],
    ),
    (
        "alpha",
        &[
            ("enable-api-fields", "alpha"),
            ("results-from", "sidecar-logs"),
            ("keep-pod-on-cancel", "true"),
            ("enable-artifacts", "true"),
            ("enable-cel-in-whenexpression", "true"),
            ("enable-concise-resolver-syntax", "true"),
            ("enable-kubernetes-sidecar", "true"),
            ("enable-param-enum", "true"),
            ("enable-termination-message-compression", "true"),
        ],
    ),
];
/// Files that run in none of them.
const STABLE: &str = "stable";

/// Files that cannot end here as they do in the reference, and why. They are run all the same: one that passes is
/// counted as passed.
const CANNOT: [(&str, &str); 3] = [
    (
        "taskruns/beta/bundles-resolver.yaml",
        "it names a bundle by its digest, which only the bundle itself has; the resolver fetches the stand-in and refuses it",
    ),
    (
        "taskruns/dind-sidecar.yaml",
        "docker-in-docker: a stand-in for its image would be no test of anything, and the real one is not to be had",
    ),
    (
        "pipelineruns/pipelinerun.yaml",
        "it makes itself administrator of its cluster: there is none, and kinds of rbac.authorization.k8s.io are not served",
    ),
];

/// How a file ended.
enum End {
    Passed,
    Failed(String),
    /// It cannot, for the reason given; and how it ended.
    Cannot(&'static str, String),
}

/// Runs the files below `dir` whose path contains `only`.
pub fn run(dir: &Path, only: Option<&str>) -> Result<bool> {
    let tools = Tools::ready()?;
    let images = super::images::folder()?;
    let outside = Outside::start(&images)?;
    let mut options = Options::new(tools.cella.clone(), tools.images.clone());
    options.tenants = LEGS.iter().map(|(leg, _)| *leg).chain([STABLE]).map(String::from).collect();
    options.arguments = Outside::arguments(&images);
    let mut server = Server::start(&options)?;
    flags(&tools, &server)?;
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    files.retain(|f| only.is_none_or(|part| f.to_string_lossy().contains(part)));
    anyhow::ensure!(!files.is_empty(), "no example file below {} matches", dir.display());

    let (next, ends) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(file) = files.get(index) else { return };
                    let began = Clock::now();
                    let name = file.strip_prefix(dir).unwrap_or(file).display().to_string();
                    let end = one(&tools, &server, file, &name, index)
                        .unwrap_or_else(|e| End::Failed(format!("{e:#}")));
                    eprintln!("{} {name} ({:.1} s)", mark(&end), began.elapsed().as_secs_f64());
                    ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(name, end);
                }
            });
        }
    });
    let ends = ends.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (name, end) in &ends {
        match end {
            End::Passed => println!("{name}: passed"),
            End::Failed(why) => println!("{name}: failed: {why}"),
            End::Cannot(reason, how) => println!("{name}: cannot run here: {reason} (it ended: {how})"),
        }
    }
    let passed = ends.values().filter(|end| matches!(end, End::Passed)).count();
    println!("images are stand-ins built from Debian's packages: the names are theirs, the content is ours");
    println!(
        "{} are stand-ins too: servers of this command, reached through --host",
        outside::names().join(", ")
    );
    server.stop()?;
    drop(outside);
    println!("examples: {passed}/{}", ends.len());
    Ok(passed == ends.len())
}

fn mark(end: &End) -> &'static str {
    match end {
        End::Passed => "passed",
        End::Failed(_) => "FAILED",
        End::Cannot(..) => "cannot",
    }
}

fn flags(tools: &Tools, server: &Server) -> Result<()> {
    for (tenant, all) in LEGS {
        let data: BTreeMap<_, _> = all.iter().copied().collect();
        let patch = serde_json::json!({ "data": data }).to_string();
        let patch =
            ["-n", "tekton-pipelines", "patch", "configmap", "feature-flags", "--type=merge", "-p", &patch];
        tools.kubectl(server, tenant, &patch)?;
    }
    Ok(())
}

fn one(tools: &Tools, server: &Server, file: &Path, name: &str, index: usize) -> Result<End> {
    let text = std::fs::read_to_string(file)?;
    let legs = LEGS.iter().map(|(leg, _)| *leg);
    let tenant = legs.into_iter().find(|leg| name.split('/').any(|part| part == *leg)).unwrap_or(STABLE);
    let namespace = format!("example-{index}");
    tools.kubectl(server, tenant, &["create", "namespace", &namespace])?;
    let text = text.replace("namespace: default", &format!("namespace: {namespace}"));
    let end = submit_and_wait(tools, server, tenant, &namespace, &text)?;
    let cannot = CANNOT.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
    Ok(match (end, cannot) {
        (None, _) => End::Passed,
        (Some(how), Some(reason)) => End::Cannot(reason, how),
        (Some(why), None) => End::Failed(why),
    })
}

/// `None` when all runs succeeded, else why not.
fn submit_and_wait(
    tools: &Tools,
    server: &Server,
    tenant: &str,
    namespace: &str,
    text: &str,
) -> Result<Option<String>> {
    let mut create = Command::new(&tools.kubectl);
    create.arg("--kubeconfig").arg(server.kubeconfig(tenant)).args(["-n", namespace, "create", "-f", "-"]);
    let mut child = create.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no standard input")?, text.as_bytes())?;
    let output = child.wait_with_output()?;
    let ended = wait(tools, server, tenant, namespace, output.status.success())?;
    if output.status.success() {
        return Ok(ended);
    }
    let refused = last_line(&String::from_utf8_lossy(&output.stderr));
    Ok(Some(match ended {
        // What the rest came to is worth knowing.
        Some(how) => format!("refused: {refused}; what was not: {how}"),
        None => format!("refused: {refused}; what was not: Succeeded"),
    }))
}

/// `None` when all runs of a namespace have succeeded, else why not. When there need not be a run, none is waited for.
fn wait(
    tools: &Tools,
    server: &Server,
    tenant: &str,
    namespace: &str,
    expected: bool,
) -> Result<Option<String>> {
    let began = Clock::now();
    loop {
        let runs = tools.kubectl(
            server,
            tenant,
            &["-n", namespace, "get", "taskruns,pipelineruns", "-o", "json"],
        )?;
        let runs: Value = serde_json::from_str(&runs)?;
        // Only what the file itself created, not the children.
        let roots: Vec<_> = runs["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|run| run["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty))
            .collect();
        let state = |run: &Value| -> (String, String) {
            let conditions = run["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let condition = conditions.into_iter().find(|c| c["type"] == "Succeeded").unwrap_or_default();
            let text = |key: &str| condition[key].as_str().unwrap_or("").to_owned();
            (text("status"), format!("{}: {}", text("reason"), last_line(&text("message"))))
        };
        let states: Vec<_> = roots.iter().map(|run| state(run)).collect();
        if let Some((_, why)) = states.iter().find(|(status, _)| status == "False") {
            return Ok(Some(why.clone()));
        }
        if !states.is_empty() && states.iter().all(|(status, _)| status == "True") {
            return Ok(None);
        }
        if states.is_empty() && !expected {
            return Ok(Some("nothing".into()));
        }
        if began.elapsed() > FILE_MAX {
            let why = states.first().map_or("no run", |(_, why)| why.as_str());
            return Ok(Some(format!("not done after {} s: {why}", FILE_MAX.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn last_line(text: &str) -> String {
    text.trim().lines().last().unwrap_or_default().chars().take(300).collect()
}

fn collect(dir: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, out)?;
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(path);
        }
    }
    Ok(())
}
