//! The steps' containers: the entrypoint with its flags, mounts, environment.

use serde_json::{Value, json};

use super::{Flags, Inputs, Refused, mount_unless_taken, says_what_to_run};
use crate::engine::decide::ImageConfig;
use crate::engine::doc::{is_empty, list, list_mut, object_mut, set, text, texts};
use crate::engine::names::restrict;
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

/// The containers of `steps`, in order, each run by the entrypoint.
pub fn containers(inputs: &Inputs, steps: &[Value], ready: bool) -> Result<Vec<Value>, Refused> {
    let plain_results: Vec<_> = list(inputs.spec, "results")
        .iter()
        .filter(|result| result["value"].is_null())
        .map(|result| text(result, "name").to_owned())
        .collect();
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
        let (command, args) = resolve(inputs, step, &mut container)?;
        let mut flags = order_flags(index, ready);
        flags.extend(step_flags(step, &plain_results)?);
        if let Some((first, rest)) = command.split_first() {
            flags.extend(["-entrypoint".into(), first.clone(), "--".into()]);
            flags.extend(rest.iter().cloned());
        } else {
            flags.push("--".into());
        }
        flags.extend(args);
        container["command"] = json!(["/tekton/bin/entrypoint"]);
        container["args"] = json!(flags);
        if index == 0 && !ready || inputs.flags.keep_pod {
            let mount = json!({"name": "tekton-internal-downward", "mountPath": "/tekton/downward", "readOnly": true});
            list_mut(&mut container, "volumeMounts").push(mount);
        }
        out.push(container);
    }
    Ok(out)
}

/// Command and arguments of a step; for an image without either, they are left to the entrypoint, which gets
/// them per platform in the environment, and the image is pinned to its digest.
fn resolve(
    inputs: &Inputs,
    step: &Value,
    container: &mut Value,
) -> Result<(Vec<String>, Vec<String>), Refused> {
    let args = texts(step, "args");
    if says_what_to_run(step) {
        return Ok((texts(step, "command"), args));
    }
    let image = text(step, "image");
    let (digest, platforms) = match inputs.images.get(image) {
        None => return Err(Refused::Image(image.to_owned())),
        Some(ImageConfig::Missing(why)) => return Err(Refused::Build(why.clone())),
        Some(ImageConfig::Found { digest, platforms }) => (digest, platforms),
    };
    let commands: std::collections::BTreeMap<_, _> = platforms
        .iter()
        .map(|(platform, (entrypoint, cmd))| {
            let mut words = entrypoint.clone();
            if args.is_empty() {
                words.extend(cmd.iter().cloned());
            }
            (platform.clone(), words)
        })
        .collect();
    container["image"] = json!(pinned(image, digest));
    let commands = serde_json::to_string(&commands).map_err(|e| Refused::Build(e.to_string()))?;
    list_mut(container, "env").push(json!({"name": "TEKTON_PLATFORM_COMMANDS", "value": commands}));
    Ok((Vec::new(), args))
}

/// `image` by its digest, with its registry spelled out.
fn pinned(image: &str, digest: &str) -> String {
    let repository = image.split_once('@').map_or(image, |(before, _)| before);
    let slash = repository.rfind('/').map_or(0, |i| i + 1);
    let repository = match repository[slash..].find(':') {
        Some(colon) => &repository[..slash + colon],
        None => repository,
    };
    let first = repository.split('/').next().unwrap_or("");
    let has_registry = repository.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = match (has_registry, repository.contains('/')) {
        (true, _) => repository.to_owned(),
        (false, true) => format!("index.docker.io/{repository}"),
        (false, false) => format!("index.docker.io/library/{repository}"),
    };
    format!("{full}@{digest}")
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

fn step_flags(step: &Value, results: &[String]) -> Result<Vec<String>, Refused> {
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
    if !results.is_empty() {
        push("-results", results.join(","));
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
pub fn mount_implicit(containers: &mut [Value], volumes: &mut Vec<Value>, flags: Flags) {
    let count = containers.len();
    for (index, container) in containers.iter_mut().enumerate() {
        let mounts = list_mut(container, "volumeMounts");
        if !flags.no_creds_init {
            let name = format!("tekton-creds-init-home-{index}");
            mounts.push(json!({"name": name, "mountPath": "/tekton/creds"}));
            volumes.push(json!({"name": name, "emptyDir": {"medium": "Memory"}}));
        }
        for other in 0..count {
            let mut mount = json!({"name": format!("tekton-internal-run-{other}"), "mountPath": format!("/tekton/run/{other}")});
            if other != index {
                mount["readOnly"] = json!(true);
            }
            mounts.push(mount);
        }
        volumes.push(json!({"name": format!("tekton-internal-run-{index}"), "emptyDir": {}}));
        mount_unless_taken(container, implicit_mount(("bin", "/tekton/bin", true)));
        for implicit in IMPLICIT_MOUNTS {
            mount_unless_taken(container, implicit_mount(implicit));
        }
    }
}

/// Environment of the pod template: it wins over the step's.
pub fn add_template_env(containers: &mut [Value], env: &[Value]) {
    if env.is_empty() {
        return;
    }
    for container in containers {
        let there = list_mut(container, "env");
        there.extend(env.iter().cloned());
        object_mut(container);
    }
}
