//! TaskRun and the objects around it -> the Pod, or why there is none.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Outcomes, compare, files};
use crate::api::config::TenantConfig;
use crate::api::defaults;
use crate::engine::decide::{Decision, ImageConfig, Installation, Key, Need, Observed, Opened, Outcome};
use crate::engine::doc::{list, name, namespace, object_mut, text};
use crate::engine::{condition, taskrun};

/// Start of the clock: 2030-01-01T00:00:00Z.
pub const START_US: i64 = 1_893_456_000_000_000;

/// The installation that the recorded answers come from.
pub fn installation(case: &Value) -> Installation {
    let image = |name: &str| format!("example.com/{name}:v1");
    let minor = text(case, "kubernetesVersion").split('.').nth(1).and_then(|m| m.parse().ok());
    Installation {
        entrypoint_image: image("entrypoint"),
        nop_image: image("nop"),
        shell_image: image("shell"),
        shell_image_win: image("shell-win"),
        workingdirinit_image: image("workingdirinit"),
        sidecarlogresults_image: image("sidecarlogresults"),
        release: "RELEASE".into(),
        kubernetes_minor: minor.unwrap_or(33),
        resolvers: true,
    }
}

/// Settings of a case.
pub fn config(case: &Value) -> TenantConfig {
    let data = |key: &str| -> BTreeMap<String, String> {
        let map = case[key].as_object().into_iter().flatten();
        map.map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
    };
    TenantConfig {
        feature_flags: data("featureFlags"),
        config_defaults: data("configDefaults"),
        others: BTreeMap::new(),
    }
}

/// Everything that exists in a case, as a cluster would hold it.
#[derive(Default)]
pub struct World {
    /// All objects.
    pub objects: Vec<Value>,
    /// Images that can be looked up.
    pub images: BTreeMap<String, ImageConfig>,
}

impl World {
    /// The objects of a case, completed and defaulted.
    pub fn of(case: &Value) -> Self {
        let config = config(case);
        let mut world = World::default();
        for object in list(case, "objects") {
            let mut object = object.clone();
            let fallback = format!("uid-{}", name(&object));
            let metadata = &mut object["metadata"];
            if metadata["uid"].is_null() {
                metadata["uid"] = json!(fallback);
            }
            if metadata["namespace"].is_null() {
                metadata["namespace"] = json!("default");
            }
            if metadata["creationTimestamp"].is_null() {
                metadata["creationTimestamp"] = json!("2030-01-01T00:00:00Z");
            }
            let kind = text(&object, "kind").to_owned();
            defaults::apply(&kind, &mut object, &config);
            world.objects.push(object);
        }
        for (reference, image) in case["images"].as_object().into_iter().flatten() {
            let words = |v: &Value| -> Vec<String> {
                v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let platforms = image["platforms"].as_object().into_iter().flatten();
            let platforms =
                platforms.map(|(p, i)| (p.clone(), (words(&i["entrypoint"]), words(&i["cmd"])))).collect();
            let digest = text(image, "digest").to_owned();
            world.images.insert(reference.clone(), ImageConfig::Found { digest, platforms });
        }
        world
    }

    /// An image as its registry knows it: under its tag, and under its digest.
    fn image(&self, reference: &str) -> Option<&ImageConfig> {
        let by_digest = || {
            let (repository, wanted) = reference.split_once('@')?;
            let is_it = |(tagged, image): &(&String, &ImageConfig)| {
                let ours = matches!(image, ImageConfig::Found { digest, .. } if digest == wanted);
                ours && tagged.starts_with(repository)
            };
            self.images.iter().find(is_it).map(|(_, image)| image)
        };
        self.images.get(reference).or_else(by_digest)
    }

    /// An object by kind and name.
    pub fn find(&self, kind: &str, wanted: &str) -> Option<&Value> {
        self.objects.iter().find(|o| text(o, "kind") == kind && name(o) == wanted)
    }

    /// Decides, reading whatever is asked for.
    pub fn decide(
        &self,
        run: &Value,
        case: &Value,
        now_us: i64,
        refused: Option<(String, String)>,
    ) -> Result<Decision, String> {
        let mut seen = Observed { run: run.clone(), pod_refused: refused, ..Observed::default() };
        let uid = text(&run["metadata"], "uid");
        let owned =
            |o: &&Value| list(&o["metadata"], "ownerReferences").iter().any(|r| text(r, "uid") == uid);
        seen.owned = self.objects.iter().filter(owned).cloned().collect();
        for _ in 0..100 {
            match taskrun::decide(&seen, &config(case), &installation(case), now_us) {
                Outcome::Decision(decision) => return Ok(*decision),
                Outcome::Need(needs) => {
                    for need in needs {
                        self.answer(need, &mut seen);
                    }
                }
            }
        }
        Err("it asks for ever".into())
    }

    /// Reads what is asked for.
    pub fn answer(&self, need: Need, seen: &mut Observed) {
        let there = |key: &Key| {
            let is_it = |o: &&Value| {
                text(o, "kind") == key.kind && name(o) == key.name && namespace(o) == key.namespace
            };
            self.objects.iter().find(is_it).cloned()
        };
        let all = |kind: &str| self.objects.iter().filter(|o| text(o, "kind") == kind).cloned().collect();
        match need {
            Need::Object(key) => {
                let found = there(&key);
                seen.objects.insert(key, found);
            }
            Need::LimitRanges => seen.limit_ranges = Some(all("LimitRange")),
            Need::VerificationPolicies => seen.policies = Some(all("VerificationPolicy")),
            Need::Secret(key) => {
                let opened = there(&key).map(|secret| {
                    let data = secret["data"].as_object().cloned().unwrap_or_default();
                    let values = data
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, STANDARD.decode(value.as_str()?).ok()?)));
                    Opened(values.collect())
                });
                seen.secrets.insert(key, opened);
            }
            Need::Image(image) => {
                let found = self.image(&image).cloned().unwrap_or_else(|| {
                    ImageConfig::Missing(format!("MANIFEST_UNKNOWN: manifest unknown: {image}"))
                });
                seen.images.insert(image, found);
            }
        }
    }
}

