//! Entries of hubs: Artifact Hub, and the deprecated Tekton Hub.

use serde_json::Value;
use url::Url;

use super::ask::{Ask, Found, Params, RESOURCE_MAX, Trouble};
use super::settings::Map;
use crate::fetch::Request;

mod version;

pub use version::{Constraints, Version};

/// The ConfigMap as the reference installs it.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("default-tekton-hub-catalog", "Tekton"),
    ("default-artifact-hub-task-catalog", "tekton-catalog-tasks"),
    ("default-artifact-hub-pipeline-catalog", "tekton-catalog-pipelines"),
    ("default-kind", "task"),
    ("default-type", "artifact"),
];
/// Bytes of a hub's answer: an object as a JSON text, and what the hub says about it.
const ANSWER_MAX: usize = 4 * RESOURCE_MAX;

/// Where hubs are, unless a tenant says otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hubs {
    /// Artifact Hub.
    pub artifact: Option<String>,
    /// Tekton Hub: there is no public one any more.
    pub tekton: Option<String>,
}

impl Default for Hubs {
    fn default() -> Self {
        Self { artifact: Some("https://artifacthub.io".into()), tekton: None }
    }
}

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Of Artifact Hub; else of Tekton Hub.
    pub artifact: bool,
    /// `task`, `pipeline` or `stepaction`.
    pub kind: String,
    /// Catalog.
    pub catalog: String,
    /// Name.
    pub name: String,
    /// Version, or constraints of one.
    pub version: String,
    /// Hubs, in the order in which they are asked.
    pub urls: Vec<String>,
}

impl Wanted {
    /// Reads params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn of(params: &Params, map: &Map, hubs: &Hubs) -> Result<Self, String> {
        let unset = |what: &str| {
            format!(
                "failed to populate default params: default {what} was not set during installation of the hub resolver"
            )
        };
        let or_default = |param: &str, key: &str, what: &str| {
            let value = params.get(param).or_else(|| map.get(key)).cloned();
            value.ok_or_else(|| unset(what))
        };
        let hub = or_default("type", "default-type", "type")?;
        let kind = or_default("kind", "default-kind", "resource kind")?;
        let catalog = catalog(params, map, &hub, &kind)?;
        let invalid = |why: String| format!("failed to validate params: {why}");
        if !["task", "pipeline", "stepaction"].contains(&kind.as_str()) {
            return Err(invalid("kind param must be one of: task, pipeline, stepaction".into()));
        }
        let own = params.get("url").filter(|url| !url.is_empty());
        if let Some(url) = own {
            check_url(url).map_err(|why| invalid(format!("invalid url param: {why}")))?;
        }
        let artifact = match hub.as_str() {
            "artifact" => true,
            "tekton" => false,
            _ => return Err(invalid("type param must be artifact or tekton".into())),
        };
        let urls = urls(own.map(String::as_str), map, hubs, artifact);
        if urls.is_empty() && !artifact {
            return Err(invalid("please configure TEKTON_HUB_API env variable to use tekton type".into()));
        }
        let missing: Vec<&str> =
            ["name", "version"].into_iter().filter(|p| !params.contains_key(*p)).collect();
        if !missing.is_empty() {
            return Err(invalid(format!("missing required hub resolver params: {}", missing.join(", "))));
        }
        let get = |name: &str| params.get(name).cloned().unwrap_or_default();
        Ok(Self { artifact, kind, catalog, name: get("name"), version: get("version"), urls })
    }

    /// Where the entry is on the hub at `base`.
    fn entry(&self, base: &str, version: &str) -> String {
        let Self { kind, catalog, name, .. } = self;
        match self.artifact {
            true => format!("{base}/api/v1/packages/tekton-{kind}/{catalog}/{name}/{version}"),
            false => format!("{base}/v1/resource/{catalog}/{kind}/{name}/{version}/yaml"),
        }
    }

    /// Where its versions are listed.
    fn list(&self, base: &str) -> String {
        let Self { kind, catalog, name, .. } = self;
        match self.artifact {
            true => format!("{base}/api/v1/packages/tekton-{kind}/{catalog}/{name}"),
            false => format!("{base}/v1/resource/{catalog}/{kind}/{name}"),
        }
    }

    fn hub(&self) -> (&'static str, &'static str) {
        if self.artifact { ("artifact", "Artifact Hub") } else { ("tekton", "Tekton Hub") }
    }

    /// A version as this hub spells it: three numbers, or two.
    fn spelled(&self, version: &str) -> String {
        let parts: Vec<&str> = version.split('.').collect();
        match (self.artifact, parts.len()) {
            (true, 2) => format!("{version}.0"),
            (false, 3..) => parts[..2].join("."),
            _ => version.to_owned(),
        }
    }

    /// The highest version in a hub's list that fits.
    ///
    /// # Errors
    /// The reference's text.
    fn choose(&self, listed: &Value, constraints: &Constraints) -> Result<Option<Version>, String> {
        let (all, hub) = match self.artifact {
            true => (&listed["available_versions"], "artifact"),
            false => (&listed["data"]["versions"], "tekton"),
        };
        let mut best: Option<Version> = None;
        for entry in all.as_array().into_iter().flatten().filter(|entry| entry["prerelease"] != true) {
            let text = entry["version"].as_str().unwrap_or("");
            let version = Version::parse(text).ok_or_else(|| {
                format!("fail to parse version {hub} from {text}: malformed version: {text}")
            })?;
            if constraints.hold(&version) && best.as_ref().is_none_or(|best| *best <= version) {
                best = Some(version);
            }
        }
        Ok(best)
    }
}

