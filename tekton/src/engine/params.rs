//! Params of tasks and pipelines: types, defaults, what is missing, and the replacements they give.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::engine::doc::{is_empty, object_mut, text};
use crate::engine::substitution::Replacements;

/// Type of a param or result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Type {
    /// A text.
    String,
    /// A list of texts.
    Array,
    /// A map of texts.
    Object,
}

impl Type {
    /// The word in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Array => "array",
            Type::Object => "object",
        }
    }

    /// Type of a value as it stands in the document.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) if items.iter().all(Value::is_string) => Type::Array,
            Value::Object(map) if map.values().all(Value::is_string) => Type::Object,
            _ => Type::String,
        }
    }

    /// Type of a declaration: said, or of its properties, or of its default, else string.
    pub fn declared(spec: &Value) -> Self {
        match text(spec, "type") {
            "array" => Type::Array,
            "object" => Type::Object,
            "string" => Type::String,
            _ if !is_empty(spec, "properties") => Type::Object,
            _ => spec.get("default").filter(|d| !d.is_null()).map_or(Type::String, Type::of),
        }
    }
}

/// A string value as text; other scalars are their JSON text, as the reference's decoder keeps them.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Why params do not fit their declarations; the text is the reference's, without its head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misfit {
    /// No value and no default.
    Missing(Vec<String>),
    /// A value of another type.
    WrongType(Vec<String>),
    /// Keys of object params that neither value nor default has.
    MissingKeys(BTreeMap<String, Vec<String>>),
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misfit::Missing(names) => {
                write!(
                    f,
                    "missing values for these params which have no default values: [{}]",
                    names.join(" ")
                )
            }
            Misfit::WrongType(names) => {
                write!(f, "param types don't match the user-specified type: [{}]", names.join(" "))
            }
            Misfit::MissingKeys(keys) => {
                let keys: Vec<_> =
                    keys.iter().map(|(name, keys)| format!("{name}:[{}]", keys.join(" "))).collect();
                let head = "missing keys for these params which are required in ParamSpec's properties";
                write!(f, "{head} map[{}]", keys.join(" "))
            }
        }
    }
}

/// Checks `given` against `specs`. Extra params are ignored.
///
/// # Errors
/// The first kind of misfit, in the reference's order.
pub fn check(specs: &[Value], given: &[Value]) -> Result<(), Misfit> {
    let value_of = |name: &str| given.iter().find(|p| text(p, "name") == name).map(|p| &p["value"]);
    let no_default = |spec: &&Value| spec.get("default").is_none_or(Value::is_null);
    let missing: BTreeSet<_> = specs
        .iter()
        .filter(no_default)
        .map(|spec| text(spec, "name"))
        .filter(|name| value_of(name).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Misfit::Missing(missing.into_iter().map(str::to_owned).collect()));
    }
    let mut wrong = Vec::new();
    for param in given {
        let name = text(param, "name");
        let Some(spec) = specs.iter().find(|spec| text(spec, "name") == name) else { continue };
        // A whole-array or whole-object reference is still a text here.
        let reference = param["value"].as_str().is_some_and(|v| v.starts_with("$(") && v.ends_with("[*])"));
        if !reference && Type::of(&param["value"]) != Type::declared(spec) {
            wrong.push(name.to_owned());
        }
    }
    if !wrong.is_empty() {
        return Err(Misfit::WrongType(wrong));
    }
    let mut keys = BTreeMap::new();
    for spec in specs.iter().filter(|spec| Type::declared(spec) == Type::Object) {
        let name = text(spec, "name");
        let has = |value: Option<&Value>, key: &str| value.is_some_and(|v| v.get(key).is_some());
        let lacking: Vec<_> = spec["properties"]
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| !has(value_of(name), key) && !has(spec.get("default"), key))
            .cloned()
            .collect();
        if !lacking.is_empty() {
            keys.insert(name.to_owned(), lacking);
        }
    }
    if keys.is_empty() { Ok(()) } else { Err(Misfit::MissingKeys(keys)) }
}

