//! The Order: a Pod with no API reference left, and all that it needs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// What an agent must run. Contains secrets: it is never logged and never stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// The attempt's id.
    pub attempt: String,
    /// The lowered Pod: metadata (name, namespace, uid, annotations), containers, init containers that are
    /// native sidecars. `spec.volumes` only gives names; their content is in `volumes`.
    pub pod: Pod,
    /// Content of each of the Pod's volumes, by volume name.
    pub volumes: BTreeMap<String, Volume>,
    /// Environment values that come from Secrets: container name -> variable -> value. They reach the process
    /// through a file on tmpfs that the entrypoint reads, never through a manifest or arguments.
    #[serde(default)]
    pub secret_env: BTreeMap<String, BTreeMap<String, String>>,
    /// Directories to make (with mode 0777) below the root of every step before it starts: relative working
    /// directories and those below /workspace, as absolute container paths.
    #[serde(default)]
    pub working_dirs: Vec<String>,
    /// Annotations that downward volumes show from when the Pod runs and each of its containers that is no step is
    /// ready or has ended. The cell comes to the same, two commits later; nobody need wait for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when_ready: BTreeMap<String, String>,
    /// Names of the init containers whose work the agent does itself; shown as completed in the status.
    #[serde(default)]
    pub done_by_agent: Vec<String>,
    /// Registry credentials by registry host, in the form of `auths` of a docker config.
    #[serde(default)]
    pub registry_auth: BTreeMap<String, RegistryAuth>,
    /// After this instant (µs since 1970, by the cell's clock) the agent stops the pod whatever the cell says. Only
    /// for agents that do not know `left_ms`.
    pub deadline_us: i64,
    /// What is left to the deadline, in ms from when the Order arrives. A length and not an instant: the clocks
    /// of a cell and of a machine may be far apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// The agent must hear from the cell within this time, in ms, for as long as anything of the pod runs; its end is
    /// armed where a wedged agent cannot stop it. `None`: it goes on whatever happens to the cell.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// W3C trace context of the run.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// Whether containers of the pod may reach the network outside.
    pub network: Network,
    /// The version in which the cell speaks from here on; a cell that does not say so speaks the first.
    #[serde(default = "first")]
    pub version: u32,
    /// Addresses at which agents reach the replicas of the cell (since version 2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<String>,
}

fn first() -> u32 {
    1
}

impl Order {
    /// Generation of each volume that the attempt has, by uid.
    pub fn held(&self) -> BTreeMap<String, u64> {
        let held = self.volumes.values().filter_map(|volume| match volume {
            Volume::Dir { held: Some(held), .. } => Some((held.uid.clone(), held.generation)),
            _ => None,
        });
        held.collect()
    }
}

/// What a volume holds.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Volume {
    /// An empty folder.
    Empty {
        /// On tmpfs.
        memory: bool,
        /// Upper bound in bytes.
        #[serde(default)]
        limit: Option<u64>,
    },
    /// Files that the agent writes before the start, on tmpfs when `secret`.
    Files {
        /// The files.
        files: Vec<File>,
        /// Content is secret.
        secret: bool,
    },
    /// The entrypoint binary at `entrypoint`, and nothing else.
    Entrypoint,
    /// Symbolic links name -> target (`/tekton/steps`).
    Links {
        /// The links.
        links: BTreeMap<String, String>,
    },
    /// Files whose content is a Pod annotation, kept up to date (`/tekton/downward`).
    Downward {
        /// file name -> annotation key.
        items: BTreeMap<String, String>,
    },
    /// A folder of this host that outlives the machine: a claim on the local provider.
    Dir {
        /// Absolute path on the host.
        path: String,
        /// Mounted read-only wherever it is mounted.
        #[serde(default)]
        read_only: bool,
        /// The volume's uid and the generation under which this attempt has it; told at the start gate.
        #[serde(default)]
        held: Option<Held>,
    },
}

/// Under which generation an attempt has a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// The volume's uid.
    pub uid: String,
    /// Whoever finds a higher one in `fence` must not attach.
    pub generation: u64,
    /// File of this host with the lowest generation that may attach.
    pub fence: String,
}

/// One file of a volume.
#[derive(Clone, Serialize, Deserialize)]
pub struct File {
    /// Relative path inside the volume.
    pub path: String,
    /// Content, base64 (standard alphabet, padded).
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// Credentials for one registry.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
}

/// What a pod can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Its own loopback only.
    None,
    /// Outbound by NAT; neither the agent nor the cell nor another pod.
    Nat,
}

/// Shows the attempt only: an Order holds secrets.
impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
