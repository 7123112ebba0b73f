//! The steps' containers: the entrypoint with its flags, mounts, environment.

use serde_json::{Value, json};

use super::images::Looked;
use super::{Flags, Inputs, Refused, mount_unless_taken};
use crate::engine::doc::{is_empty, list, list_mut, set, text};
use crate::engine::names::restrict;
use crate::engine::scripts::Breakpoints;
use crate::engine::taskspec::step_name;

/// Volumes that every step sees, in order; name after `tekton-internal-`, path, read-only.
pub const IMPLICIT_MOUNTS: [(&str, &str, bool); 5] = [
    ("workspace", "/workspace", false),
    ("home", "/tekton/home", false),
    ("results", "/tekton/results", false),
    ("steps", "/tekton/steps", true),
    ("artifacts", "/tekton/artifacts", false),
];

/// One of [`IMPLICIT_MOUNTS`] as a mount.
pub fn implicit_mount((name, path, read_only): (&str, &str, bool)) -> Value {
    let mut mount = json!({"name": format!("tekton-internal-{name}"), "mountPath": path});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

/// Fields of a step that its container takes over as they are.
const SAME: [&str; 9] = [
    "image",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "imagePullPolicy",
    "securityContext",
    "name",
];

/// What the steps' flags depend on, beside the steps.
pub struct Options<'a> {
    /// The first step need not wait for sidecars.
    pub ready: bool,
    /// A sidecar reports the results.
    pub reports: bool,
    /// Where steps stop.
    pub breakpoints: &'a Breakpoints,
    /// Flags that tell of credentials.
    pub creds: &'a [String],
}

/// The containers of `steps`, in order, each run by the entrypoint.
pub fn containers(inputs: &Inputs, steps: &[Value], options: &Options) -> Result<Vec<Value>, Refused> {
    if steps.is_empty() {
        return Err(Refused::Build("no steps specified".into()));
    }
    let common = common_flags(inputs.flags.spire, inputs.flags.compress, options);
    let mut images = Looked::default();
    let mut out = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut container = json!({});
        for field in SAME {
            if !is_empty(step, field) {
                set(&mut container, field, step[field].clone());
            }
        }
        container["name"] = json!(restrict(&step_name(step, index)));
        container["resources"] = crate::engine::taskspec::or_empty(&step["computeResources"]);
        container["terminationMessagePath"] = json!("/tekton/termination");
        let (command, args) = images.resolve(inputs, step, &mut container)?;
        let mut flags = order_flags(index, options.ready);
        flags.extend(common.iter().cloned());
        flags.extend(step_flags(step)?);
        flags.extend(result_flags(inputs.spec));
        if options.breakpoints.on_failure {
            flags.push("-breakpoint_on_failure".into());
        }
        if options.breakpoints.stops_before(text(step, "name")) {
            flags.push("-debug_before_step".into());
        }
        if let Some((first, rest)) = command.split_first() {
            flags.extend(["-entrypoint".into(), first.clone(), "--".into()]);
            flags.extend(rest.iter().cloned());
        } else {
            flags.push("--".into());
        }
        flags.extend(args);
        container["command"] = json!(["/tekton/bin/entrypoint"]);
        container["args"] = json!(flags);
        if index == 0 && !options.ready || inputs.flags.keep_pod {
            let mount = json!({"name": "tekton-internal-downward", "mountPath": "/tekton/downward", "readOnly": true});
            list_mut(&mut container, "volumeMounts").push(mount);
        }
        out.push(container);
    }
    Ok(out)
}

/// Flags that all steps have.
fn common_flags(spire: bool, compress: bool, options: &Options) -> Vec<String> {
    let mut out = Vec::new();
    if spire {
        out.push("-enable_spire".to_owned());
    }
    out.extend(options.creds.iter().cloned());
    if options.reports {
        out.extend(["-result_from".to_owned(), "sidecar-logs".to_owned()]);
    }
    if compress {
        out.push("-compress_termination_message=true".into());
    }
    out
}