/// Runs every case below `dir`.
pub fn run(dir: &Path) -> Result<Outcomes, String> {
    Ok(files(dir)?.into_iter().map(|(name, case)| (name, one(&case))).collect())
}

fn one(case: &Value) -> Result<(), String> {
    let world = World::of(case);
    let run = world.objects.iter().find(|o| text(o, "kind") == "TaskRun").ok_or("the case has no TaskRun")?;
    let decision = world.decide(run, case, START_US, None)?;
    let expected = &case["expected"];
    let created = |kind: &str| {
        let of_kind = decision.creates.iter().filter(|o| text(o, "kind") == kind);
        of_kind.cloned().collect::<Vec<_>>()
    };
    let same = |what: &str, expected: &Value, actual: &Value| match compare::difference(
        &compare::normal(expected),
        &compare::normal(actual),
    ) {
        Some(found) => Err(format!("{what}{found}")),
        None => Ok(()),
    };
    let mut claims: Value = created("PersistentVolumeClaim").into();
    for claim in claims.as_array_mut().into_iter().flatten() {
        object_mut(claim).retain(|key, _| key != "apiVersion" && key != "kind");
    }
    // Recorded are all claims that there are afterwards.
    let mut wanted = expected["persistentVolumeClaims"].clone();
    if let Some(wanted) = wanted.as_array_mut() {
        wanted.retain(|claim| world.find("PersistentVolumeClaim", name(claim)).is_none());
    }
    same("claims", &wanted, &claims)?;
    // With a Pod, an internal error is one of reading the log of a Pod that never ran.
    let odd = |e: &str| !expected["pod"].is_null() && e.starts_with("Warning InternalError");
    let mut wanted = expected["warningEvents"].clone();
    if let Some(events) = wanted.as_array_mut() {
        events.retain(|e| !e.as_str().is_some_and(odd));
    }
    let warnings: Value = decision
        .events
        .iter()
        .filter(|e| e.kind == "Warning")
        .map(|e| format!("Warning {} {}", e.reason, e.message))
        .collect();
    same("warnings", &wanted, &warnings)?;
    if !expected["pod"].is_null() {
        let status = decision.status.clone().unwrap_or_default();
        let mut pod =
            created("Pod").pop().ok_or_else(|| format!("no Pod: {}", condition::succeeded(&status)))?;
        pod["metadata"]["uid"] = json!(format!("uid-{}", name(&pod)));
        return same("", &expected["pod"], &pod);
    }
    let conditions = &decision.status.as_ref().unwrap_or(&run["status"])["conditions"];
    same("", &expected["conditions"], conditions)
}
