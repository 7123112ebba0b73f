//! The subcommands of init containers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

type Outcome = Result<(), String>;

fn told<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|e| format!("cannot {what}: {e}"))
}

/// Copies the program to where the steps find it, and links the steps' folders.
pub fn init(source: &str, target: &str, steps: &[&str]) -> Outcome {
    copy(source, target)?;
    links(steps)
}

/// Copies the program; everybody may run it, nobody may change it.
pub fn copy(source: &str, target: &str) -> Outcome {
    told(&format!("copy {source} to {target}"), fs::copy(source, target))?;
    told(&format!("set the mode of {target}"), fs::set_permissions(target, fs::Permissions::from_mode(0o311)))
}

/// Links `/tekton/steps/NAME` and `/tekton/steps/I` to the folder of each step.
pub fn links(steps: &[&str]) -> Outcome {
    for (index, step) in steps.iter().enumerate() {
        let target = format!("/tekton/run/{index}/status");
        for link in [format!("/tekton/steps/{step}"), format!("/tekton/steps/{index}")] {
            told(&format!("link {link}"), symlink(&target, &link))?;
        }
    }
    Ok(())
}

/// Turns a file with a script in base64 into the script.
pub fn decode_script(file: &str) -> Outcome {
    use base64::Engine;
    let text = told(&format!("read {file}"), fs::read_to_string(file))?;
    let packed: String = text.split_whitespace().collect();
    let script = base64::engine::general_purpose::STANDARD.decode(packed);
    let script = script.map_err(|e| format!("{file} is not base64: {e}"))?;
    told(&format!("write {file}"), fs::write(file, script))
}
