//! What the init container `place-scripts` would have written, read from its script: the agent writes the files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{ConfigError, containers, list};

/// A file in a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Placed {
    pub(super) volume: String,
    pub(super) path: String,
    pub(super) content: Vec<u8>,
}

/// The files of the Pod's scripts.
pub(super) fn placed(pod: &Value) -> Result<Vec<Placed>, ConfigError> {
    let Some(init) = containers(pod).find(|c| c["name"] == "place-scripts") else { return Ok(Vec::new()) };
    let script = list(&init["args"]).get(1).and_then(Value::as_str).unwrap_or_default();
    let mut out = Vec::new();
    for (path, content) in files(script)? {
        let mounts = list(&init["volumeMounts"]);
        let mut inside = mounts.iter().filter_map(|mount| {
            let rest = path.strip_prefix(mount["mountPath"].as_str()?)?.strip_prefix('/')?;
            Some((mount["name"].as_str()?, rest))
        });
        let Some((volume, rest)) = inside.next() else {
            return Err(ConfigError::new(format!("script {path} is in no volume of place-scripts")));
        };
        out.push(Placed { volume: volume.to_owned(), path: rest.to_owned(), content });
    }
    Ok(out)
}

/// Path and content of every here-document: `VAR="PATH"`, `cat > ${VAR} << 'MARK'`, text, `MARK`, and for encoded
/// text a call of `decode-script`.
fn files(script: &str) -> Result<Vec<(String, Vec<u8>)>, ConfigError> {
    let broken = |what: &str| ConfigError::new(format!("the script of place-scripts cannot be read: {what}"));
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    let mut path = None;
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        if let Some((_, value)) = line.split_once("=\"") {
            path = value.strip_suffix('"').map(str::to_owned);
        } else if let Some((_, mark)) = line.split_once(" << ") {
            let mark = mark.trim_matches('\'');
            let mut text = String::new();
            loop {
                let line = lines.next().ok_or_else(|| broken("a here-document has no end"))?;
                if line == mark {
                    break;
                }
                text.push_str(line);
                text.push('\n');
            }
            let path = path.take().ok_or_else(|| broken("a here-document has no file"))?;
            out.push((path, text.into_bytes()));
        } else if line.contains(" decode-script ") {
            let (_, content) = out.last_mut().ok_or_else(|| broken("nothing to decode"))?;
            let encoded: Vec<u8> = content.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            *content = STANDARD.decode(encoded).map_err(|_| broken("a script is not base64"))?;
        }
    }
    Ok(out)
}
