//! Paths of a group and version: one operation per verb, with what clients look for in them.

use serde_json::{Map, Value, json};

use super::components::Place;
use super::{operation_group, schema_name};
use crate::accept::{CORE_PATCH_TYPES, PATCH_TYPES};
use crate::kind::{Kind, all};

const LIST_PARAMETERS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE_PARAMETERS: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH_PARAMETERS: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE_PARAMETERS: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const READ_PARAMETERS: &[(&str, &str)] = &[("resourceVersion", "string")];

/// Every path of the group and version.
pub(super) fn all_paths(group: &str, version: &str, place: Place) -> Map<String, Value> {
    let mut out = Map::new();
    for kind in all().filter(|k| k.group == group && k.version(version).is_some()) {
        Paths { kind, version, place }.add(&mut out);
    }
    out
}

/// The `paths` of an OpenAPI v3 document.
pub(super) fn all_v3(group: &str, version: &str) -> Value {
    Value::Object(all_paths(group, version, Place::Components))
}

struct Paths<'a> {
    kind: &'static Kind,
    version: &'a str,
    place: Place,
}

impl Paths<'_> {
    fn add(&self, out: &mut Map<String, Value>) {
        let kind = self.kind;
        let root = match kind.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        let across = format!("{root}/{}", kind.plural);
        let collection = if kind.namespaced() {
            format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            across.clone()
        };
        out.insert(collection.clone(), self.collection());
        if !kind.has_verb("list") {
            return;
        }
        if kind.namespaced() {
            out.insert(across, self.across_namespaces());
        }
        out.insert(format!("{collection}/{{name}}"), self.single());
        if kind.has_status() {
            out.insert(format!("{collection}/{{name}}/status"), self.status());
        }
    }

    fn collection(&self) -> Value {
        let mut out = Map::new();
        if self.kind.has_verb("list") {
            let list = self.answers(&[200], &self.place.to(&format!("{}List", self.schema())));
            out.insert("get".into(), self.operation("list", "list", "", LIST_PARAMETERS, None, list));
        }
        if self.kind.has_verb("create") {
            let object = self.answers(&[200, 201, 202], &self.object());
            let body = self.body(&self.object());
            out.insert(
                "post".into(),
                self.operation("create", "post", "", WRITE_PARAMETERS, Some(body), object),
            );
        }
        if self.kind.has_verb("deletecollection") {
            let status = self.answers(&[200], &self.place.to_meta("Status"));
            out.insert(
                "delete".into(),
                self.operation("deleteCollection", "deletecollection", "", LIST_PARAMETERS, None, status),
            );
        }
        out.insert("parameters".into(), self.path_parameters(false));
        out.into()
    }

    fn across_namespaces(&self) -> Value {
        let mut parameters: Vec<(&str, &str)> = LIST_PARAMETERS.to_vec();
        parameters.push(("pretty", "string"));
        parameters.sort_unstable();
        let list = self.answers(&[200], &self.place.to(&format!("{}List", self.schema())));
        let mut get = self.operation("list", "list", "ForAllNamespaces", &[], None, list);
        if let Some(get) = get.as_object_mut() {
            get.remove("parameters");
        }
        json!({"get": get, "parameters": self.query(&parameters)})
    }

    fn single(&self) -> Value {
        let object = |codes: &[u16]| self.answers(codes, &self.object());
        let mut out = Map::new();
        out.insert("get".into(), self.operation("read", "get", "", READ_PARAMETERS, None, object(&[200])));
        let body = Some(self.body(&self.object()));
        out.insert(
            "put".into(),
            self.operation("replace", "put", "", WRITE_PARAMETERS, body, object(&[200, 201])),
        );
        let status = self.answers(&[200, 202], &self.place.to_meta("Status"));
        let mut options = self.body(&self.place.to_meta("DeleteOptions"));
        if let Some(options) = options.as_object_mut() {
            options.remove("required");
        }
        out.insert(
            "delete".into(),
            self.operation("delete", "delete", "", DELETE_PARAMETERS, Some(options), status),
        );
        out.insert("patch".into(), self.patch(""));
        out.insert("parameters".into(), self.path_parameters(true));
        out.into()
    }

    fn status(&self) -> Value {
        let object = |codes: &[u16]| self.answers(codes, &self.object());
        let body = Some(self.body(&self.object()));
        json!({
            "get": self.operation("read", "get", "Status", READ_PARAMETERS, None, object(&[200])),
            "put": self.operation("replace", "put", "Status", WRITE_PARAMETERS, body, object(&[200, 201])),
            "patch": self.patch("Status"),
            "parameters": self.path_parameters(true),
        })
    }

    fn patch(&self, suffix: &str) -> Value {
        let types = if self.kind.custom { PATCH_TYPES } else { CORE_PATCH_TYPES };
        let content: Map<String, Value> =
            types.iter().map(|t| ((*t).to_owned(), json!({"schema": self.place.to_meta("Patch")}))).collect();
        let body = json!({"content": content, "required": true});
        let answers = self.answers(&[200], &self.object());
        self.operation("patch", "patch", suffix, PATCH_PARAMETERS, Some(body), answers)
    }

    fn operation(
        &self,
        verb: &str,
        action: &str,
        suffix: &str,
        parameters: &[(&str, &str)],
        body: Option<Value>,
        answers: Value,
    ) -> Value {
        let group = operation_group(self.kind.group, self.version);
        let namespaced =
            if self.kind.namespaced() && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let (verb, collection) =
            if verb == "deleteCollection" { ("delete", "Collection") } else { (verb, "") };
        let id = format!("{verb}{group}{collection}{namespaced}{}{suffix}", self.kind.kind);
        let mut out = json!({
            "tags": [tag(self.kind.group, self.version)], "operationId": id,
            "parameters": self.query(parameters), "responses": answers, "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind":
                {"group": self.kind.group, "version": self.version, "kind": self.kind.kind},
        });
        if let Some(body) = body {
            out["requestBody"] = body;
        }
        out
    }

    fn schema(&self) -> String {
        schema_name(self.kind.group, self.version, self.kind.kind, self.kind.custom)
    }

    fn object(&self) -> Value {
        self.place.to(&self.schema())
    }

    fn body(&self, schema: &Value) -> Value {
        json!({"content": content(schema), "required": true})
    }

    fn answers(&self, codes: &[u16], schema: &Value) -> Value {
        let mut out: Map<String, Value> =
            codes.iter().map(|code| (code.to_string(), json!({"content": content(schema)}))).collect();
        out.insert("401".into(), json!({}));
        out.into()
    }

    fn path_parameters(&self, with_name: bool) -> Value {
        let in_path =
            |name: &str| json!({"name": name, "in": "path", "required": true, "schema": scalar("string")});
        let mut out = Vec::new();
        if with_name {
            out.push(in_path("name"));
        }
        if self.kind.namespaced() {
            out.push(in_path("namespace"));
        }
        out.push(json!({"name": "pretty", "in": "query", "schema": scalar("string")}));
        out.into()
    }

    fn query(&self, parameters: &[(&str, &str)]) -> Value {
        parameters
            .iter()
            .map(|(name, kind)| json!({"name": name, "in": "query", "schema": scalar(kind)}))
            .collect()
    }
}

fn scalar(kind: &str) -> Value {
    json!({"type": kind, "uniqueItems": true})
}

fn content(schema: &Value) -> Value {
    json!({"application/json": {"schema": schema}, "application/yaml": {"schema": schema}})
}

/// `tektonDev_v1`, `core_v1`.
fn tag(group: &str, version: &str) -> String {
    let name = operation_group(group, "");
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}_{version}", chars.as_str())
}
