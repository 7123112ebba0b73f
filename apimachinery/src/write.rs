//! A write to one object, from the bytes of the request to the object to be stored: what the other modules do, in the
//! order in which the reference does it.
//!
//! ```text
//! options → decode → kind, unknown fields → admission changes it → metadata → schema → admission checks it
//!         → managed fields → has anything changed?
//! ```
//! Reading and storing are the caller's. A patch that loses a race is simply prepared again from the newer object.

use serde_json::Value;

use crate::accept::{
    APPLY_PATCH, CORE_PATCH_TYPES, JSON_PATCH, MERGE_PATCH, PATCH_TYPES, STRATEGIC_PATCH, clause,
};
use crate::apply::{Writer, apply, track_create, track_update};
use crate::builtin;
use crate::decode;
use crate::field_error::FieldError;
use crate::kind::Kind;
use crate::meta::{self, Birth, Part};
use crate::names::SUFFIX_LEN;
use crate::options::{Params, Write, WriteOptions};
use crate::patch::{JsonPatch, apply_merge, apply_strategic, unreadable};
use crate::schema::{self, FieldValidation, Required};
use crate::status::Status;
use crate::time::Micros;

mod delete;

pub use delete::delete;

/// Changes an object, knowing the one it replaces.
pub type Change<'a> = &'a dyn Fn(&mut Value, Option<&Value>) -> Result<(), Status>;
/// Checks an object, knowing the one it replaces; gives warnings.
pub type Check<'a> = &'a dyn Fn(&Value, Option<&Value>) -> Result<Vec<String>, Status>;

/// What others have a say in. Writes to `status` are not asked about.
#[derive(Clone, Copy)]
pub struct Admission<'a> {
    /// Defaults, before the object is checked.
    pub change: Change<'a>,
    /// Rules beyond the schema, afterwards.
    pub check: Check<'a>,
    /// How strictly the schema's required fields are taken.
    pub required: Required,
}

/// A write request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Kind of the object.
    pub kind: &'static Kind,
    /// Version of the path.
    pub version: &'a str,
    /// Namespace of the path; empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Name in the path; empty for a create.
    pub name: &'a str,
    /// Part of the object that the path is about.
    pub part: Part,
    /// The query.
    pub params: &'a Params,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Uid of a new object.
    pub uid: &'a str,
    /// For the suffix of a generated name.
    pub random: [u8; SUFFIX_LEN],
    /// Now.
    pub now: Micros,
}

/// What is to be done with a prepared object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Store it as new.
    Create,
    /// Store it in place of the old one.
    Replace,
    /// Its last finalizer is gone: remove the object.
    Remove,
    /// Nothing: it equals the old one.
    Nothing,
}