fn catalog(params: &Params, map: &Map, hub: &str, kind: &str) -> Result<String, String> {
    let failed = |why: String| format!("failed to populate default params: {why}");
    let set = |key: &str, what: &str| {
        let unset =
            || failed(format!("default {what} catalog was not set during installation of the hub resolver"));
        map.get(key).cloned().ok_or_else(unset)
    };
    let tekton = set("default-tekton-hub-catalog", "Tekton Hub")?;
    let tasks = set("default-artifact-hub-task-catalog", "Artifact Hub task")?;
    let pipelines = set("default-artifact-hub-pipeline-catalog", "Artifact Hub pipeline")?;
    match (params.get("catalog"), hub, kind) {
        (Some(catalog), ..) => Ok(catalog.clone()),
        (None, "artifact", "task") => Ok(tasks),
        (None, "artifact", "pipeline") => Ok(pipelines),
        (None, "artifact", _) => Err(failed(format!("failed to resolve catalog name with kind: {kind}"))),
        (None, "tekton", _) => Ok(tekton),
        (None, ..) => Err(failed(format!("failed to resolve catalog name with type: {hub}"))),
    }
}

/// Hubs to ask: the one of the params, else those of the settings, else the cell's.
fn urls(own: Option<&str>, map: &Map, hubs: &Hubs, artifact: bool) -> Vec<String> {
    let trimmed = |url: &str| url.trim().trim_end_matches('/').to_owned();
    if let Some(own) = own {
        return vec![trimmed(own)];
    }
    let key = if artifact { "artifact-hub-urls" } else { "tekton-hub-urls" };
    let listed: Vec<String> =
        map.get(key).and_then(|text| serde_yaml_ng::from_str(text).ok()).unwrap_or_default();
    let listed: Vec<String> = listed.iter().map(|url| trimmed(url)).collect();
    if !listed.is_empty() && listed.iter().all(|url| check_url(url).is_ok()) {
        return listed;
    }
    let general = if artifact { &hubs.artifact } else { &hubs.tekton };
    general.iter().map(|url| trimmed(url)).collect()
}

fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(Url::has_host);
    let url = url.ok_or_else(|| format!("url must be a valid absolute URL: {text}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(format!("url must use http or https scheme: {text}")),
    }
}

