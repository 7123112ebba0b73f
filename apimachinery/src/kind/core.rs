//! The kinds of Kubernetes itself that Tekton and its clients need.

use super::{
    Cell, Column, Computed, Field, Kind, NAME, STATUS, Scope, Subresource, column, unserved, version, wide,
};
use crate::names::NameRule;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

const fn integer(name: &'static str, cell: Cell) -> Column {
    Column { kind: "integer", ..column(name, cell) }
}

const AGE: Column = column("Age", Cell::Computed(Computed::Age));

const fn field(label: &'static str, pointers: &'static [&'static str]) -> Field {
    Field { label, pointers, absent: "" }
}

/// What most of them share.
const CORE: Kind = Kind {
    group: "",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    versions: &[],
    verbs: VERBS,
    subresources: &[],
    fields: &[],
    names: NameRule::Subdomain,
    custom: false,
};

/// The core group.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        versions: &[version("v1", &[NAME, integer("Data", Cell::Computed(Computed::DataCount)), AGE])],
        ..CORE
    },
    Kind {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        versions: &[version("v1", EVENT_COLUMNS)],
        fields: EVENT_FIELDS,
        ..CORE
    },
    Kind {
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        versions: &[version("v1", &[NAME, column("Created At", Cell::At("/metadata/creationTimestamp"))])],
        ..CORE
    },
    Kind {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        scope: Scope::Cluster,
        versions: &[version(
            "v1",
            &[NAME, column("Status", Cell::Computed(Computed::PhaseOrTerminating)), AGE],
        )],
        verbs: NO_COLLECTION,
        subresources: &[STATUS],
        fields: &[field("status.phase", &["/status/phase"])],
        names: NameRule::Label,
        ..CORE
    },
    Kind {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short_names: &["pvc"],
        versions: &[version("v1", CLAIM_COLUMNS)],
        subresources: &[STATUS],
        ..CORE
    },
    Kind {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        versions: &[version("v1", POD_COLUMNS)],
        subresources: &[Subresource { name: "log", verbs: &["get"], answers: None }, STATUS],
        fields: POD_FIELDS,
        ..CORE
    },
    Kind {
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        versions: &[version(
            "v1",
            &[
                NAME,
                column("Type", Cell::At("/type")),
                integer("Data", Cell::Computed(Computed::DataCount)),
                AGE,
            ],
        )],
        fields: &[field("type", &["/type"])],
        ..CORE
    },
    Kind {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        versions: &[version("v1", &[NAME, integer("Secrets", Cell::Computed(Computed::SecretCount)), AGE])],
        subresources: &[Subresource {
            name: "token",
            verbs: &["create"],
            answers: Some(("authentication.k8s.io", "v1", "TokenRequest")),
        }],
        ..CORE
    },
];

/// Kinds of other groups.
pub(super) const GROUPED: &[Kind] = &[
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        versions: &[version("v1", &[NAME, column("Holder", Cell::Computed(Computed::LeaseHolder)), AGE])],
        ..CORE
    },
    Kind {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        versions: &[unserved("v1", EVENT_COLUMNS)],
        ..CORE
    },
];

const EVENT_COLUMNS: &[Column] = &[
    column("Last Seen", Cell::Computed(Computed::EventLastSeen)),
    column("Type", Cell::At("/type")),
    column("Reason", Cell::At("/reason")),
    column("Object", Cell::Computed(Computed::EventObject)),
    wide("Subobject", Cell::At("/involvedObject/fieldPath")),
    wide("Source", Cell::Computed(Computed::EventSource)),
    column("Message", Cell::Computed(Computed::EventMessage)),
    wide("First Seen", Cell::Computed(Computed::EventFirstSeen)),
    wide("Count", Cell::Computed(Computed::EventCount)),
    Column { priority: 1, ..NAME },
];

const EVENT_FIELDS: &[Field] = &[
    field("involvedObject.kind", &["/involvedObject/kind"]),
    field("involvedObject.namespace", &["/involvedObject/namespace"]),
    field("involvedObject.name", &["/involvedObject/name"]),
    field("involvedObject.uid", &["/involvedObject/uid"]),
    field("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
    field("involvedObject.resourceVersion", &["/involvedObject/resourceVersion"]),
    field("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
    field("reason", &["/reason"]),
    field("reportingComponent", &["/reportingComponent"]),
    field("source", &["/source/component", "/reportingComponent"]),
    field("type", &["/type"]),
];

const CLAIM_COLUMNS: &[Column] = &[
    NAME,
    column("Status", Cell::Computed(Computed::PhaseOrTerminating)),
    column("Volume", Cell::At("/spec/volumeName")),
    column("Capacity", Cell::Computed(Computed::ClaimCapacity)),
    column("Access Modes", Cell::Computed(Computed::ClaimAccessModes)),
    column("StorageClass", Cell::At("/spec/storageClassName")),
    AGE,
    wide("VolumeMode", Cell::At("/spec/volumeMode")),
];

const POD_COLUMNS: &[Column] = &[
    NAME,
    column("Ready", Cell::Computed(Computed::PodReady)),
    column("Status", Cell::Computed(Computed::PodStatus)),
    column("Restarts", Cell::Computed(Computed::PodRestarts)),
    AGE,
    wide("IP", Cell::Computed(Computed::PodIp)),
    wide("Node", Cell::Computed(Computed::PodNode)),
    wide("Nominated Node", Cell::Computed(Computed::PodNominatedNode)),
    wide("Readiness Gates", Cell::Computed(Computed::PodReadinessGates)),
];

const POD_FIELDS: &[Field] = &[
    field("spec.nodeName", &["/spec/nodeName"]),
    Field { label: "spec.restartPolicy", pointers: &["/spec/restartPolicy"], absent: "Always" },
    Field { label: "spec.schedulerName", pointers: &["/spec/schedulerName"], absent: "default-scheduler" },
    field("spec.serviceAccountName", &["/spec/serviceAccountName"]),
    Field { label: "spec.hostNetwork", pointers: &["/spec/hostNetwork"], absent: "false" },
    field("status.phase", &["/status/phase"]),
    field("status.podIP", &["/status/podIP"]),
    field("status.nominatedNodeName", &["/status/nominatedNodeName"]),
];
