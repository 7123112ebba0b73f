//! Hears what other processes write, by a change stream, and rings the bells of this one.
//!
//! A bell is a hint, so nothing depends on the order of the stream's partitions, and a gap costs only that everybody
//! looks: every bell is rung when the stream is opened (again), and every few seconds while there is none.
//!
//! Spanner's stream is read as it grows. The emulator's is read piece by piece, each when it is over: a reader that
//! waits for more keeps a thread of the emulator busy for good, also when its process has long been killed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::host::{Either, Host, Mono, race};
use futures_util::stream::{FuturesUnordered, StreamExt};
use google_cloud_spanner::Error;
use google_cloud_spanner::statement::Statement;
use google_cloud_spanner::transaction::Timestamp;
use google_cloud_spanner::types;
use serde_json::Value;
use store::backend::Table;
use store::bells::Bells;

use crate::client::Clients;
use crate::read::now;
use crate::rows::{micros, moment};

/// How often a partition of the stream says that it is there.
const HEARTBEAT_MS: i64 = 2000;
/// A stream that is silent for so long is opened anew.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Pause before a stream is opened anew; everybody looks that often meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// Shortest and longest piece that is read of an emulator's stream. At the longest everybody looks anyway.
const PIECE_MIN: Duration = Duration::from_millis(400);
const PIECE_MAX: Duration = Duration::from_secs(5);
/// The emulator looks through the whole stream for each piece (8 ms of a processor in the beginning), so that reading
/// takes longer and longer: a piece is so many times as long as it took to read the last one.
const PIECE_PER_READ: u32 = 20;

/// Listens for one store.
pub(crate) struct Listener {
    pub(crate) clients: Arc<Clients>,
    pub(crate) bells: Arc<Bells>,
    pub(crate) host: Host,
    pub(crate) writer: String,
    /// The stream is an emulator's.
    pub(crate) emulated: bool,
}

/// A partition of the stream, from when on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Partition {
    token: Option<String>,
    from: String,
}

impl Listener {
    /// Never ends.
    pub(crate) async fn run(self) {
        loop {
            let why = self.listen().await;
            tracing::warn!(why, "the change stream has ended; it is opened again");
            self.bells.ring_all();
            self.host.clock.sleep(AGAIN).await;
        }
    }

    /// Ends when something is wrong; says what.
    async fn listen(&self) -> String {
        let from = match self.host.within(self.clients.deadline, now(&self.clients)).await {
            Ok(Ok(micros)) => micros,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "Spanner has not answered in time".into(),
        };
        // What was written before that moment was not heard.
        self.bells.ring_all();
        let heard = Mutex::new(self.host.clock.mono());
        let root = Partition { token: None, from: timestamp(from) };
        let (mut running, mut known) = (FuturesUnordered::new(), BTreeSet::new());
        running.push(self.follow(root, &heard));
        loop {
            match race(running.next(), self.host.clock.sleep(SILENCE_MAX / 4)).await {
                Either::Left(Some(Ok(children))) => {
                    for child in children {
                        // Of merged partitions each parent names the child.
                        if known.insert(child.token.clone()) {
                            running.push(self.follow(child, &heard));
                        }
                    }
                }
                Either::Left(Some(Err(error))) => return error.to_string(),
                Either::Left(None) => return "no partition of it is left".into(),
                Either::Right(()) => {
                    let last: Mono = *heard.lock().unwrap_or_else(PoisonError::into_inner);
                    if self.host.clock.mono().since(last) > SILENCE_MAX {
                        return "it is silent".into();
                    }
                }
            }
        }
    }

    /// Reads a partition to its end; answers what follows it.
    async fn follow(
        &self,
        partition: Partition,
        heard: &Mutex<Mono>,
    ) -> google_cloud_spanner::Result<Vec<Partition>> {
        let Partition { token, mut from } = partition;
        let mut length = PIECE_MIN;
        loop {
            let until = if self.emulated { Some(self.piece(&from, length).await?) } else { None };
            let asked = self.host.clock.mono();
            let children = self.read(token.clone(), &from, until.clone(), heard).await?;
            let took = self.host.clock.mono().since(asked);
            length = (took * PIECE_PER_READ).clamp(PIECE_MIN, PIECE_MAX);
            match until.filter(|_| children.is_empty()) {
                Some(until) => from = until,
                None => return Ok(children),
            }
        }
    }

    /// Waits until a piece that begins there is over, and says where it ends.
    async fn piece(&self, from: &str, length: Duration) -> google_cloud_spanner::Result<String> {
        let from = micros(Timestamp::try_from(from).map_err(Error::deser)?);
        loop {
            self.host.clock.sleep(length).await;
            let until = self.host.clock.utc().0;
            if until > from {
                return Ok(timestamp(until));
            }
        }
    }

    /// Rings what a partition says from one moment to another, or as long as there is anything; answers what follows
    /// it.
    async fn read(
        &self,
        token: Option<String>,
        from: &str,
        until: Option<String>,
        heard: &Mutex<Mono>,
    ) -> google_cloud_spanner::Result<Vec<Partition>> {
        let statement = Statement::builder(
            "SELECT ChangeRecord FROM READ_Doorbell(start_timestamp => @from, end_timestamp => @until, \
             partition_token => @token, heartbeat_milliseconds => @heartbeat)",
        )
        .add_typed_param("from", from.to_owned(), types::timestamp())
        .add_typed_param("until", until, types::timestamp())
        .add_typed_param("token", token, types::string())
        .add_param("heartbeat", HEARTBEAT_MS)
        .build();
        let mut children = Vec::new();
        let mut answer = self.clients.plain().single_use().build().execute_query(statement).await?;
        loop {
            let row = answer.next().await;
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = self.host.clock.mono();
            let Some(row) = row else { return Ok(children) };
            let record: Value = row?.get(0)?;
            for (table, partition) in rung(&record, &self.writer) {
                self.bells.ring(table, &partition);
            }
            children.extend(follows(&record));
        }
    }
}

fn timestamp(micros: i64) -> String {
    use google_cloud_spanner::value::ToValue;
    moment(micros).to_value().into_string().unwrap_or_default()
}

/// Each of the records in `name` of a change record.
fn each<'a>(record: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let records = record.as_array().into_iter().flatten();
    records.flat_map(move |one| one[name].as_array().into_iter().flatten())
}

/// Partitions that others than `own` have written.
fn rung(record: &Value, own: &str) -> Vec<(Table, String)> {
    let mut out = Vec::new();
    for change in each(record, "data_change_record") {
        for change in change["mods"].as_array().into_iter().flatten() {
            // JSON inside of JSON: the values come as text.
            let text = |v: &Value| v.as_str().and_then(|text| serde_json::from_str(text).ok());
            let new = &change["new_values"];
            let new: Value = text(new).unwrap_or_else(|| new.clone());
            if new["Writer"] == own {
                continue;
            }
            for partition in new["Rang"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let named = partition.split_once(':').and_then(|(number, partition)| {
                    Some((Table::of_number(number.parse().ok()?)?, partition.to_owned()))
                });
                out.extend(named);
            }
        }
    }
    out
}

/// Partitions that follow this one.
fn follows(record: &Value) -> Vec<Partition> {
    let mut out = Vec::new();
    for record in each(record, "child_partitions_record") {
        let from = record["start_timestamp"].as_str().unwrap_or_default();
        for child in record["child_partitions"].as_array().into_iter().flatten() {
            let token = child["token"].as_str().map(str::to_owned);
            out.extend(token.map(|token| Partition { token: Some(token), from: from.to_owned() }));
        }
    }
    out
}

#[cfg(test)]
mod tests;
