//! The contract between the engine and whoever runs it (the cell's runs loop, the goldens, the world).
//!
//! The caller takes one consistent [`Observed`], calls `decide`, and either reads more ([`Outcome::Need`]) and
//! calls again, or writes the whole [`Decision`] in one transaction that is conditional on the revisions read.
//! Deciding twice on the same snapshot gives the same answer; deciding after applying wants nothing new.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::engine::cloudevents::CloudEvent;

/// Names an object the engine wants to read or write.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// Kind, for example `Task`, `ConfigMap`, `Pod`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// Names an object.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// Something the engine must know before it can decide.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Need {
    /// An object by name.
    Object(Key),
    /// All LimitRanges of the namespace.
    LimitRanges,
    /// Entrypoint, command and digest of an image, from its registry: a step has neither command nor script.
    Image(String),
    /// All VerificationPolicies of the namespace: something was fetched from elsewhere.
    VerificationPolicies,
    /// The values of a Secret: a policy says that a public key is in it.
    Secret(Key),
}

/// Values of a Secret, by key. No log shows them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Opened(pub BTreeMap<String, Vec<u8>>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is known of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ImageConfig {
    /// It was found.
    Found {
        /// Digest of the index or manifest: `sha256:…`.
        digest: String,
        /// Per platform (`linux/amd64`), entrypoint followed by cmd, apart: (entrypoint, cmd).
        platforms: BTreeMap<String, (Vec<String>, Vec<String>)>,
    },
    /// The registry says no, or the reference cannot be parsed; with the text for the run's message.
    Missing(String),
}

/// A consistent view of everything that concerns one run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The TaskRun or PipelineRun.
    pub run: Value,
    /// Objects that list the run as their controlling owner: Pods of a TaskRun; TaskRuns, CustomRuns and
    /// PipelineRuns of a PipelineRun; claims; ResolutionRequests.
    pub owned: Vec<Value>,
    /// Objects read because of an earlier [`Need::Object`]; `None`: it is not there.
    pub objects: BTreeMap<Key, Option<Value>>,
    /// LimitRanges of the namespace, after [`Need::LimitRanges`].
    pub limit_ranges: Option<Vec<Value>>,
    /// Images read because of an earlier [`Need::Image`].
    pub images: BTreeMap<String, ImageConfig>,
    /// VerificationPolicies of the namespace, after [`Need::VerificationPolicies`].
    pub policies: Option<Vec<Value>>,
    /// Secrets opened because of an earlier [`Need::Secret`]; `None`: it is not there.
    pub secrets: BTreeMap<Key, Option<Opened>>,
    /// Why the creation of the run's Pod was refused the last time (`REASON`, message), if it was.
    pub pod_refused: Option<(String, String)>,
    /// Pods of this run (by uid) that the infrastructure has lost for good: reason and message of the run's end.
    pub lost: BTreeMap<String, (&'static str, String)>,
}

/// Names of the images that a Pod is built from, and other settings of the installation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installation {
    /// Image of the entrypoint.
    pub entrypoint_image: String,
    /// Image that stops sidecars.
    pub nop_image: String,
    /// Image with a shell.
    pub shell_image: String,
    /// Image with a Windows shell.
    pub shell_image_win: String,
    /// Image that makes working directories.
    pub workingdirinit_image: String,
    /// Image that prints results.
    pub sidecarlogresults_image: String,
    /// Value of annotation `pipeline.tekton.dev/release`.
    pub release: String,
    /// Minor version of Kubernetes that we look like: 33.
    pub kubernetes_minor: u32,
    /// Somebody answers ResolutionRequests. Where nobody does, remote references fail at once.
    pub resolvers: bool,
}

/// What `decide` answers.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Read these too, and ask again.
    Need(BTreeSet<Need>),
    /// Write this.
    Decision(Box<Decision>),
}

/// Rows to write, all in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The run's new status; `None`: unchanged.
    pub status: Option<Value>,
    /// Labels and annotations to set on the run; `None`: unchanged.
    pub metadata: Option<MetadataUpdate>,
    /// Objects to create: Pods, child runs, claims, ResolutionRequests. Complete but for defaulting and uid.
    pub creates: Vec<Value>,
    /// Patches of children.
    pub patches: Vec<ChildPatch>,
    /// Objects to delete.
    pub deletes: Vec<Key>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// CloudEvents, in order: to be sent once everything else is written, and again until somebody takes them.
    pub cloud_events: Vec<CloudEvent>,
    /// Errors that the reference's controller would return, for the log and the goldens.
    pub errors: Vec<String>,
    /// The errors are of a kind that the reference tries again after.
    pub errors_pass: bool,
    /// Look again after this long, µs.
    pub requeue_after_us: Option<i64>,
    /// Look again after this long, too, µs: the reference gets there by the write that this decision is.
    pub also_after_us: Option<i64>,
    /// In words: what a run that is not done waits for.
    pub waits_for: Option<String>,
}

/// Labels and annotations written to the run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetadataUpdate {
    /// All labels the run shall have.
    pub labels: BTreeMap<String, String>,
    /// All annotations the run shall have.
    pub annotations: BTreeMap<String, String>,
}

/// A patch of a child object.
#[derive(Clone, PartialEq, Debug)]
pub struct ChildPatch {
    /// Which object.
    pub key: Key,
    /// How to read `body`.
    pub kind: PatchKind,
    /// The patch.
    pub body: Value,
}

/// How to read a patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
}

/// A Kubernetes event about the run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Event {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}
