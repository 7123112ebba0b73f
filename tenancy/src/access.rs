//! Callers and grants: what a verified credential says, and proof that one verb on one resource is allowed.

use crate::id::TenantId;

/// Who makes a request, as its verified credential says. Nothing of it comes from the path or the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The only tenant this caller can reach.
    pub tenant: TenantId,
    /// User name as reported by SelfSubjectReview.
    pub user: String,
    /// Groups as reported by SelfSubjectReview.
    pub groups: Vec<String>,
    /// The role that decides.
    pub role: Role,
}

/// Who runs the installation, as its verified credential says. It reaches the admin API and no tenant's objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operator {
    /// Its name, for the record of what was done.
    pub user: String,
}

/// What a caller may do inside its tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// get, list, watch; no secrets.
    Viewer,
    /// Everything on Tekton objects and on what they need, except namespaces.
    Editor,
    /// Everything inside the tenant.
    Admin,
}

/// A Kubernetes request verb.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Follow changes.
    Watch,
    /// Make one.
    Create,
    /// Replace one.
    Update,
    /// Change a part of one.
    Patch,
    /// Remove one.
    Delete,
    /// Remove many.
    DeleteCollection,
}

impl Verb {
    /// The word that Kubernetes uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
        }
    }

    /// All verbs.
    pub const ALL: [Verb; 8] = [
        Verb::Get,
        Verb::List,
        Verb::Watch,
        Verb::Create,
        Verb::Update,
        Verb::Patch,
        Verb::Delete,
        Verb::DeleteCollection,
    ];
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Plural name, for example `taskruns`.
    pub plural: String,
    /// `status`, `log`, …
    pub subresource: Option<String>,
    /// `None` for cluster-scoped and for all namespaces.
    pub namespace: Option<String>,
    /// `None` where the request names no object.
    pub name: Option<String>,
}

/// Proof that `caller` may do `verb` on `resource` in its tenant. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Grant {
    tenant: TenantId,
    user: String,
    verb: Verb,
    resource: Resource,
}

impl Grant {
    /// The tenant whose data this grant opens.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    /// On whose behalf.
    pub fn user(&self) -> &str {
        &self.user
    }
    /// What may be done.
    pub fn verb(&self) -> Verb {
        self.verb
    }
    /// To what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }
}

/// Decides whether `caller` may do `verb` on `resource`.
///
/// # Errors
/// [`Denied`] carries what was refused; its text is what Kubernetes would say.
pub fn decide(caller: &Caller, verb: Verb, resource: Resource) -> Result<Grant, Box<Denied>> {
    let reading = matches!(verb, Verb::Get | Verb::List | Verb::Watch);
    let secret = resource.group.is_empty() && resource.plural == "secrets";
    let allowed = match caller.role {
        Role::Admin => true,
        Role::Editor => reading || resource.plural != "namespaces",
        Role::Viewer => reading && !secret,
    };
    if allowed {
        Ok(Grant { tenant: caller.tenant.clone(), user: caller.user.clone(), verb, resource })
    } else {
        Err(Box::new(Denied { user: caller.user.clone(), verb, resource }))
    }
}

/// A refusal.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{user} may not {verb:?} {}", resource.plural)]
pub struct Denied {
    /// Who asked.
    pub user: String,
    /// For what.
    pub verb: Verb,
    /// On what.
    pub resource: Resource,
}
