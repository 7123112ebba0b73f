//! The tables, and how connections are set up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};

/// Layout of the tables; another one is refused.
const FORMAT: i64 = 1;
/// "Cell" in ASCII: says whose file it is.
const APPLICATION: i64 = 0x4365_6c6c;
/// KiB of SQLite's page cache per connection.
const CACHE_KIB: i64 = 4096;
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// Bytes of a page, SQLite's own choice.
const PAGE: i64 = 4096;
/// Pages beyond which the log of SQLite shall begin anew, not only be copied.
const LOG_MAX: i64 = (64 << 20) / PAGE;
/// Beyond this nobody keeps an older moment any more: a list begins again.
const LOG_CROWDED: i64 = 4 * LOG_MAX;
/// Bytes of the log's file that are kept when it begins anew.
const FILE_KEPT: i64 = LOG_MAX * PAGE;

/// Opens the file, makes or checks its tables.
///
/// # Errors
/// In words.
pub(super) fn open(path: &Path) -> Result<Connection, String> {
    let connection = connect(path)?;
    let say = |e: rusqlite::Error| e.to_string();
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |r| r.get(0)).map_err(say)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |r| r.get(0)).map_err(say)?;
    if application != APPLICATION && tables > 0 {
        return Err("it is a database of another program".into());
    }
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION};
             CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, tbl INTEGER NOT NULL, part TEXT NOT NULL,
                 key TEXT NOT NULL, rev INTEGER NOT NULL, owner TEXT, body BLOB NOT NULL) STRICT;
             CREATE UNIQUE INDEX IF NOT EXISTS rows_key ON rows (tbl, part, key);
             CREATE INDEX IF NOT EXISTS rows_owner ON rows (owner) WHERE owner IS NOT NULL;
             CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, scope TEXT NOT NULL, rev INTEGER NOT NULL,
                 kind INTEGER NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, prev BLOB) STRICT;
             CREATE INDEX IF NOT EXISTS log_scope ON log (scope, rev);
             CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS requests (id BLOB PRIMARY KEY, us INTEGER NOT NULL, revs BLOB) STRICT, WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
             INSERT OR IGNORE INTO meta VALUES ('format', {FORMAT}), ('last_us', 0), ('floor', 0);"
        ))
        .map_err(say)?;
    let format = meta(&connection, "format").map_err(say)?;
    if format != FORMAT {
        return Err(format!("it has layout {format}, and this program knows layout {FORMAT}"));
    }
    Ok(connection)
}

/// A connection with our settings.
///
/// # Errors
/// In words.
pub(super) fn connect(path: &Path) -> Result<Connection, String> {
    let say = |e: rusqlite::Error| e.to_string();
    let connection = Connection::open(path).map_err(say)?;
    connection.busy_timeout(Duration::from_secs(10)).map_err(say)?;
    connection.set_prepared_statement_cache_capacity(32);
    // A prepared statement stays what it is whatever it is asked with: it would be prepared anew for other bounds of a
    // range, which costs more than it could win with queries as simple as these.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(say)?;
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;
             PRAGMA journal_size_limit = {FILE_KEPT};"
        ))
        .map_err(say)?;
    Ok(connection)
}

/// A number of the table `meta`.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let value = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    let mut value = value;
    Ok(value.query_row([name], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// Copies what was written from SQLite's log into the file, beside the writer, and says when the log shall begin anew.
/// `release` ends the read transactions that are only kept for further pages.
pub(super) fn checkpoints(path: &Path, stop: &AtomicBool, log: &Log, release: &dyn Fn()) {
    let Ok(connection) = connect(path) else { return };
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(CHECKPOINT_EVERY);
        if !log.dirty.swap(false, Ordering::Relaxed) {
            continue;
        }
        let mut pages = checkpoint(&connection);
        if pages > LOG_MAX {
            // What came meanwhile: the less is left for the writer, the shorter it stops to have the log begin anew.
            pages = checkpoint(&connection);
        }
        log.long.store(pages > LOG_MAX, Ordering::Relaxed);
        if pages > LOG_CROWDED {
            release();
        }
    }
}

/// What the writer and the checkpoint thread tell one another of SQLite's log.
#[derive(Default)]
pub(super) struct Log {
    /// Something was written.
    pub(super) dirty: AtomicBool,
    /// The log is so long that it shall begin anew.
    pub(super) long: AtomicBool,
}

/// Copies as much of the log into the file as readers allow, without waiting for anybody; how many pages the log has.
pub(super) fn checkpoint(connection: &Connection) -> i64 {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |r| r.get(1)).unwrap_or(0)
}
