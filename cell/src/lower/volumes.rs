//! Contents of a Pod's volumes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::order::{File, Volume};
use serde_json::Value;

use super::scripts::Placed;
use super::{ConfigError, Contents, Values, containers, env, list, size};

const FILE_MODE: u32 = 0o644;
/// Scripts must be executable, by anybody.
const SCRIPT_MODE: u32 = 0o755;

/// The content of every volume, by name.
pub(super) fn of(
    pod: &Value,
    contents: &Contents,
    placed: &[Placed],
) -> Result<BTreeMap<String, Volume>, ConfigError> {
    let mut out = BTreeMap::new();
    for volume in list(&pod["spec"]["volumes"]) {
        let name = volume["name"].as_str().unwrap_or_default();
        out.insert(name.to_owned(), one(pod, name, volume, contents, placed)?);
    }
    Ok(out)
}

fn one(
    pod: &Value,
    name: &str,
    volume: &Value,
    contents: &Contents,
    placed: &[Placed],
) -> Result<Volume, ConfigError> {
    let scripts: Vec<File> = placed.iter().filter(|p| p.volume == name).map(script).collect();
    if !scripts.is_empty() {
        return Ok(Volume::Files { files: scripts, secret: false });
    }
    match name {
        "tekton-internal-bin" => return Ok(Volume::Entrypoint),
        "tekton-internal-steps" => return Ok(Volume::Links { links: step_links(pod) }),
        _ => {}
    }
    if let Some(empty) = volume.get("emptyDir") {
        let limit = empty["sizeLimit"].as_str().and_then(size::milli);
        let limit = limit.and_then(|milli| u64::try_from(milli / 1000).ok());
        return Ok(Volume::Empty { memory: empty["medium"] == "Memory", limit });
    }
    if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
        let Some(found) = contents.claims.get(claim).and_then(Option::as_ref) else {
            return Err(ConfigError::new(format!("persistentvolumeclaim {claim:?} not found")));
        };
        let path = found.path.display().to_string();
        let read_only = found.read_only || volume["persistentVolumeClaim"]["readOnly"] == true;
        return Ok(Volume::Dir { path, read_only, held: Some(found.held.clone()) });
    }
    if volume["downwardAPI"].is_object() {
        return downward(pod, contents, &volume["downwardAPI"]);
    }
    let mut files = Files { default_mode: FILE_MODE, files: BTreeMap::new(), secret: false };
    if volume["projected"].is_object() {
        files.default_mode = mode(&volume["projected"]["defaultMode"]).unwrap_or(FILE_MODE);
        for source in list(&volume["projected"]["sources"]) {
            files.add(pod, contents, source)?;
        }
        return Ok(files.into());
    }
    for member in ["configMap", "secret"] {
        if volume[member].is_object() {
            files.default_mode = mode(&volume[member]["defaultMode"]).unwrap_or(FILE_MODE);
            files.add(pod, contents, volume)?;
            return Ok(files.into());
        }
    }
    let what = volume.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).find(|k| *k != "name");
    match what {
        // No source at all is an empty folder, as in Kubernetes.
        None => Ok(Volume::Empty { memory: false, limit: None }),
        Some(what) => Err(ConfigError::new(format!(
            "volume {name:?}: {what} is not available on a single-use machine; use emptyDir, configMap, secret, projected or persistentVolumeClaim"
        ))),
    }
}

/// Files of config maps, secrets and projections.
struct Files {
    default_mode: u32,
    files: BTreeMap<String, File>,
    secret: bool,
}

impl From<Files> for Volume {
    fn from(files: Files) -> Self {
        Self::Files { files: files.files.into_values().collect(), secret: files.secret }
    }
}

