//! Files by their public addresses, and a hub of tasks. The content is ours: a task and a step that clone, with the
//! parameters of the ones that the examples mean.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The catalog's files, by path in its repository.
pub const CATALOG: [(&str, &str); 2] = [
    ("task/git-clone/0.10/git-clone.yaml", include_str!("catalog/git-clone.yaml")),
    ("stepaction/git-clone/0.1/git-clone.yaml", include_str!("catalog/git-clone-step.yaml")),
];

/// All files.
pub struct Files {
    files: BTreeMap<String, &'static str>,
}

impl Files {
    /// The catalog on its main branch.
    pub fn new() -> Self {
        let at = |path: &str| format!("/tektoncd/catalog/main/{path}");
        Self { files: CATALOG.iter().map(|(path, text)| (at(path), *text)).collect() }
    }

    /// A file, as it is.
    pub fn answer(&self, path: &str) -> Response {
        match self.files.get(path) {
            Some(text) => (*text).into_response(),
            None => (StatusCode::NOT_FOUND, "404: Not Found").into_response(),
        }
    }

    /// What the hub says of a task, in one of its versions.
    pub fn hub(&self, path: &str) -> Response {
        let known = ["/api/v1/packages/tekton-task/tekton-catalog-tasks/git-clone"];
        let version = known.iter().find_map(|known| path.strip_prefix(known));
        match version {
            Some("") => Json(json!({"available_versions": [{"version": "0.10.0"}]})).into_response(),
            Some("/0.10.0" | "/0.10") => {
                let data = json!({"manifestRaw": CATALOG[0].1});
                Json(json!({"name": "git-clone", "version": "0.10.0", "data": data})).into_response()
            }
            _ => (StatusCode::NOT_FOUND, Json(json!({"message": "not found"}))).into_response(),
        }
    }
}