pub(super) async fn resolve(ask: &Ask<'_>) -> Result<Found, Trouble> {
    let wanted = Wanted::of(ask.params, ask.map, &ask.cell.hubs)?;
    if wanted.urls.is_empty() {
        return Err(format!("no hub URL configured for type {}", wanted.hub().0).into());
    }
    let (mut version, mut urls) = (wanted.version.clone(), wanted.urls.clone());
    if let Some(constraints) = Constraints::parse(&wanted.version) {
        let (chosen, url) = choose(ask, &wanted, &constraints).await?;
        // The entry is asked of the hub that has listed it.
        (version, urls) = (chosen.to_string(), vec![url]);
    }
    let version = wanted.spelled(&version);
    let mut troubles = Vec::new();
    for base in urls {
        let url = wanted.entry(&base, &version);
        match get(ask, &url).await {
            Ok(answer) => {
                let data =
                    if wanted.artifact { &answer["data"]["manifestRaw"] } else { &answer["data"]["yaml"] };
                let data = data.as_str().unwrap_or("");
                if data.len() > RESOURCE_MAX {
                    let why = format!("the object exceeds the maximum allowed size of {RESOURCE_MAX} bytes");
                    return Err(why.into());
                }
                return Ok(Found::of(&url, data.as_bytes().to_vec()));
            }
            Err(trouble) => troubles.push(about(&wanted, trouble)),
        }
    }
    Err(joined("failed to fetch resource from any configured hub URL", troubles))
}

async fn choose(
    ask: &Ask<'_>,
    wanted: &Wanted,
    constraints: &Constraints,
) -> Result<(Version, String), Trouble> {
    let mut troubles = Vec::new();
    for base in &wanted.urls {
        match get(ask, &wanted.list(base)).await {
            Ok(listed) => {
                let chosen = wanted.choose(&listed, constraints)?;
                let none = || format!("no version found for constraint {}", wanted.version);
                return Ok((chosen.ok_or_else(none)?, base.clone()));
            }
            Err(trouble) => troubles.push(about(wanted, trouble)),
        }
    }
    Err(joined("failed to resolve version constraint from any configured hub URL", troubles))
}

async fn get(ask: &Ask<'_>, url: &str) -> Result<Value, Trouble> {
    let target: Url = url.parse().map_err(|error| format!("constructing request: parse {url:?}: {error}"))?;
    let answer = ask.cell.fetch.fetch(Request::get(target, ANSWER_MAX)).await;
    let answer = answer
        .map_err(|error| Trouble::fetch(&format!("requesting resource from Hub: Get {url:?}"), &error))?;
    let missing = format!("requested resource '{url}' not found on hub");
    match answer.status {
        200 => {}
        429 | 500.. => return Err(Trouble::Passing(missing)),
        _ => return Err(Trouble::Answer(missing)),
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("error unmarshalling json response: {error}").into())
}

fn about(wanted: &Wanted, trouble: Trouble) -> Trouble {
    let hub = wanted.hub().1;
    let about = |why: String| format!("fail to fetch {hub} resource: {why}");
    match trouble {
        Trouble::Answer(why) => Trouble::Answer(about(why)),
        Trouble::Passing(why) => Trouble::Passing(about(why)),
        store => store,
    }
}

fn joined(head: &str, mut troubles: Vec<Trouble>) -> Trouble {
    if troubles.len() == 1 {
        return troubles.remove(0);
    }
    let passing = troubles.iter().any(|trouble| matches!(trouble, Trouble::Passing(_)));
    let texts = troubles.into_iter().filter_map(|trouble| match trouble {
        Trouble::Answer(why) | Trouble::Passing(why) => Some(why),
        Trouble::Store(_) => None,
    });
    let why = format!("{head}: {}", texts.collect::<Vec<_>>().join("\n"));
    if passing { Trouble::Passing(why) } else { Trouble::Answer(why) }
}

#[cfg(test)]
mod tests;
