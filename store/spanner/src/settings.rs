//! Where a Home's database is.

use std::fmt;
use std::time::Duration;

/// How long anything may take, unless it is said otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// How to reach a Home's database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The database.
    pub database: Database,
    /// Addresses of an emulator; `None`: Google's Spanner, with the credentials of the environment.
    pub emulator: Option<EmulatorAddress>,
    /// How long a transaction or a read may take, repetitions included.
    pub deadline: Duration,
}

/// Where an emulator listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EmulatorAddress {
    /// `HOST:PORT` of its gRPC side, as in `SPANNER_EMULATOR_HOST`.
    pub grpc: String,
    /// `HOST:PORT` of its REST side, for instances, databases and schemas.
    pub rest: String,
}

/// A database by its parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Database {
    /// Project.
    pub project: String,
    /// Instance.
    pub instance: String,
    /// Database.
    pub database: String,
}

/// A store that is not named as it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSettings {
    /// The URL is of another form.
    #[error(
        "{0:?} does not name a Spanner database; write spanner://projects/PROJECT/instances/INSTANCE/databases/DATABASE"
    )]
    Url(String),
    /// The emulator's address has no port.
    #[error("{0:?} is not an emulator's address; write HOST:PORT")]
    Emulator(String),
}

impl Settings {
    /// The database of a `spanner://` URL, at Google.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(url: &str) -> Result<Self, BadSettings> {
        let bad = || BadSettings::Url(url.to_owned());
        let parts: Vec<_> = url.strip_prefix("spanner://").ok_or_else(bad)?.split('/').collect();
        let ["projects", project, "instances", instance, "databases", database] = parts[..] else {
            return Err(bad());
        };
        if [project, instance, database].iter().any(|part| part.is_empty()) {
            return Err(bad());
        }
        let database =
            Database { project: project.into(), instance: instance.into(), database: database.into() };
        Ok(Self { database, emulator: None, deadline: DEADLINE })
    }

    /// The same database in an emulator. Without `rest`, its REST side is taken to be where Google's own start script
    /// puts it: ten ports above the gRPC side.
    ///
    /// # Errors
    /// When an address has no port.
    pub fn in_emulator(mut self, grpc: &str, rest: Option<&str>) -> Result<Self, BadSettings> {
        let bad = || BadSettings::Emulator(grpc.to_owned());
        let (host, port) = grpc.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let beside = || port.checked_add(10).map(|rest| format!("{host}:{rest}")).ok_or_else(bad);
        let rest = rest.map_or_else(beside, |rest| Ok(rest.to_owned()))?;
        self.emulator = Some(EmulatorAddress { grpc: grpc.to_owned(), rest });
        Ok(self)
    }

    /// The `spanner://` URL.
    pub fn url(&self) -> String {
        format!("spanner://{}", self.database)
    }
}

impl Database {
    /// `projects/P/instances/I`.
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}/instances/{}", self.project, self.instance)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/databases/{}", self.parent(), self.database)
    }
}

#[cfg(test)]
mod tests;
