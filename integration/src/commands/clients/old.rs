//! Objects in v1beta1 through the real clients: written in the old version, run, and read in both.

use anyhow::{Result, ensure};

use super::{Clients, contains};

const PIPELINE: &str = "apiVersion: tekton.dev/v1beta1\nkind: Pipeline\nmetadata:\n  name: old\nspec:\n  tasks:\n    - name: say\n      taskSpec:\n        results:\n          - name: word\n        steps:\n          - name: speak\n            image: busybox\n            resources:\n              requests:\n                memory: 16Mi\n            script: |\n              printf old > $(results.word.path)\n              echo still here\n";
const RUN: &str = "apiVersion: tekton.dev/v1beta1\nkind: PipelineRun\nmetadata:\n  name: old\nspec:\n  serviceAccountName: default\n  timeout: 5m\n  pipelineRef:\n    name: old\n";

/// `kubectl apply`, `wait` and `get` in both versions.
pub(super) fn kubectl(c: &Clients) -> Result<()> {
    contains(&c.piped(&["apply", "-f", "-"], PIPELINE)?, "pipeline.tekton.dev/old created")?;
    c.piped(&["apply", "-f", "-"], RUN)?;
    c.wait("pipelinerun/old")?;
    let read = |version: &str, what: &str, path: &str| {
        let what = format!("{what}.{version}.tekton.dev");
        c.kubectl(&["get", &what, "-l", "tekton.dev/pipeline=old", "-o", &format!("jsonpath={path}")])
    };
    let is = |version: &str, what: &str, path: &str, wanted: &str| {
        let found = read(version, what, path)?;
        ensure!(found == wanted, "{what} in {version}, {path}: {found:?} instead of {wanted:?}");
        anyhow::Ok(())
    };
    is("v1", "pipelineruns", "{.items[0].spec.taskRunTemplate.serviceAccountName}", "default")?;
    is("v1beta1", "pipelineruns", "{.items[0].spec.serviceAccountName}", "default")?;
    contains(&read("v1", "pipelineruns", "{.items[0].spec.timeouts.pipeline}")?, "5m")?;
    is("v1", "taskruns", "{.items[0].status.results[0].value}", "old")?;
    is("v1beta1", "taskruns", "{.items[0].status.taskResults[0].value}", "old")?;
    is("v1", "taskruns", "{.items[0].spec.taskSpec.steps[0].computeResources.requests.memory}", "16Mi")?;
    is("v1beta1", "taskruns", "{.items[0].spec.taskSpec.steps[0].resources.requests.memory}", "16Mi")
}

/// `tkn` shows, starts and follows what was written in v1beta1.
pub(super) fn tkn(c: &Clients) -> Result<()> {
    contains(&c.tkn(&["pipeline", "describe", "old"])?, "say")?;
    contains(&c.tkn(&["pipelinerun", "logs", "old"])?, "[say : speak] still here")?;
    contains(&c.tkn(&["pipeline", "start", "old", "--showlog"])?, "[say : speak] still here")
}
