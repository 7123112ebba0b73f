//! Scripts of steps and sidecars: an init container writes them to files.

use base64::Engine;
use serde_json::{Value, json};

use crate::engine::doc::{is_empty, object_mut, text, texts};
use crate::engine::names::suffix;

/// Mount of the scripts' volume in steps and sidecars.
fn mount(read_only: bool) -> Value {
    let mut mount = json!({"name": "tekton-internal-scripts", "mountPath": "/tekton/scripts"});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

/// Turns the scripts of `steps` and `sidecars` into commands; returns the init container that writes them, if
/// there is any script.
pub fn place(steps: &mut [Value], sidecars: &mut [Value], shell_image: &str, seed: &str) -> Option<Value> {
    let mut writer = String::new();
    for (index, step) in steps.iter_mut().enumerate() {
        convert(step, &format!("script-{index}-"), seed, &mut writer);
    }
    for (index, sidecar) in sidecars.iter_mut().enumerate() {
        convert(sidecar, &format!("sidecar-script-{index}-"), seed, &mut writer);
    }
    if writer.is_empty() {
        return None;
    }
    Some(json!({
        "name": "place-scripts",
        "image": shell_image,
        "command": ["sh"],
        "args": ["-c", writer],
        "volumeMounts": [mount(false), {"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}],
        "resources": {},
    }))
}

fn convert(container: &mut Value, prefix: &str, seed: &str, writer: &mut String) {
    let script = text(container, "script").to_owned();
    object_mut(container).remove("script");
    if script.is_empty() {
        return;
    }
    let file = format!("/tekton/scripts/{prefix}{}", suffix(&format!("{seed}/{prefix}")));
    let script = if script.starts_with("#!") { script } else { format!("#!/bin/sh\nset -e\n{script}") };
    let encoded = base64::engine::general_purpose::STANDARD.encode(script);
    writer.push_str(&format!(
        "scriptfile=\"{file}\"\ntouch ${{scriptfile}} && chmod +x ${{scriptfile}}\ncat > ${{scriptfile}} << '_EOF_'\n{encoded}\n_EOF_\n/tekton/bin/entrypoint decode-script \"${{scriptfile}}\"\n"
    ));
    // The script is the command; args stay its arguments.
    container["command"] = json!([file]);
    let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
    mounts.push(mount(true));
    container["volumeMounts"] = Value::Array(mounts);
    if is_empty(container, "args") {
        object_mut(container).remove("args");
    } else {
        container["args"] = json!(texts(container, "args"));
    }
}
