//! The schema: versioned, in this repository, applied as often as one likes.

use std::collections::BTreeSet;

use base::host::Host;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::error::rpc::Code;
use google_cloud_lro::Poller;
use google_cloud_spanner::Error;
use google_cloud_spanner::client::{DatabaseAdmin, InstanceAdmin};
use google_cloud_spanner::key::KeySet;
use google_cloud_spanner::mutation::Mutation;
use google_cloud_spanner::read::ReadRequest;
use google_cloud_spanner::statement::Statement;
use google_cloud_spanner::types;
use google_cloud_spanner::value::FromValue;
use google_cloud_spanner_admin_instance_v1::model::Instance;

use crate::OpenError;
use crate::client::{Clients, cryptography};
use crate::rows::{COMMIT, all};
use crate::settings::{Database, EmulatorAddress, Settings};

/// The versions, oldest first. One that has been released is never changed: another one follows it. Statements that
/// begin with CREATE are left out where what they name is there already; others must be harmless when repeated.
const MIGRATIONS: &[&str] = &[include_str!("../schema/0001.sql")];

/// The version that this program knows.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// How often it is tried again, when somebody else migrates at the same time.
const TRIES: usize = 5;
/// Said of what is there already.
const CONFLICT: u16 = 409;

/// Makes the database if there is none (in an emulator its instance as well), and brings its schema up to date.
/// Answers the version that it had; 0: none.
///
/// # Errors
/// What Spanner said, and of which database.
pub async fn migrate(settings: &Settings, host: &Host) -> Result<i64, OpenError> {
    let database = settings.database.to_string();
    let unusable = |why: String| OpenError::Unusable { database: database.clone(), why };
    let all_of_it = async {
        let admin = admin(settings.emulator.as_ref()).await?;
        if let Some(emulator) = &settings.emulator {
            make_instance(&settings.database, emulator).await?;
        }
        let made = make_database(&admin, &settings.database).await?;
        let clients = Clients::connect(settings, host).await?;
        let had = if made { 0 } else { version(&clients).await? };
        for (version, sql) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > had) {
            if !made {
                apply(&admin, &database, &statements(sql)).await?;
            }
            remember(&clients, version).await?;
        }
        Ok(had)
    };
    // Changes of a schema take their time.
    let in_time = host.within(settings.deadline * 6, all_of_it).await;
    let had = in_time.map_err(|_| unusable("it has not answered in time".into()))?.map_err(unusable)?;
    if had > VERSION {
        return Err(OpenError::Schema { database, found: had, wanted: VERSION });
    }
    Ok(had)
}

/// Removes a database and all that is in it.
///
/// # Errors
/// What Spanner said.
pub async fn remove(settings: &Settings) -> Result<(), String> {
    let admin = admin(settings.emulator.as_ref()).await?;
    admin.drop_database().set_database(settings.database.to_string()).send().await.map_err(words)
}

/// All that is in a database, as text: for searching it. What is kept as bytes is there as it was written.
///
/// # Errors
/// What Spanner said.
pub async fn everything(settings: &Settings, host: &Host) -> Result<String, String> {
    let clients = Clients::connect(settings, host).await?;
    let mut out = String::new();
    let tables = MIGRATIONS.iter().flat_map(|sql| statements(sql)).filter_map(|s| creates(&s));
    for table in tables.filter_map(|made| made.strip_prefix("TABLE ").map(str::to_owned)) {
        let statement = Statement::builder(format!("SELECT * FROM {table}")).build();
        let answer = clients.plain().single_use().build().execute_query(statement).await.map_err(words)?;
        for row in all(answer, Ok).await.map_err(words)? {
            for value in row.raw_values() {
                let text = value.as_str().unwrap_or_default();
                let bytes = bytes::Bytes::from_value(value, &types::bytes()).unwrap_or_default();
                out.push_str(&format!("{table} {value:?} {text} {}\n", String::from_utf8_lossy(&bytes)));
            }
        }
    }
    Ok(out)
}

/// Version of the database's schema; 0: it has none.
pub(crate) async fn version(clients: &Clients) -> Result<i64, String> {
    let read = ReadRequest::builder("Migrations", ["Version"]).with_keys(KeySet::all()).build();
    let found = async {
        let answer = clients.plain().single_use().build().execute_read(read).await?;
        all(answer, |row| row.get::<i64>(0)).await
    };
    match found.await {
        Ok(versions) => Ok(versions.into_iter().max().unwrap_or(0)),
        Err(error) if error.status().is_some_and(|s| s.code == Code::NotFound) => Ok(0),
        Err(error) => Err(words(error)),
    }
}

