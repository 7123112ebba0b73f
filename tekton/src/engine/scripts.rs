//! Scripts of steps and sidecars: an init container writes them to files.

mod debug;

use base64::Engine;
use serde_json::{Value, json};

pub use debug::{Breakpoints, INFO_VOLUME, SCRIPTS_VOLUME};

use crate::engine::decide::Installation;
use crate::engine::doc::{list_mut, object_mut, text, texts};
use crate::engine::names::suffix;

/// What a script without an interpreter of its own begins with.
const PREAMBLE: &str = "#!/bin/sh\nset -e\n";
/// What a script for Windows begins with.
const WINDOWS: &str = "#!win";

/// What placing scripts depends on.
pub struct Placing<'a> {
    /// The installation, for its shells.
    pub installation: &'a Installation,
    /// Whether scripts for Windows have a shell.
    pub alpha: bool,
    /// Where steps stop for whoever debugs them.
    pub breakpoints: &'a Breakpoints,
    /// Makes the names of files.
    pub seed: &'a str,
}

/// The init container that writes files.
pub struct Placer {
    /// The container.
    pub container: Value,
    /// It writes for Windows.
    pub windows: bool,
}

/// Mount of the scripts' volume in steps and sidecars.
fn mount(read_only: bool) -> Value {
    let mut mount = json!({"name": "tekton-internal-scripts", "mountPath": "/tekton/scripts"});
    if read_only {
        mount["readOnly"] = json!(true);
    }
    mount
}

/// Turns the scripts of `steps` and `sidecars` into commands; returns the init container that writes them, if
/// there is anything to write.
pub fn place(steps: &mut [Value], sidecars: &mut [Value], placing: &Placing) -> Option<Placer> {
    let windows = steps.iter().chain(&*sidecars).any(|c| text(c, "script").trim().starts_with(WINDOWS));
    let mut writer = String::new();
    let count = steps.len();
    for (index, step) in steps.iter_mut().enumerate() {
        convert(step, &format!("script-{index}-"), placing.seed, &mut writer);
        placing.breakpoints.mount(step, index);
    }
    placing.breakpoints.write(count, placing.seed, &mut writer);
    for (index, sidecar) in sidecars.iter_mut().enumerate() {
        convert(sidecar, &format!("sidecar-script-{index}-"), placing.seed, &mut writer);
    }
    if writer.is_empty() {
        return None;
    }
    let images = placing.installation;
    let (image, shell, option) = match (windows, placing.alpha) {
        (true, true) => (images.shell_image_win.as_str(), "pwsh", "-Command"),
        (true, false) => ("", "pwsh", "-Command"),
        (false, _) => (images.shell_image.as_str(), "sh", "-c"),
    };
    let mut container = json!({
        "name": "place-scripts",
        "image": image,
        "command": [shell],
        "args": [option, writer],
        "volumeMounts": [mount(false), {"name": "tekton-internal-bin", "mountPath": "/tekton/bin"}],
        "resources": {},
    });
    if placing.breakpoints.any() {
        list_mut(&mut container, "volumeMounts").push(debug::scripts_mount(false));
    }
    Some(Placer { container, windows })
}

fn convert(container: &mut Value, prefix: &str, seed: &str, writer: &mut String) {
    let script = text(container, "script").to_owned();
    object_mut(container).remove("script");
    if script.is_empty() {
        return;
    }
    let file = format!("/tekton/scripts/{prefix}{}", suffix(&format!("{seed}/{prefix}")));
    let shebang = script.trim().starts_with("#!");
    if script.trim().starts_with(WINDOWS) {
        windows(container, &script, &file, writer);
    } else {
        let script = if shebang { script } else { format!("{PREAMBLE}{script}") };
        let encoded = base64::engine::general_purpose::STANDARD.encode(script);
        writer.push_str(&format!(
            "scriptfile=\"{file}\"\ntouch ${{scriptfile}} && chmod +x ${{scriptfile}}\ncat > ${{scriptfile}} << '_EOF_'\n{encoded}\n_EOF_\n/tekton/bin/entrypoint decode-script \"${{scriptfile}}\"\n"
        ));
        // The script is the command; args stay its arguments.
        container["command"] = json!([file]);
    }
    list_mut(container, "volumeMounts").push(mount(true));
}

/// The first line names the interpreter; without one the rest is a file of commands.
fn windows(container: &mut Value, script: &str, file: &str, writer: &mut String) {
    let first = script.split('\n').next().unwrap_or("");
    let mut words = first.split(' ').skip(1).map(str::to_owned);
    let (command, mut args, file, content) = match words.next() {
        Some(interpreter) => {
            let file = match interpreter.starts_with("powershell") {
                true => format!("{file}.ps1"),
                false => file.to_owned(),
            };
            let args = words.chain([file.clone()]).collect();
            (interpreter, args, file, script.to_owned())
        }
        None => {
            let file = format!("{file}.cmd");
            let rest = script.split_once('\n').map_or("", |(_, rest)| rest);
            (file.clone(), Vec::new(), file, rest.to_owned())
        }
    };
    writer.push_str(&format!("@\"\n{content}\n\"@ | Out-File -FilePath {file}\n"));
    args.extend(texts(container, "args"));
    container["command"] = json!([command]);
    container["args"] = json!(args);
}
