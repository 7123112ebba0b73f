//! What is stored about a run and all that is below it: for telling how it came to what it is.

use std::collections::BTreeSet;

use apimachinery::meta;
use serde_json::Value;
use tenancy::access::Grant;

use super::TenantStore;
use crate::backend::{At, Read, ReadError, Rows, Table};
use crate::cell::apply::is_run;
use crate::object::{self, ObjectKey, scope};
use crate::records::attempt::Attempt;
use crate::records::decode;

/// Runs of one story.
const RUNS_MAX: usize = 200;
/// Events of a namespace that are looked at.
const EVENTS_MAX: usize = 20_000;
/// Attempts of one run.
const ATTEMPTS_MAX: usize = 500;

/// What is stored about a run and all runs below it.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The runs, the one that was asked for first, each with its attempts.
    pub runs: Vec<(Value, Vec<Attempt>)>,
    /// Events about them, in the order of their names. They are kept for an hour.
    pub events: Vec<Value>,
    /// There is more than is told.
    pub more: bool,
}

impl TenantStore {
    /// The story of the run in `key`, of the grant's tenant; `None`: there is no such run.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn run_story(
        &self,
        grant: &Grant,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Story>, ReadError> {
        let tenant = grant.tenant().as_str();
        let key = Self::key(grant, kind, namespace, name);
        let Some(run) = self.one_document(&key).await? else { return Ok(None) };
        let mut story = Story::default();
        let mut waiting = vec![run];
        while let Some(run) = waiting.pop() {
            if story.runs.len() == RUNS_MAX {
                story.more = true;
                break;
            }
            let uid = meta::uid(&run).to_owned();
            let reads = vec![
                Read::Owned { tenant: tenant.to_owned(), owner: uid.clone() },
                Read::Scan {
                    table: Table::Attempt,
                    partition: tenant.to_owned(),
                    from: format!("{uid}/"),
                    to: format!("{uid}0"),
                    limit: ATTEMPTS_MAX,
                },
            ];
            let answers = self.backend.snapshot(At::Latest, reads).await?.answers;
            let rows = |n: usize| answers.get(n).map_or(&[][..], |Rows { rows, .. }| rows.as_slice());
            let attempts = rows(1).iter().filter_map(|row| decode(&row.body).ok()).collect();
            story.runs.push((run, attempts));
            let owned = rows(0)
                .iter()
                .filter(|row| row.key.partition.split_once('/').is_some_and(|(_, kind)| is_run(kind)));
            // The last is taken first.
            waiting.extend(owned.rev().filter_map(|row| object::of_row(row).ok()));
        }
        let uids: BTreeSet<&str> = story.runs.iter().map(|(run, _)| meta::uid(run)).collect();
        let scan = Read::Scan {
            table: Table::Object,
            partition: scope(tenant, "events"),
            from: format!("{namespace}/"),
            to: format!("{namespace}0"),
            limit: EVENTS_MAX,
        };
        let answers = self.backend.snapshot(At::Latest, vec![scan]).await?.answers;
        let events =
            answers.iter().flat_map(|answer| &answer.rows).filter_map(|row| object::of_row(row).ok());
        let events: Vec<Value> = events
            .filter(|event| event["involvedObject"]["uid"].as_str().is_some_and(|uid| uids.contains(uid)))
            .collect();
        story.more |= answers.iter().any(|answer| answer.more);
        story.events = events;
        Ok(Some(story))
    }

    async fn one_document(&self, key: &ObjectKey) -> Result<Option<Value>, ReadError> {
        let answers = self.backend.snapshot(At::Latest, vec![Read::Get(key.row())]).await?.answers;
        Ok(super::one(answers).and_then(|row| object::of_row(&row).ok()))
    }
}