/// A write that may be carried out.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The object; after [`Effect::Nothing`] the old one.
    pub object: Value,
    /// What is to be done.
    pub effect: Effect,
    /// It must not be done, only answered.
    pub dry_run: bool,
    /// A name was asked for, and it is the server's choice if it is taken.
    pub generates_name: bool,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl Request<'_> {
    /// A POST.
    ///
    /// # Errors
    /// Whatever the client has to be told.
    pub fn create(&self, admission: &Admission<'_>) -> Result<Prepared, Status> {
        let options = WriteOptions::parse(Write::Create, self.params)?;
        let (object, warnings) = self.decode(&options)?;
        let manager = options.manager(self.user_agent);
        self.born(object, admission, &options, warnings, Some(&manager))
    }

    /// A PUT. `old` is the stored object in the version of the request.
    ///
    /// # Errors
    /// Whatever the client has to be told.
    pub fn update(&self, old: Option<&Value>, admission: &Admission<'_>) -> Result<Prepared, Status> {
        let options = WriteOptions::parse(Write::Update, self.params)?;
        let (object, warnings) = self.decode(&options)?;
        self.check_place(&object)?;
        let old = old.ok_or_else(|| self.not_found())?;
        let (sent, stored) = (meta::uid(&object), meta::uid(old));
        if !sent.is_empty() && sent != stored {
            let kind = self.kind;
            return Err(Status::uid_mismatch(
                kind.group,
                kind.plural,
                self.namespace,
                self.name,
                sent,
                stored,
            ));
        }
        // Core kinds may be replaced whatever they are by now.
        meta::check_version(self.kind, &object, old, self.kind.custom)?;
        let manager = options.manager(self.user_agent);
        self.replaced(object, old, admission, &options, warnings, Some(&manager))
    }

    /// A PATCH of any type. `old` is the stored object in the version of the request; only server-side apply does
    /// without one.
    ///
    /// # Errors
    /// Whatever the client has to be told.
    pub fn patch(&self, old: Option<&Value>, admission: &Admission<'_>) -> Result<Prepared, Status> {
        let types = if self.kind.custom { PATCH_TYPES } else { CORE_PATCH_TYPES };
        let media = self.content_type.and_then(clause).map(|c| c.media_type).unwrap_or_default();
        if !types.contains(&media.as_str()) {
            return Err(Status::unsupported_media_type(types));
        }
        if media == APPLY_PATCH {
            return self.apply(old, admission);
        }
        let options = WriteOptions::parse(Write::Patch, self.params)?;
        let old = old.ok_or_else(|| self.not_found())?;
        let decoded = decode::patch(self.body, false)?;
        let mut object = old.clone();
        match media.as_str() {
            JSON_PATCH => JsonPatch::parse(&decoded.value)?.apply(&mut object)?,
            MERGE_PATCH => apply_merge(&mut object, &decoded.value)?,
            STRATEGIC_PATCH => apply_strategic(&mut object, &decoded.value)?,
            _ => return Err(Status::unsupported_media_type(types)),
        }
        self.check_patched_type(&object)?;
        let mut warnings = decoded.duplicates;
        warnings.extend(schema::conform_patched(
            self.kind,
            self.version,
            &mut object,
            options.field_validation,
        )?);
        self.check_place(&object)?;
        meta::check_version(self.kind, &object, old, self.kind.custom)?;
        let manager = options.manager(self.user_agent);
        self.replaced(object, old, admission, &options, warnings, Some(&manager))
    }

    fn apply(&self, old: Option<&Value>, admission: &Admission<'_>) -> Result<Prepared, Status> {
        let options = WriteOptions::parse(Write::Apply, self.params)?;
        let decoded = decode::patch(self.body, true)?;
        if options.field_validation == FieldValidation::Strict && !decoded.duplicates.is_empty() {
            let why = decoded.duplicates.join("\n  ");
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {why}"
            )));
        }
        let config = decoded.value;
        self.check_applied_type(&config)?;
        if old.is_none() && self.part == Part::Status {
            return Err(self.not_found());
        }
        if let Some(old) = old {
            meta::check_version(self.kind, &config, old, false)?;
        }
        let writer = self.writer(&options.field_manager);
        let mut object = apply(self.kind, old, &config, &writer, options.force)?;
        // An applied null is no absence: it is refused before nulls are dropped.
        schema::validate(self.kind, self.version, &object, self.part, Required::Loose)?;
        schema::conform(self.kind, self.version, &mut object, &[], FieldValidation::Ignore)?;
        self.check_place(&object)?;
        let warnings =
            if options.field_validation == FieldValidation::Ignore { Vec::new() } else { decoded.duplicates };
        match old {
            None => self.born(object, admission, &options, warnings, None),
            Some(old) => self.replaced(object, old, admission, &options, warnings, None),
        }
    }

    fn decode(&self, options: &WriteOptions) -> Result<(Value, Vec<String>), Status> {
        let decoded = decode::object(self.kind, self.content_type, self.body)?;
        let mut object = decoded.value;
        meta::check_type(self.kind, self.version, &object)?;
        let warnings = schema::conform(
            self.kind,
            self.version,
            &mut object,
            &decoded.duplicates,
            options.field_validation,
        )?;
        Ok((object, warnings))
    }

    /// Completes a new object. `manager` is recorded, unless it has applied, which records itself.
    fn born(
        &self,
        mut object: Value,
        admission: &Admission<'_>,
        options: &WriteOptions,
        mut warnings: Vec<String>,
        manager: Option<&str>,
    ) -> Result<Prepared, Status> {
        builtin::complete(self.kind, &mut object)?;
        (admission.change)(&mut object, None)?;
        let generates_name = !meta::text(&object, "generateName").is_empty();
        let birth = Birth { namespace: self.namespace, uid: self.uid, now: self.now, random: self.random };
        meta::prepare_create(self.kind, &mut object, &birth)?;
        schema::validate(self.kind, self.version, &object, Part::Main, admission.required)?;
        builtin::check(self.kind, &object, None)?;
        warnings.extend((admission.check)(&object, None)?);
        warnings.extend(meta::warnings(&object, None));
        if let Some(manager) = manager {
            track_create(self.kind, &mut object, &self.writer(manager));
        }
        Ok(Prepared { object, effect: Effect::Create, dry_run: options.dry_run, generates_name, warnings })
    }

    fn replaced(
        &self,
        mut object: Value,
        old: &Value,
        admission: &Admission<'_>,
        options: &WriteOptions,
        mut warnings: Vec<String>,
        manager: Option<&str>,
    ) -> Result<Prepared, Status> {
        if self.part == Part::Main {
            builtin::complete(self.kind, &mut object)?;
            (admission.change)(&mut object, Some(old))?;
        }
        meta::prepare_update(self.kind, &mut object, old, self.part)?;
        schema::validate(self.kind, self.version, &object, self.part, admission.required)?;
        if self.part == Part::Main {
            builtin::check(self.kind, &object, Some(old))?;
            warnings.extend((admission.check)(&object, Some(old))?);
        }
        warnings.extend(meta::warnings(&object, Some(old)));
        if let Some(manager) = manager {
            track_update(self.kind, old, &mut object, &self.writer(manager));
        }
        let effect = match () {
            () if meta::unchanged(&object, old) => Effect::Nothing,
            () if meta::is_finished(&object) => Effect::Remove,
            () => Effect::Replace,
        };
        let object = if effect == Effect::Nothing { old.clone() } else { object };
        Ok(Prepared { object, effect, dry_run: options.dry_run, generates_name: false, warnings })
    }

    fn writer<'w>(&'w self, manager: &'w str) -> Writer<'w> {
        let subresource = if self.part == Part::Status { "status" } else { "" };
        Writer { manager, version: self.version, subresource, now: self.now }
    }

    fn not_found(&self) -> Status {
        Status::not_found(self.kind.group, self.kind.plural, self.name)
    }

    /// Name and namespace of a body must be those of the path.
    fn check_place(&self, object: &Value) -> Result<(), Status> {
        let namespace = meta::namespace(object);
        if !namespace.is_empty() && namespace != self.namespace {
            return Err(Status::namespace_mismatch());
        }
        if meta::name(object) != self.name {
            return Err(Status::name_mismatch(meta::name(object), self.name));
        }
        Ok(())
    }

    /// A patch may not change what an object is.
    fn check_patched_type(&self, object: &Value) -> Result<(), Status> {
        if !object["kind"].is_string() {
            return Err(unreadable(object, "Object 'Kind' is missing"));
        }
        let wanted = self.kind.api_version(self.version);
        let found = object["apiVersion"].as_str().unwrap_or("");
        if found != wanted {
            let error = FieldError::invalid_str("apiVersion", found, &format!("must be {wanted}"));
            return Err(Status::invalid(self.kind.group, self.kind.kind, self.name, &[error]));
        }
        meta::check_type(self.kind, self.version, object)
    }

    fn check_applied_type(&self, config: &Value) -> Result<(), Status> {
        let said = |key: &str| config[key].as_str().unwrap_or("");
        let (api_version, kind) = (said("apiVersion"), said("kind"));
        if kind == self.kind.kind && api_version == self.kind.api_version(self.version) {
            return Ok(());
        }
        let shown = if api_version.is_empty() { "/" } else { api_version };
        Err(Status::bad_request(format!("invalid object type: {shown}, Kind={kind}")))
    }
}

#[cfg(test)]
mod tests;