impl Files {
    fn add(&mut self, pod: &Value, contents: &Contents, source: &Value) -> Result<(), ConfigError> {
        if source["configMap"].is_object() {
            self.keys(&source["configMap"], &source["configMap"]["name"], &contents.maps, "configmap")
        } else if source["secret"].is_object() {
            self.secret = true;
            let name = [&source["secret"]["secretName"], &source["secret"]["name"]];
            let name = name.into_iter().find(|n| n.is_string()).unwrap_or(&Value::Null);
            self.keys(&source["secret"], name, &contents.secrets, "secret")
        } else if source["downwardAPI"].is_object() {
            for item in list(&source["downwardAPI"]["items"]) {
                let value = downward_value(pod, contents, item)?;
                self.put(item, value.as_bytes())?;
            }
            Ok(())
        } else if source["serviceAccountToken"].is_object() {
            // No token is made: there is no API server that a step could reach with it.
            Ok(())
        } else {
            Err(ConfigError::new("unknown projected source"))
        }
    }

    fn keys(
        &mut self,
        source: &Value,
        name: &Value,
        all: &BTreeMap<String, Option<Values>>,
        word: &str,
    ) -> Result<(), ConfigError> {
        let name = name.as_str().unwrap_or_default();
        let optional = source["optional"] == true;
        let Some(values) = all.get(name).and_then(Option::as_ref) else {
            return if optional {
                Ok(())
            } else {
                Err(ConfigError::new(format!("{word} {name:?} not found")))
            };
        };
        let items = list(&source["items"]);
        if items.is_empty() {
            for (key, value) in values {
                self.insert(key, value, self.default_mode);
            }
        }
        for item in items {
            let key = item["key"].as_str().unwrap_or_default();
            match values.get(key) {
                Some(value) => self.put(item, value)?,
                None if optional => {}
                None => {
                    return Err(ConfigError::new(format!("references non-existent {word} key: {key}")));
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, item: &Value, content: &[u8]) -> Result<(), ConfigError> {
        let path = item["path"].as_str().unwrap_or_default();
        if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(ConfigError::new(format!("path {path:?} must be relative and without '..'")));
        }
        self.insert(path, content, mode(&item["mode"]).unwrap_or(self.default_mode));
        Ok(())
    }

    fn insert(&mut self, path: &str, content: &[u8], mode: u32) {
        self.files
            .insert(path.to_owned(), File { path: path.to_owned(), content: STANDARD.encode(content), mode });
    }
}

/// A downward volume: kept up to date where it shows annotations only, fixed otherwise.
fn downward(pod: &Value, contents: &Contents, source: &Value) -> Result<Volume, ConfigError> {
    let items = list(&source["items"]);
    let annotation = |item: &Value| {
        let path = item["fieldRef"]["fieldPath"].as_str()?;
        let key = path.strip_prefix("metadata.annotations['")?.strip_suffix("']")?;
        Some((item["path"].as_str()?.to_owned(), key.to_owned()))
    };
    if let Some(items) = items.iter().map(annotation).collect::<Option<BTreeMap<_, _>>>() {
        return Ok(Volume::Downward { items });
    }
    let default_mode = mode(&source["defaultMode"]).unwrap_or(FILE_MODE);
    let mut files = Files { default_mode, files: BTreeMap::new(), secret: false };
    for item in items {
        let value = downward_value(pod, contents, item)?;
        files.put(item, value.as_bytes())?;
    }
    Ok(files.into())
}

fn downward_value(pod: &Value, contents: &Contents, item: &Value) -> Result<String, ConfigError> {
    match item["fieldRef"]["fieldPath"].as_str() {
        Some(path) => env::field(pod, contents, path),
        None => env::resource(pod, &Value::Null, &item["resourceFieldRef"]),
    }
}

/// `/tekton/steps/NAME` and `/tekton/steps/I` lead to the status folder of step I.
fn step_links(pod: &Value) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    let prepare = containers(pod).find(|c| c["name"] == "prepare");
    let words = prepare.into_iter().flat_map(|c| list(&c["command"]).iter().chain(list(&c["args"])));
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    let init = words.iter().position(|word| *word == "init").map_or(words.len(), |at| at + 3);
    for (index, name) in words.iter().skip(init).enumerate() {
        let target = format!("/tekton/run/{index}/status");
        links.insert((*name).to_owned(), target.clone());
        links.insert(index.to_string(), target);
    }
    links
}

fn script(placed: &Placed) -> File {
    File { path: placed.path.clone(), content: STANDARD.encode(&placed.content), mode: SCRIPT_MODE }
}

fn mode(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok().map(|mode| mode & 0o777)
}