async fn remember(clients: &Clients, version: i64) -> Result<(), String> {
    let row = Mutation::new_insert_or_update_builder("Migrations").set("Version").to(version);
    let lease = clients.writer().await.map_err(words)?;
    let write = lease.client.write_only_transaction().build();
    write.write([row.set("Done").to(COMMIT).build()]).await.map(drop).map_err(words)
}

async fn admin(emulator: Option<&EmulatorAddress>) -> Result<DatabaseAdmin, String> {
    cryptography();
    let mut builder = DatabaseAdmin::builder();
    if let Some(emulator) = emulator {
        builder = builder
            .with_endpoint(format!("http://{}", emulator.rest))
            .with_credentials(anonymous::Builder::new().build());
    }
    builder.build().await.map_err(|e| e.to_string())
}

async fn make_instance(database: &Database, emulator: &EmulatorAddress) -> Result<(), String> {
    let admin = InstanceAdmin::builder()
        .with_endpoint(format!("http://{}", emulator.rest))
        .with_credentials(anonymous::Builder::new().build())
        .build()
        .await
        .map_err(|e| e.to_string())?;
    let project = format!("projects/{}", database.project);
    let instance = Instance::new()
        .set_config(format!("{project}/instanceConfigs/emulator-config"))
        .set_display_name(&database.instance)
        .set_node_count(1);
    let create = admin
        .create_instance()
        .set_parent(&project)
        .set_instance_id(&database.instance)
        .set_instance(instance)
        .poller()
        .until_done();
    match create.await {
        Err(error) if error.http_status_code() == Some(CONFLICT) => Ok(()),
        other => other.map(drop).map_err(words),
    }
}

/// Whether it was made just now, with all of the schema.
async fn make_database(admin: &DatabaseAdmin, database: &Database) -> Result<bool, String> {
    let create = admin
        .create_database()
        .set_parent(database.parent())
        .set_create_statement(format!("CREATE DATABASE `{}`", database.database))
        .set_extra_statements(MIGRATIONS.iter().flat_map(|sql| statements(sql)))
        .poller()
        .until_done();
    match create.await {
        Ok(_) => Ok(true),
        Err(error) if is_there(&error) => Ok(false),
        Err(error) => Err(words(error)),
    }
}

fn is_there(error: &Error) -> bool {
    error.http_status_code() == Some(CONFLICT)
        || error.status().is_some_and(|s| s.code == Code::AlreadyExists)
}

/// Applies what is not there yet.
async fn apply(admin: &DatabaseAdmin, database: &str, wanted: &[String]) -> Result<(), String> {
    let mut failed = String::new();
    for _ in 0..TRIES {
        let there = admin.get_database_ddl().set_database(database).send().await.map_err(words)?;
        let there: BTreeSet<_> = there.statements.iter().filter_map(|s| creates(s)).collect();
        let missing: Vec<_> =
            wanted.iter().filter(|s| creates(s).is_none_or(|name| !there.contains(&name))).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let update = admin.update_database_ddl().set_database(database).set_statements(missing);
        match update.poller().until_done().await {
            Ok(_) => return Ok(()),
            Err(error) => failed = words(error),
        }
    }
    Err(failed)
}

fn words(error: Error) -> String {
    error.to_string()
}

/// The statements of a file, without its comments.
fn statements(sql: &str) -> Vec<String> {
    let bare: Vec<_> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    bare.join("\n").split(';').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

/// What a CREATE statement makes: `TABLE Log`.
fn creates(statement: &str) -> Option<String> {
    let mut words = statement.split(|c: char| c.is_whitespace() || c == '(').filter(|w| !w.is_empty());
    words.next().filter(|word| word.eq_ignore_ascii_case("CREATE"))?;
    let kind =
        words.find(|word| ["TABLE", "INDEX", "STREAM"].iter().any(|k| word.eq_ignore_ascii_case(k)))?;
    let name = words.next()?.trim_matches('`');
    Some(format!("{} {name}", kind.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests;