/// Results that steps write themselves; the others are taken from those of steps.
fn result_flags(spec: &Value) -> Vec<String> {
    let results = list(spec, "results");
    if results.is_empty() {
        return Vec::new();
    }
    let names: Vec<_> = results.iter().filter(|r| r["value"].is_null()).map(|r| text(r, "name")).collect();
    vec!["-results".into(), names.join(",")]
}

fn order_flags(index: usize, ready: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut push = |words: &[&str]| out.extend(words.iter().map(|w| (*w).to_owned()));
    match index {
        0 if ready => {}
        0 => push(&["-wait_file", "/tekton/downward/ready", "-wait_file_content"]),
        _ => push(&["-wait_file", &format!("/tekton/run/{}/out", index - 1)]),
    }
    push(&["-post_file", &format!("/tekton/run/{index}/out")]);
    push(&["-termination_path", "/tekton/termination"]);
    push(&["-step_metadata_dir", &format!("/tekton/run/{index}/status")]);
    out
}

fn step_flags(step: &Value) -> Result<Vec<String>, Refused> {
    let mut out = Vec::new();
    let mut push = |flag: &str, value: String| out.extend([flag.to_owned(), value]);
    match text(step, "onError") {
        "" => {}
        word @ ("continue" | "stopAndFail") => push("-on_error", word.to_owned()),
        word => {
            let message = format!(
                "task step onError must be either {:?} or {:?} but it is set to an invalid value {word:?}",
                "continue", "stopAndFail"
            );
            return Err(Refused::Build(message));
        }
    }
    if !text(step, "timeout").is_empty() {
        push("-timeout", text(step, "timeout").to_owned());
    }
    for (field, flag) in [("stdoutConfig", "-stdout_path"), ("stderrConfig", "-stderr_path")] {
        let path = text(&step[field], "path");
        if !path.is_empty() {
            push(flag, path.to_owned());
        }
    }
    let own: Vec<_> = list(step, "results").iter().map(|r| text(r, "name")).collect();
    if !own.is_empty() {
        push("-step_results", own.join(","));
    }
    if !is_empty(step, "when") {
        let when: Vec<_> = list(step, "when").iter().map(when_expression).collect();
        push("--when_expressions", format!("[{}]", when.join(",")));
    }
    Ok(out)
}

/// A when expression as the entrypoint reads it; key order as the reference writes it.
fn when_expression(when: &Value) -> String {
    let mut parts = Vec::new();
    for key in ["input", "operator", "values", "cel"] {
        if !is_empty(when, key) {
            parts.push(format!("\"{key}\":{}", when[key]));
        }
    }
    format!("{{{}}}", parts.join(","))
}

/// Mounts what every step sees: credentials, run folders, and the implicit volumes.
pub fn mount_implicit(containers: &mut [Value], volumes: &mut Vec<Value>, flags: &Flags, creds: &[Value]) {
    let count = containers.len();
    for (index, container) in containers.iter_mut().enumerate() {
        let mounts = list_mut(container, "volumeMounts");
        if !flags.no_creds_init {
            let name = format!("tekton-creds-init-home-{index}");
            mounts.push(json!({"name": name, "mountPath": "/tekton/creds"}));
            volumes.push(json!({"name": name, "emptyDir": {"medium": "Memory"}}));
        }
        mounts.extend((0..count).map(|other| run_mount(other, other != index)));
        volumes.push(json!({"name": format!("tekton-internal-run-{index}"), "emptyDir": {}}));
        mount_common(container, creds);
    }
}

/// Folder of a step's own state.
pub fn run_mount(index: usize, read_only: bool) -> Value {
    let mut mount =
        json!({"name": format!("tekton-internal-run-{index}"), "mountPath": format!("/tekton/run/{index}")});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

/// Mounts that give way to the container's own on the same path.
pub fn mount_common(container: &mut Value, creds: &[Value]) {
    mount_unless_taken(container, implicit_mount(("bin", "/tekton/bin", true)));
    for implicit in IMPLICIT_MOUNTS {
        mount_unless_taken(container, implicit_mount(implicit));
    }
    for mount in creds {
        mount_unless_taken(container, mount.clone());
    }
}
