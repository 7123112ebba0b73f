//! The termination message: a JSON list of `{key, value, type}`.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

/// Kubernetes keeps no more of a container's message.
pub const MESSAGE_MAX: usize = 4096;

/// Numbers of the kinds of entry.
pub mod kind {
    /// Result of the task.
    pub const TASK_RESULT: i64 = 1;
    /// Start, exit code, reason.
    pub const INTERNAL: i64 = 3;
    /// Result of the step.
    pub const STEP_RESULT: i64 = 4;
    /// Artifacts of the step.
    pub const STEP_ARTIFACTS: i64 = 5;
    /// Artifacts of the task.
    pub const TASK_ARTIFACTS: i64 = 6;
}

/// A message being put together.
#[derive(Default)]
pub struct Message(Vec<Value>);

impl Message {
    /// Adds an entry.
    pub fn add(&mut self, key: &str, value: &str, kind: i64) {
        self.0.push(json!({"key": key, "value": value, "type": kind}));
    }

    /// Adds the content of each file that is there.
    pub fn add_files(&mut self, folder: &str, names: &[String], kind: i64) {
        for name in names {
            if let Ok(bytes) = fs::read(format!("{folder}/{name}")) {
                self.add(name, &String::from_utf8_lossy(&bytes), kind);
            }
        }
    }

    /// Writes the message behind what stands at `path`.
    ///
    /// # Errors
    /// When it would be too long, or cannot be written.
    pub fn write(&self, path: &str, compress: bool, max: usize) -> Result<(), String> {
        let mut entries: Vec<Value> =
            fs::read(path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        entries.extend(self.0.iter().cloned());
        let mut text = Value::Array(entries).to_string();
        if compress {
            text = smaller(text);
        }
        if text.len() > max {
            return Err(format!(
                "Termination message is above max allowed size {max}, caused by large task result."
            ));
        }
        let mut file = fs::File::create(path).map_err(|e| format!("cannot write {path}: {e}"))?;
        file.write_all(text.as_bytes()).map_err(|e| format!("cannot write {path}: {e}"))
    }
}

/// The compressed form, when it is shorter; without padding, which readers refuse.
fn smaller(text: String) -> String {
    use base64::Engine;
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let packed = deflater.write_all(text.as_bytes()).and_then(|()| deflater.finish());
    let packed =
        packed.map(|p| format!("tknz:{}", base64::engine::general_purpose::STANDARD_NO_PAD.encode(p)));
    packed.ok().filter(|p| p.len() < text.len()).unwrap_or(text)
}
