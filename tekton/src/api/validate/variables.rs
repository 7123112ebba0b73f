//! Where in steps references may stand.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Settings, references};
use crate::api::fault::Faults;
use crate::api::read::{list, names, some, text, texts};

type Names = BTreeSet<String>;
type Rule = fn(&str, &str, &Names) -> Faults;

/// How a step's fields are checked. The reference names some paths differently from check to check.
struct Walk<'a> {
    prefix: &'a str,
    names: &'a Names,
    /// For texts.
    scalar: Rule,
    /// For elements of `command` and `args`.
    element: Rule,
    /// For scripts.
    script: Rule,
    /// How `mountPath` and `subPath` are called; nothing where mounts are not looked at.
    mounts: Option<[&'a str; 2]>,
    on_error: bool,
}

impl Walk<'_> {
    fn step(&self, step: &Value) -> Faults {
        let check = |value: &str| (self.scalar)(value, self.prefix, self.names);
        let mut faults = Faults::none();
        for field in ["name", "image", "workingDir"] {
            faults.add(check(text(step, field)).under(field));
        }
        faults.add((self.script)(text(step, "script"), self.prefix, self.names).under("script"));
        for field in ["command", "args"] {
            for (index, value) in texts(step, field).enumerate() {
                faults.add((self.element)(value, self.prefix, self.names).field_index(field, index));
            }
        }
        for variable in list(step, "env") {
            faults.add(check(text(variable, "value")).field_key("env", text(variable, "name")));
        }
        if let Some([mount_path, sub_path]) = self.mounts {
            for (index, mount) in list(step, "volumeMounts").iter().enumerate() {
                for (field, path) in [("name", "name"), ("mountPath", mount_path), ("subPath", sub_path)] {
                    faults.add(check(text(mount, field)).under(path).field_index("volumeMount", index));
                }
            }
        }
        if self.on_error {
            faults.add(check(text(step, "onError")).under("onError"));
        }
        faults
    }
}

/// How unknown names in scripts are told: in v1beta1 the name is said.
fn in_script(config: &Settings<'_>) -> Rule {
    if config.older { references::known_by_name } else { references::known }
}

/// Every reference below `prefix` must be to one of `names`.
fn known(steps: &[Value], prefix: &str, names: &Names, config: &Settings<'_>) -> Faults {
    let rule = references::known;
    let walk = Walk {
        prefix,
        names,
        scalar: rule,
        element: rule,
        script: in_script(config),
        mounts: Some(["MountPath", "SubPath"]),
        on_error: true,
    };
    let mut faults = Faults::none();
    for (index, step) in steps.iter().enumerate() {
        faults.add(walk.step(step).field_index("steps", index));
    }
    faults
}

/// Arrays may only be elements of their own.
pub(super) fn arrays(steps: &[Value], names: &Names) -> Faults {
    compounded(steps, names, references::prohibited, references::isolated)
}

/// Objects may not be used as a whole.
fn objects_as_whole(steps: &[Value], names: &Names) -> Faults {
    compounded(steps, names, references::whole_prohibited, references::whole_prohibited)
}

/// As in the reference, the paths of earlier steps' faults get each later step in front.
fn compounded(steps: &[Value], names: &Names, scalar: Rule, element: Rule) -> Faults {
    let walk = Walk {
        prefix: "params",
        names,
        scalar,
        element,
        script: scalar,
        mounts: Some(["mountPath", "subPath"]),
        on_error: false,
    };
    let mut faults = Faults::none();
    for (index, step) in steps.iter().enumerate() {
        faults.add(walk.step(step));
        faults = faults.field_index("steps", index);
    }
    faults
}

/// Faults of the uses of parameters that must all be declared.
pub(super) fn declared(steps: &[Value], params: &[Value], config: &Settings<'_>) -> Faults {
    let all = params.iter().map(|p| text(p, "name").to_owned()).collect();
    let mut faults = known(steps, "params", &all, config);
    let mut objects = Names::new();
    for param in params.iter().filter(|p| text(p, "type") == "object") {
        let name = text(param, "name");
        let keys = param["properties"].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
        faults.add(known(steps, &format!("params.{name}"), &keys, config));
        objects.insert(name.to_owned());
    }
    faults.add(objects_as_whole(steps, &objects));
    for param in params.iter().filter(|p| text(p, "type") == "object") {
        if some(param, "properties").is_none() {
            faults.add(Faults::missing(&format!("{}.properties", text(param, "name"))));
        }
    }
    faults
}

/// Faults of the uses of a StepAction's parameters in itself, mounts apart.
pub(super) fn in_action(spec: &Value) -> Faults {
    let declared = list(spec, "params");
    let set = |kind: &str| -> Names {
        let of = declared.iter().filter(|p| kind.is_empty() || text(p, "type") == kind);
        of.map(|p| text(p, "name").to_owned()).collect()
    };
    let (all, arrays, objects) = (set(""), set("array"), set("object"));
    let mut faults = Faults::none();
    let mut walk = |prefix: &str, names: &Names, scalar: Rule, element: Rule| {
        let walk = Walk { prefix, names, scalar, element, script: scalar, mounts: None, on_error: false };
        faults.add(walk.step(spec));
    };
    walk("params", &all, references::known, references::known);
    walk("params", &objects, references::whole_prohibited, references::whole_prohibited);
    walk("params", &arrays, references::prohibited, references::isolated);
    for param in declared.iter().filter(|p| text(p, "type") == "object") {
        let keys = param["properties"].as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
        let prefix = format!("params.{}", text(param, "name"));
        walk(&prefix, &keys, references::known, references::known);
    }
    for (index, mount) in list(spec, "volumeMounts").iter().enumerate() {
        let name = text(mount, "name");
        let single = references::is_single(name, "params");
        let mut found = Faults::none();
        if single {
            found.add(references::known(name, "params", &all));
            found.add(references::whole_prohibited(name, "params", &objects));
            found.add(references::prohibited(name, "params", &arrays));
            for param in declared.iter().filter(|p| text(p, "type") == "object") {
                let keys = param["properties"].as_object().into_iter().flatten().map(|(k, _)| k.clone());
                let prefix = format!("params.{}", text(param, "name"));
                found.add(references::known(name, &prefix, &keys.collect()));
            }
        } else {
            let details = "expect the Name to be a single param reference";
            found.add(Faults::detailed(format!("invalid value: {name}"), &["name"], details));
        }
        faults.add(found.field_index("volumeMounts", index));
        if !single {
            break;
        }
    }
    faults
}

/// Faults of references to the run's surroundings.
pub(super) fn context(steps: &[Value], config: &Settings<'_>) -> Faults {
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Names>();
    let mut faults = known(steps, "context.taskRun", &set(&["name", "namespace", "uid"]), config);
    faults.add(known(steps, "context.task", &set(&["name", "retry-count"]), config));
    faults
}

/// Faults of references to results in scripts.
pub(super) fn results(spec: &Value, config: &Settings<'_>) -> Faults {
    let rule = in_script(config);
    let declared: Names = names(spec, "results").map(str::to_owned).collect();
    let mut faults = Faults::none();
    for (index, step) in list(spec, "steps").iter().enumerate() {
        let fault = rule(text(step, "script"), "results", &declared);
        faults.add(fault.under("script").field_index("steps", index));
    }
    faults
}
