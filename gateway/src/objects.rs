//! Reading and writing objects of every kind.

mod change;
mod read;
mod remove;
mod show;

use std::sync::Arc;

use apimachinery::meta::Part;
use apimachinery::status::Status;
use serde_json::Value;
use store::backend::Row;
use store::object;
use store::tenant::Surroundings;
use tenancy::access::{Grant, Verb};

use crate::answer::{self, Outcome, Refused};
use crate::app::App;
use crate::entry::Ask;
use crate::route::Objects;
use crate::versions;

pub use show::Shown;

/// Does what `verb` says.
///
/// # Errors
/// A Status.
pub async fn serve(app: &Arc<App>, grant: &Grant, ask: &Ask, target: &Objects, verb: Verb) -> Outcome {
    let at = At { app, grant, ask, target };
    match verb {
        Verb::Get => read::one(&at).await,
        Verb::List => read::many(&at).await,
        Verb::Create => change::create(&at).await,
        Verb::Update => change::update(&at).await,
        Verb::Patch => change::patch(&at).await,
        Verb::Delete => remove::one(&at).await,
        Verb::DeleteCollection => remove::many(&at).await,
        Verb::Watch => Err(Box::new(Status::method_not_allowed())),
    }
}

/// Everything that a request's handlers look at.
pub(crate) struct At<'a> {
    pub app: &'a Arc<App>,
    pub grant: &'a Grant,
    pub ask: &'a Ask,
    pub target: &'a Objects,
}

impl At<'_> {
    fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or("")
    }

    fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or("")
    }

    fn not_found(&self) -> Refused {
        Box::new(Status::not_found(self.target.kind.group, self.target.kind.plural, self.name()))
    }

    /// The stored row of an object, if there is one.
    async fn find(&self, name: &str) -> Result<Option<Row>, Refused> {
        let kind = self.target.kind.id();
        let row = self.app.tenants.object_get(self.grant, &kind, self.namespace(), name).await;
        row.map_err(|e| answer::read_failed(&e))
    }

    /// The stored row of the named object.
    async fn row(&self) -> Result<Row, Refused> {
        self.find(self.name()).await?.ok_or_else(|| self.not_found())
    }

    /// What admission in the namespace of the request needs to know.
    async fn surroundings(&self) -> Result<Arc<Surroundings>, Refused> {
        let around = self.app.tenants.surroundings(self.grant, self.namespace()).await;
        around.map_err(|e| answer::read_failed(&e))
    }

    /// The object of a row, with its secrets open.
    fn open(&self, row: &Row) -> Result<Value, Refused> {
        open(self.app, self.grant, self.target, row)
    }

    /// The object of a row as it is stored, with its secrets open.
    fn open_stored(&self, row: &Row) -> Result<Value, Refused> {
        open_stored(self.app, self.grant, self.target, row)
    }

    /// An object that was opened as it is stored, in the version of the request.
    fn shown(&self, object: Value) -> Result<Value, Refused> {
        show(self.app, self.target, object)
    }

    /// The request is about the version that is stored.
    fn is_stored_version(&self) -> bool {
        self.target.version.name == self.target.kind.stored_version().name
    }

    /// Which part of an object the request is about.
    fn part(&self) -> Part {
        if self.target.subresource.as_deref() == Some("status") { Part::Status } else { Part::Main }
    }

    /// The object as it may stand in a row, where that is not as it is: Secrets are encrypted, and there is one
    /// version.
    fn sealed(&self, object: &Value, old: Option<&Value>) -> Result<Option<Value>, Refused> {
        if !self.is_stored_version() {
            let kind = self.target.kind;
            let stored = versions::keep(self.app.admission, kind, object, old, self.part());
            return stored.map(Some).map_err(Box::new);
        }
        if !is_secret(self.target) {
            return Ok(None);
        }
        let entropy = &self.app.host.entropy;
        let mut sealed = object.clone();
        let tenant = self.grant.tenant().as_str();
        match self.app.vault.seal(tenant, &mut sealed, |bytes| entropy.fill(bytes)) {
            Ok(()) => Ok(Some(sealed)),
            Err(_) => Err(Box::new(Status::internal("the secret cannot be sealed"))),
        }
    }
}

/// The object of a row in the version that `target` names, with its secrets open.
///
/// # Errors
/// 500 when the row is damaged, its secret does not open, or it cannot be had in that version.
pub(crate) fn open(app: &App, grant: &Grant, target: &Objects, row: &Row) -> Result<Value, Refused> {
    show(app, target, open_stored(app, grant, target, row)?)
}

fn show(app: &App, target: &Objects, object: Value) -> Result<Value, Refused> {
    versions::show(app.admission, target.kind, target.version.name, object).map_err(Box::new)
}

fn open_stored(app: &App, grant: &Grant, target: &Objects, row: &Row) -> Result<Value, Refused> {
    let damaged = |what: &str| {
        tracing::error!(key = row.key.key, what, "a stored object cannot be read");
        self::damaged()
    };
    let mut value = object::of_row(row).map_err(|e| damaged(e.0))?;
    if is_secret(target) {
        app.vault.open(grant.tenant().as_str(), &mut value).map_err(|e| damaged(&e.to_string()))?;
    }
    Ok(value)
}

/// What is answered for a row that cannot be read.
pub(crate) fn damaged() -> Refused {
    Box::new(Status::internal("a stored object cannot be read"))
}

/// Rows of this kind are not what clients see.
pub(crate) fn is_secret(target: &Objects) -> bool {
    target.kind.group.is_empty() && target.kind.plural == "secrets"
}
