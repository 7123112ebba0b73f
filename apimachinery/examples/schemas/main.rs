//! Makes `schemas/nodes.json`, the table from which all schemas are read, out of published facts:
//!
//! - the structural schemas of Tekton's kinds, as an API server shows them (`golden/api/openapi-v3/*.json`);
//! - names, types, field numbers and list types of Kubernetes' own kinds (`generated.proto` of the Go modules
//!   `k8s.io/api` and `k8s.io/apimachinery`, which `go mod download` fetches).
//!
//! `cargo run -p apimachinery --example schemas -- OPENAPI_DIR K8S_IO_DIR > NEW` and then, as the build needs the
//! old one until then, `mv NEW apimachinery/schemas/nodes.json`; K8S_IO_DIR contains `api@vX` and `apimachinery@vX`.
//!
//! Descriptions are left out. Equal subtrees are kept once. The meaning of the short keys is in `src/schema/node.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

mod crd;
mod proto;

/// Nodes by their text, so that equal ones are kept once.
#[derive(Default)]
struct Table {
    nodes: Vec<String>,
    known: BTreeMap<String, usize>,
    kinds: BTreeMap<String, usize>,
}

impl Table {
    fn intern(&mut self, node: Map<String, Value>) -> usize {
        let text = Value::Object(node).to_string();
        if let Some(at) = self.known.get(&text) {
            return *at;
        }
        self.nodes.push(text.clone());
        self.known.insert(text, self.nodes.len() - 1);
        self.nodes.len() - 1
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [openapi, modules] = args.as_slice() else { bail!("usage: schemas OPENAPI_DIR K8S_IO_DIR") };
    let mut table = Table::default();
    let messages = proto::Messages::read(Path::new(modules))?;
    for (group_version, package, kind) in proto::ROOTS {
        let at = messages.node(&mut table, &format!("{package}.{kind}"), 0)?;
        table.kinds.insert(format!("{group_version}/{kind}"), at);
    }
    let metadata = messages.node(&mut table, proto::OBJECT_META, 0)?;
    for file in [
        "tekton.dev__v1",
        "tekton.dev__v1beta1",
        "tekton.dev__v1alpha1",
        "resolution.tekton.dev__v1beta1",
        "resolution.tekton.dev__v1alpha1",
    ] {
        let path = Path::new(openapi).join(format!("{file}.json"));
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        crd::add(&mut table, &serde_json::from_str(&text)?, metadata)?;
    }
    println!("{{\"kinds\":{},\"nodes\":[", json!(table.kinds));
    println!("{}\n]}}", table.nodes.join(",\n"));
    Ok(())
}