/// Text values must be among those that their declaration allows, if it says any.
///
/// # Errors
/// The reference's text.
pub fn check_enums(specs: &[Value], given: &[Value]) -> Result<(), String> {
    for param in given {
        let (name, value) = (text(param, "name"), param["value"].as_str().unwrap_or(""));
        let spec = specs.iter().find(|spec| text(spec, "name") == name);
        let allowed = spec.map_or(&[][..], |spec| crate::engine::doc::list(spec, "enum"));
        if !value.is_empty() && !allowed.is_empty() && !allowed.iter().any(|a| a == value) {
            return Err(format!("param `{name}` value: {value} is not in the enum list"));
        }
    }
    Ok(())
}

/// Value of each declared param, then of each given one: object values are laid over their defaults.
pub fn values(specs: &[Value], given: &[Value]) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for spec in specs {
        if let Some(default) = spec.get("default").filter(|d| !d.is_null()) {
            out.insert(text(spec, "name").to_owned(), default.clone());
        }
    }
    for param in given {
        let (name, value) = (text(param, "name"), &param["value"]);
        match (out.get_mut(name), value) {
            (Some(Value::Object(there)), Value::Object(new)) => there.extend(new.clone()),
            _ => {
                out.insert(name.to_owned(), value.clone());
            }
        }
    }
    out
}

/// The spellings under which a param can be referred to.
fn spellings(name: &str) -> [String; 4] {
    [
        format!("params.{name}"),
        format!("params[\"{name}\"]"),
        format!("params['{name}']"),
        format!("inputs.params.{name}"),
    ]
}

/// Adds the replacements that a param value gives.
pub fn replace(replacements: &mut Replacements, name: &str, value: &Value) {
    for spelling in spellings(name) {
        match Type::of(value) {
            Type::String => {
                replacements.strings.insert(spelling, as_text(value));
            }
            Type::Array => {
                let items: Vec<_> = value.as_array().into_iter().flatten().map(as_text).collect();
                for (index, item) in items.iter().enumerate() {
                    replacements.strings.insert(format!("{spelling}[{index}]"), item.clone());
                }
                replacements.arrays.insert(format!("{spelling}[*]"), items.clone());
                replacements.arrays.insert(spelling, items);
            }
            Type::Object => {
                let map: BTreeMap<_, _> =
                    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), as_text(v))).collect();
                for (key, item) in &map {
                    replacements.strings.insert(format!("{spelling}.{key}"), item.clone());
                }
                replacements.objects.insert(format!("{spelling}[*]"), map);
            }
        }
    }
}

/// Applies replacements to the `value` of each param in `params`.
pub fn apply(params: &mut [Value], replacements: &Replacements) {
    for param in params {
        if let Some(value) = object_mut(param).get_mut("value") {
            *value = replacements.value(value);
        }
    }
}

/// References to elements of array params beyond their end, as they stand in `texts`, sorted.
pub fn beyond_the_end(values: &BTreeMap<String, Value>, texts: &BTreeSet<String>) -> Vec<String> {
    let mut out = BTreeSet::new();
    for text in texts {
        for reference in references(text) {
            let Some((name, index)) = indexed(&reference) else { continue };
            if let Some(Value::Array(items)) = values.get(name)
                && index >= items.len()
            {
                out.insert(format!("$({reference})"));
            }
        }
    }
    out.into_iter().collect()
}

/// All `$(…)` in `text`, without the brackets.
pub fn references(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("$(") {
        let Some(end) = rest[start..].find(')') else { break };
        out.push(rest[start + 2..start + end].to_owned());
        rest = &rest[start + 2..];
    }
    out
}

/// `params.NAME[3]` and its other spellings: (name, index).
fn indexed(reference: &str) -> Option<(&str, usize)> {
    let (head, index) = reference.strip_suffix(']')?.rsplit_once('[')?;
    let index = index.parse().ok()?;
    let quoted = |open: &str, close: &str| head.strip_prefix(open).and_then(|h| h.strip_suffix(close));
    let name = quoted("params[\"", "\"]")
        .or_else(|| quoted("params['", "']"))
        .or_else(|| head.strip_prefix("inputs.params."))
        .or_else(|| head.strip_prefix("params."))?;
    Some((name, index))
}
