//! The kinds that are served: names, versions, scope, verbs, columns, selectable fields. One table, from which
//! routing, discovery, tables and field selectors follow. A kind that is registered but not served costs nothing
//! and is invisible.

use crate::names::NameRule;

mod core;
mod reviews;
mod tekton;

/// Where objects of a kind live.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the tenant as a whole.
    Cluster,
}

/// One API version of a kind.
#[derive(Debug)]
pub struct Version {
    /// `v1`, `v1beta1`, …
    pub name: &'static str,
    /// Visible to clients. The switch to flip when a kind's behaviour is complete.
    pub served: bool,
    /// Text of the Warning header on every use, if this version is deprecated.
    pub deprecation: Option<&'static str>,
    /// Columns of tables.
    pub columns: &'static [Column],
}

/// Something below an object, with verbs of its own.
#[derive(Debug)]
pub struct Subresource {
    /// `status`, `log`, `token`, …
    pub name: &'static str,
    /// Verbs, as discovery lists them.
    pub verbs: &'static [&'static str],
    /// Group, version and kind of what it answers, where that isn't the parent's.
    pub answers: Option<(&'static str, &'static str, &'static str)>,
}

/// A kind of object.
#[derive(Debug)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// `TaskRun`.
    pub kind: &'static str,
    /// `taskruns`.
    pub plural: &'static str,
    /// `taskrun`.
    pub singular: &'static str,
    /// `tr`, `trs`.
    pub short_names: &'static [&'static str],
    /// `tekton`, `all`.
    pub categories: &'static [&'static str],
    /// Where its objects live.
    pub scope: Scope,
    /// Versions, the preferred one first. The first is also the one that is stored.
    pub versions: &'static [Version],
    /// Verbs, in the order in which discovery lists them.
    pub verbs: &'static [&'static str],
    /// What is below an object, `status` included.
    pub subresources: &'static [Subresource],
    /// What a field selector may name, beside `metadata.name` and `metadata.namespace`.
    pub fields: &'static [Field],
    /// How names are checked.
    pub names: NameRule,
    /// It came from a CustomResourceDefinition: no strategic merge patch, schema errors are 422, generation counts.
    pub custom: bool,
}

/// A field that field selectors may name.
#[derive(Debug)]
pub struct Field {
    /// As clients write it: `spec.nodeName`.
    pub label: &'static str,
    /// JSON pointer to it. The first one that leads to a value counts.
    pub pointers: &'static [&'static str],
    /// What an absent field counts as.
    pub absent: &'static str,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// Heading; kubectl prints it in capitals.
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object, else empty.
    pub format: &'static str,
    /// Explains the column.
    pub description: &'static str,
    /// 0: always shown; above: only when asked for (`-o wide`).
    pub priority: u8,
    /// Where the cell's value comes from.
    pub cell: Cell,
}

/// Where a cell's value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// The object's name.
    Name,
    /// Time since a moment: JSON pointers to it, the first one found counts. Custom kinds show null when there is none.
    Age(&'static [&'static str]),
    /// The value at a JSON pointer, or null.
    At(&'static str),
    /// A member of the condition of type `Succeeded`, or null.
    Succeeded(&'static str),
    /// Computed from the whole object.
    Computed(Computed),
}

/// Cells of core kinds that take more than a look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Computed {
    /// Time since the object was created, or `<unknown>`.
    Age,
    /// `1/2`.
    PodReady,
    /// Phase or the reason that says more.
    PodStatus,
    /// Number of restarts and how long ago.
    PodRestarts,
    /// The node, or `<none>`.
    PodNode,
    /// The address, or `<none>`.
    PodIp,
    /// The nominated node, or `<none>`.
    PodNominatedNode,
    /// Ready readiness gates, or `<none>`.
    PodReadinessGates,
    /// When an event was last seen.
    EventLastSeen,
    /// When an event was first seen.
    EventFirstSeen,
    /// `pod/name`.
    EventObject,
    /// Component and host.
    EventSource,
    /// How often.
    EventCount,
    /// The message without surrounding blanks.
    EventMessage,
    /// Number of entries of `data` and `binaryData`.
    DataCount,
    /// Number of secrets of a service account.
    SecretCount,
    /// Phase, or `Terminating`.
    PhaseOrTerminating,
    /// Capacity of a bound claim.
    ClaimCapacity,
    /// Access modes in short form (`RWO`).
    ClaimAccessModes,
    /// Who holds a lease.
    LeaseHolder,
}

impl Kind {
    /// `taskruns.tekton.dev`, or `pods` in the core group: names the kind in keys and messages.
    pub fn id(&self) -> String {
        crate::status::qualified(self.plural, self.group)
    }

    /// `tekton.dev/v1`, or `v1` in the core group.
    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// The version in which objects are stored.
    pub fn stored_version(&self) -> &'static Version {
        &self.versions[0]
    }

    /// A version that is served.
    pub fn version(&self, name: &str) -> Option<&'static Version> {
        self.versions.iter().find(|v| v.served && v.name == name)
    }

    /// Any version is served.
    pub fn served(&self) -> bool {
        self.versions.iter().any(|v| v.served)
    }

    /// It has this verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Its status is written through a subresource of its own.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Its objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }
}

/// Every registered kind, group by group in the order of discovery. Some may not be served.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    core::KINDS.iter().chain(tekton::KINDS).chain(core::GROUPED).chain(reviews::KINDS)
}

/// The kind served at `/apis/{group}/{version}/{plural}` (core: empty group).
pub fn resource(group: &str, version: &str, plural: &str) -> Option<(&'static Kind, &'static Version)> {
    let kind = all().find(|k| k.group == group && k.plural == plural)?;
    Some((kind, kind.version(version)?))
}

/// The kind by its group and kind name, served or not.
pub fn by_kind(group: &str, kind: &str) -> Option<&'static Kind> {
    all().find(|k| k.group == group && k.kind == kind)
}

/// The kind by its id (`taskruns.tekton.dev`, `pods`), served or not.
pub fn by_id(id: &str) -> Option<&'static Kind> {
    let (plural, group) = id.split_once('.').unwrap_or((id, ""));
    all().find(|k| k.plural == plural && k.group == group)
}

/// Group and version of an apiVersion: `tekton.dev/v1` → (`tekton.dev`, `v1`); `v1` → (empty, `v1`).
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace.",
    priority: 0,
    cell: Cell::Name,
};

const AGE: Column = Column {
    name: "Age",
    kind: "date",
    format: "",
    description: "Time since the object was created.",
    priority: 0,
    cell: Cell::Age(&["/metadata/creationTimestamp"]),
};

const fn column(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", format: "", description: "", priority: 0, cell }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", format: "", description: "", priority: 1, cell }
}

const fn date(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "date", format: "", description: "", priority: 0, cell }
}

const fn version(name: &'static str, columns: &'static [Column]) -> Version {
    Version { name, served: true, deprecation: None, columns }
}

const fn unserved(name: &'static str, columns: &'static [Column]) -> Version {
    Version { name, served: false, deprecation: None, columns }
}

const STATUS: Subresource = Subresource { name: "status", verbs: &["get", "patch", "update"], answers: None };

#[cfg(test)]
mod tests;
