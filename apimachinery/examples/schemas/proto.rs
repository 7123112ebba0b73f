//! Schemas and wire layout of Kubernetes' own kinds, read from its `generated.proto` files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::Table;

pub const OBJECT_META: &str = "k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// apiVersion, proto package and message of every kind that is wanted.
pub const ROOTS: &[(&str, &str, &str)] = &[
    ("/v1", "k8s.io.api.core.v1", "Namespace"),
    ("/v1", "k8s.io.api.core.v1", "ConfigMap"),
    ("/v1", "k8s.io.api.core.v1", "Secret"),
    ("/v1", "k8s.io.api.core.v1", "ServiceAccount"),
    ("/v1", "k8s.io.api.core.v1", "PersistentVolumeClaim"),
    ("/v1", "k8s.io.api.core.v1", "LimitRange"),
    ("/v1", "k8s.io.api.core.v1", "Event"),
    ("/v1", "k8s.io.api.core.v1", "Pod"),
    ("events.k8s.io/v1", "k8s.io.api.events.v1", "Event"),
    ("coordination.k8s.io/v1", "k8s.io.api.coordination.v1", "Lease"),
    ("authorization.k8s.io/v1", "k8s.io.api.authorization.v1", "SelfSubjectAccessReview"),
    ("authorization.k8s.io/v1", "k8s.io.api.authorization.v1", "SelfSubjectRulesReview"),
    ("authorization.k8s.io/v1", "k8s.io.api.authorization.v1", "SubjectAccessReview"),
    ("authorization.k8s.io/v1", "k8s.io.api.authorization.v1", "LocalSubjectAccessReview"),
    ("authentication.k8s.io/v1", "k8s.io.api.authentication.v1", "SelfSubjectReview"),
    ("authentication.k8s.io/v1", "k8s.io.api.authentication.v1", "TokenReview"),
    ("authentication.k8s.io/v1", "k8s.io.api.authentication.v1", "TokenRequest"),
    ("meta.k8s.io/v1", "k8s.io.apimachinery.pkg.apis.meta.v1", "DeleteOptions"),
];

/// Fields that are embedded in Go: a message on the wire, but their members stand in the parent's JSON.
const INLINE: &[&str] = &[
    "volumeSource",
    "localObjectReference",
    "handler",
    "ephemeralContainerCommon",
    "persistentVolumeSource",
];
/// No kind that is wanted nests deeper.
const DEPTH_MAX: usize = 24;

#[derive(Default)]
struct Field {
    name: String,
    number: u32,
    repeated: bool,
    /// The key is a string in all of them.
    map: bool,
    kind: String,
    list_type: Option<String>,
    map_type: Option<String>,
    keys: Vec<String>,
}

/// Every message by its full name, and which of its fields are pointers in Go (`message.field`): only of those a
/// zero on the wire means something.
pub struct Messages {
    messages: BTreeMap<String, Vec<Field>>,
    pointers: BTreeSet<String>,
    /// Messages that are owned as a whole.
    atomic: BTreeSet<String>,
}

impl Messages {
    pub fn read(modules: &Path) -> Result<Self> {
        let mut out = Self { messages: BTreeMap::new(), pointers: BTreeSet::new(), atomic: BTreeSet::new() };
        for module in
            std::fs::read_dir(modules).with_context(|| format!("cannot read {}", modules.display()))?
        {
            let path = module?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
            if name.starts_with("api@") || name.starts_with("apimachinery@") {
                out.read_folder(&path)?;
            }
        }
        Ok(out)
    }

    fn read_folder(&mut self, folder: &Path) -> Result<()> {
        let entries: Vec<PathBuf> =
            std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
        for path in entries {
            if path.is_dir() {
                self.read_folder(&path)?;
            } else if path.file_name().is_some_and(|n| n == "generated.proto") {
                let package = self.read_file(&std::fs::read_to_string(&path)?)?;
                let types = path.with_file_name("types.go");
                if types.is_file() {
                    self.read_types(&std::fs::read_to_string(&types)?, &package);
                }
            }
        }
        Ok(())
    }

