//! The tables, and how connections are set up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

/// Layout of the tables; another one is refused.
const FORMAT: i64 = 1;
/// "Cell" in ASCII: says whose file it is.
const APPLICATION: i64 = 0x4365_6c6c;
/// KiB of SQLite's page cache per connection.
const CACHE_KIB: i64 = 4096;
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// Beyond this the log of SQLite is cut, not only copied.
const WAL_MAX: u64 = 64 << 20;
/// Beyond this nobody keeps an older moment any more: a list begins again.
const WAL_CROWDED: u64 = 4 * WAL_MAX;
/// How long cutting waits for readers, with the writer stopped.
const CUT_WAIT: Duration = Duration::from_millis(50);
/// After so many looks it is tried again, even if the log has not grown much.
const CUT_AGAIN: u32 = 8;

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
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;"
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

/// Copies what was written from SQLite's log into the file, beside the writer; a long log is cut. `release` ends the
/// read transactions that are only kept for further pages.
pub(super) fn checkpoints(path: &Path, stop: &AtomicBool, dirty: &AtomicBool, release: &dyn Fn()) {
    let Ok(connection) = connect(path) else { return };
    if connection.busy_timeout(CUT_WAIT).is_err() {
        return;
    }
    let wal = path.with_extension("db-wal");
    let (mut cut_at, mut looks) = (WAL_MAX, 0_u32);
    while !stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(CHECKPOINT_EVERY);
        if !dirty.swap(false, Ordering::Relaxed) {
            continue;
        }
        let len = || std::fs::metadata(&wal).map_or(0, |m| m.len());
        // A checkpoint that finds readers in its way is tried again with the next one.
        checkpoint(&connection, "PASSIVE");
        let long = len();
        looks = looks.saturating_add(1);
        if long <= WAL_MAX || (long <= cut_at && looks < CUT_AGAIN) {
            continue;
        }
        if long > WAL_CROWDED {
            release();
        }
        // Cutting stops the writer for as long as a reader of an older moment is waited for: seldom, and shortly.
        looks = 0;
        let cut = checkpoint(&connection, "TRUNCATE");
        cut_at = if cut { WAL_MAX } else { long.saturating_add(WAL_MAX / 2) };
    }
}

/// Whether nothing was in its way.
fn checkpoint(connection: &Connection, mode: &str) -> bool {
    let busy = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |r| r.get::<_, i64>(0));
    busy == Ok(0)
}