    fn read_file(&mut self, text: &str) -> Result<String> {
        let (mut package, mut message) = (String::new(), None::<String>);
        let mut notes: Vec<String> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("package ") {
                package = rest.trim_end_matches(';').to_owned();
            } else if let Some(rest) = line.strip_prefix("message ") {
                let name = format!("{package}.{}", rest.trim_end_matches(" {"));
                self.messages.insert(name.clone(), Vec::new());
                if notes.iter().any(|note| note == "+structType=atomic") {
                    self.atomic.insert(name.clone());
                }
                message = Some(name);
                notes.clear();
            } else if let Some(note) = line.strip_prefix("//") {
                notes.push(note.trim().to_owned());
            } else if line == "}" {
                message = None;
            } else if let Some(name) =
                message.as_ref().filter(|_| line.ends_with(';') && line.contains(" = "))
            {
                let field = field(line, &notes, &package)?;
                self.messages.get_mut(name).context("message")?.push(field);
                notes.clear();
            } else if line.is_empty() {
                notes.clear();
            }
        }
        Ok(package)
    }

    /// Notes pointers: lines such as `Name *Type `json:"name,omitempty"`` inside `type Struct struct {`.
    fn read_types(&mut self, text: &str, package: &str) {
        let mut message = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("type ") {
                message = rest.split(' ').next().unwrap_or("").to_owned();
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(tag) = words.get(2).and_then(|t| t.strip_prefix("`json:\"")) else { continue };
            if words[1].starts_with('*') {
                let name = tag.split([',', '"']).next().unwrap_or("");
                self.pointers.insert(format!("{package}.{message}.{name}"));
            }
        }
    }

    /// The node of a message.
    pub fn node(&self, table: &mut Table, name: &str, depth: usize) -> Result<usize> {
        if depth > DEPTH_MAX {
            bail!("{name} nests too deeply");
        }
        if let Some(mut node) = special(name) {
            if node.contains_key("i") {
                let text = table.intern(scalar("string").context("strings are scalars")?);
                node.insert("i".into(), text.into());
            }
            return Ok(table.intern(node));
        }
        let fields = self.messages.get(name).with_context(|| format!("no message {name}"))?;
        let (mut properties, mut wire, mut inline) = (Map::new(), Map::new(), Map::new());
        for field in fields {
            let at = self.value(table, field, depth)?;
            if INLINE.contains(&field.name.as_str()) {
                inline.insert(field.number.to_string(), at.into());
                let inner: Value = serde_json::from_str(&table.nodes[at])?;
                properties.extend(inner["p"].as_object().cloned().unwrap_or_default());
                continue;
            }
            properties.insert(field.name.clone(), at.into());
            wire.insert(field.number.to_string(), field.name.clone().into());
        }
        let mut out = Map::new();
        out.insert("t".into(), "o".into());
        if name == OBJECT_META {
            out.insert("c".into(), "meta".into());
        }
        if is_root(name) {
            for key in ["apiVersion", "kind"] {
                let mut text = Map::new();
                text.insert("t".into(), "s".into());
                properties.insert(key.into(), table.intern(text).into());
            }
        }
        let pointers: Vec<&str> = fields
            .iter()
            .filter(|f| self.pointers.contains(&format!("{name}.{}", f.name)))
            .map(|f| f.name.as_str())
            .collect();
        if !pointers.is_empty() {
            out.insert("n".into(), json!(pointers));
        }
        if self.atomic.contains(name) {
            out.insert("m".into(), "atomic".into());
        }
        out.insert("p".into(), properties.into());
        out.insert("w".into(), wire.into());
        if !inline.is_empty() {
            out.insert("z".into(), inline.into());
        }
        Ok(table.intern(out))
    }

    fn value(&self, table: &mut Table, field: &Field, depth: usize) -> Result<usize> {
        let mut at = match scalar(&field.kind) {
            Some(node) => table.intern(node),
            None => self.node(table, &field.kind, depth + 1)?,
        };
        if let Some(kind) = &field.map_type {
            let mut node: Map<String, Value> = serde_json::from_str(&table.nodes[at])?;
            node.insert("m".into(), kind.clone().into());
            at = table.intern(node);
        }
        let mut out = Map::new();
        if field.map {
            out.insert("t".into(), "o".into());
            out.insert("a".into(), at.into());
        } else if field.repeated {
            out.insert("t".into(), "a".into());
            out.insert("i".into(), at.into());
            if let Some(kind) = &field.list_type {
                out.insert("l".into(), kind.clone().into());
            }
            if !field.keys.is_empty() {
                out.insert("k".into(), json!(field.keys));
            }
        } else {
            return Ok(at);
        }
        Ok(table.intern(out))
    }
}

fn is_root(name: &str) -> bool {
    ROOTS.iter().any(|(_, package, kind)| name == format!("{package}.{kind}"))
}

fn field(line: &str, notes: &[String], package: &str) -> Result<Field> {
    let (left, number) = line.trim_end_matches(';').rsplit_once(" = ").context("no number")?;
    let mut field = Field { number: number.parse()?, ..Field::default() };
    let (kind, name) = left.rsplit_once(' ').context("no name")?;
    field.name = name.to_owned();
    let kind = if let Some(inner) = kind.strip_prefix("map<") {
        field.map = true;
        inner.trim_end_matches('>').split_once(", ").context("no map value")?.1
    } else if let Some(kind) = kind.strip_prefix("repeated ") {
        field.repeated = true;
        kind
    } else {
        kind.strip_prefix("optional ").unwrap_or(kind)
    };
    field.kind = match kind.strip_prefix('.') {
        Some(full) => full.to_owned(),
        None if scalar(kind).is_some() => kind.to_owned(),
        None => format!("{package}.{kind}"),
    };
    for note in notes {
        let said = |key: &str| note.strip_prefix(key).map(|v| v.trim().to_owned());
        field.list_type = said("+listType=").or(field.list_type);
        field.map_type =
            said("+structType=").or(said("+mapType=")).or(field.map_type).filter(|t| t == "atomic");
        field.keys.extend(said("+listMapKey="));
        // Metadata has no list types, only patch strategies.
        if field.list_type.is_none() && package.ends_with("meta.v1") {
            if said("+patchMergeKey=").is_some() {
                field.list_type = Some("map".to_owned());
                field.keys.extend(said("+patchMergeKey="));
            } else if note == "+patchStrategy=merge" && field.keys.is_empty() {
                field.list_type = Some("set".to_owned());
            }
        }
    }
    field.keys.dedup();
    Ok(field)
}

fn scalar(kind: &str) -> Option<Map<String, Value>> {
    let (kind, format) = match kind {
        "string" => ("s", ""),
        "bool" => ("b", ""),
        "int32" | "uint32" => ("i", "int32"),
        "int64" | "uint64" => ("i", "int64"),
        "double" => ("n", "double"),
        "bytes" => ("s", "byte"),
        _ => return None,
    };
    let mut out = Map::new();
    out.insert("t".into(), kind.into());
    if !format.is_empty() {
        out.insert("f".into(), format.into());
    }
    Some(out)
}

/// Messages whose JSON is not an object with their fields.
fn special(name: &str) -> Option<Map<String, Value>> {
    let node = match name.rsplit_once('.')? {
        ("k8s.io.apimachinery.pkg.apis.meta.v1", "Time") => json!({"t": "s", "f": "date-time", "c": "time"}),
        ("k8s.io.apimachinery.pkg.apis.meta.v1", "MicroTime") => {
            json!({"t": "s", "f": "date-time", "c": "microtime"})
        }
        ("k8s.io.apimachinery.pkg.apis.meta.v1", "FieldsV1") => json!({"t": "o", "x": 1, "c": "raw"}),
        ("k8s.io.apimachinery.pkg.runtime", "RawExtension") => json!({"t": "o", "x": 1, "c": "raw"}),
        ("k8s.io.apimachinery.pkg.api.resource", "Quantity") => json!({"q": 1, "c": "quantity"}),
        ("k8s.io.apimachinery.pkg.util.intstr", "IntOrString") => json!({"q": 1, "c": "intstr"}),
        (_, "ExtraValue") => json!({"t": "a", "i": 0, "c": "wrapped"}),
        _ => return None,
    };
    node.as_object().cloned()
}
