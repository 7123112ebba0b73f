//! One consistent look at a run: the run, what it owns, what it names, its attempts, and the rows that made the
//! cell look.

use std::collections::{BTreeMap, BTreeSet};

use super::{CellError, CellStore, Seen, key_of_row, seen};
use crate::backend::{Read, Revision, Row, RowKey, Table};
use crate::object::{self, ObjectKey};
use crate::records::attempt::{Attempt, Block, Cause, Phase};
use crate::records::{self, due};

/// Most LimitRanges (or other listed objects) of one namespace.
const LISTED_MAX: usize = 500;

/// What else must be in the view, beside the run and what it owns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Objects by name.
    pub objects: BTreeSet<ObjectKey>,
    /// All objects of a kind in the run's namespace, by kind id.
    pub lists: BTreeSet<String>,
}

/// A consistent look at a run.
#[derive(Clone, Debug)]
pub struct View {
    /// The run.
    pub run: Seen,
    /// Objects whose controlling owner it is.
    pub owned: Vec<Seen>,
    /// The objects asked for; `None`: not there.
    pub objects: BTreeMap<ObjectKey, Option<Seen>>,
    /// The lists asked for, by kind id.
    pub lists: BTreeMap<String, Vec<Seen>>,
    /// All attempts of the run, in order of retry and ordinal.
    pub attempts: Vec<(Attempt, Revision)>,
    /// Due rows that this look answers; a write consumes them.
    pub due: Vec<(RowKey, Revision)>,
}

impl View {
    /// The attempt whose Pod has this uid.
    pub fn attempt(&self, pod_uid: &str) -> Option<&(Attempt, Revision)> {
        self.attempts.iter().find(|(attempt, _)| attempt.id == pod_uid)
    }

    /// Attempts that end their Try: lost after the start gate, or one too many before it. Their Pods are there.
    pub fn lost(&self) -> impl Iterator<Item = &Attempt> {
        let attempts = self.attempts.iter().map(|(attempt, _)| attempt);
        attempts.filter(|a| a.phase == Phase::Lost || a.cause == Some(Cause::Exhausted))
    }

    /// What a further attempt of the Try `retry` must wait for, at `now_us`: the attempt in its way, and what ends
    /// that.
    pub fn fence(&self, retry: u32, now_us: i64) -> Option<(&Attempt, Block)> {
        let of_try = self.attempts.iter().filter(|(attempt, _)| attempt.retry == retry);
        let mut blocks = of_try.filter_map(|(a, revision)| Some((a, a.blocks(revision.micros(), now_us)?)));
        blocks.next()
    }

    /// User code of the run may have begun.
    pub fn has_begun(&self) -> bool {
        let begun = |a: &Attempt| matches!(a.phase, Phase::Started | Phase::Lost | Phase::Done);
        self.attempts.iter().any(|(attempt, _)| begun(attempt))
    }

    /// The attempt that may be running user code now, if any.
    pub fn running(&self) -> Option<&Attempt> {
        self.attempts.iter().map(|(attempt, _)| attempt).find(|a| a.phase == Phase::Started)
    }
}

/// What a look found.
#[derive(Clone, Debug)]
pub enum Look {
    /// The run.
    Found(Box<View>),
    /// It is not there; these Due rows name it all the same.
    Gone(Vec<(RowKey, Revision)>),
}

impl CellStore {
    /// Looks at `run` and at everything in `wanted` at one moment. `due` are rows that named it; the row for
    /// "now" is looked for in any case.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn run_view(
        &self,
        run: &ObjectKey,
        wanted: &Wanted,
        due_rows: &BTreeSet<RowKey>,
    ) -> Result<Look, CellError> {
        // What belongs to it is found by its uid.
        let uid_of = |found: &Seen| apimachinery::meta::uid(&found.value).to_owned();
        let (mut uid, mut known) = (self.known.uid(run), None);
        if uid.is_none() {
            let answers = self.snapshot(vec![Read::Get(run.row())]).await?.answers;
            known = answers.first().map(|rows| seen(run, rows)).transpose()?.flatten();
            uid = known.as_ref().map(uid_of);
        }
        loop {
            let mut reads = vec![Read::Get(run.row())];
            let mut due_rows = due_rows.clone();
            due_rows.insert(due::key(self.cell(), run, 0));
            reads.extend(due_rows.iter().cloned().map(Read::Get));
            let fixed = reads.len();
            reads.extend(wanted.objects.iter().map(|key| Read::Get(key.row())));
            reads.extend(wanted.lists.iter().map(|kind| list(run, kind)));
            if let Some(uid) = &uid {
                reads.push(Read::Owned { tenant: run.tenant.clone(), owner: String::clone(uid) });
                reads.push(attempts_of(&run.tenant, uid));
            }
            let mut answers = self.snapshot(reads).await?.answers;
            let due: Vec<_> =
                answers[1..fixed].iter().flat_map(|a| &a.rows).map(|r| (r.key.clone(), r.revision)).collect();
            let revision = answers[0].rows.first().map(|row| row.revision);
            // Reading the document of a large run costs much: it is read once, if nobody has written in between.
            let found = match known.take().filter(|known| Some(known.revision) == revision) {
                None => seen(run, &answers[0])?,
                known => known,
            };
            let Some(found) = found else {
                self.known.forget_run(run);
                return Ok(Look::Gone(due));
            };
            let found_uid = uid_of(&found);
            self.known.learn_uid(run, &found_uid);
            if uid.as_ref() != Some(&found_uid) {
                // Another one of that name by now: look at what belongs to it, at a new single moment.
                uid = Some(found_uid);
                continue;
            }
            let rest = answers.split_off(fixed);
            let kept = self.known.take_owned(run);
            return Ok(Look::Found(Box::new(view(found, wanted, &rest, due, kept)?)));
        }
    }

    /// Keeps what the look has read for the next one, which then reads the documents only of what has changed. Of a
    /// large run few have, and reading a thousand is most of what a look costs.
    pub fn keep(&self, view: View) {
        self.known.keep_owned(view.run.key, view.owned);
    }
}

fn list(run: &ObjectKey, kind: &str) -> Read {
    Read::Scan {
        table: Table::Object,
        partition: object::scope(&run.tenant, kind),
        from: format!("{}/", run.namespace),
        to: format!("{}0", run.namespace),
        limit: LISTED_MAX,
    }
}

pub(super) fn attempts_of(tenant: &str, run_uid: &str) -> Read {
    Read::Scan {
        table: Table::Attempt,
        partition: tenant.to_owned(),
        from: format!("{run_uid}/"),
        to: format!("{run_uid}0"),
        limit: LISTED_MAX,
    }
}

fn view(
    run: Seen,
    wanted: &Wanted,
    rest: &[crate::backend::Rows],
    due: Vec<(RowKey, Revision)>,
    mut kept: BTreeMap<ObjectKey, Seen>,
) -> Result<View, CellError> {
    let mut rest = rest.iter();
    let mut next = || rest.next().map_or(&[][..], |rows| rows.rows.as_slice());
    let mut objects = BTreeMap::new();
    for key in &wanted.objects {
        let found = next().first().map(of_row).transpose()?.flatten();
        objects.insert(key.clone(), found);
    }
    let mut lists = BTreeMap::new();
    for kind in &wanted.lists {
        lists.insert(kind.clone(), all_of(next())?);
    }
    let mut owned = Vec::new();
    for row in next() {
        let same =
            key_of_row(row).and_then(|key| kept.remove(&key)).filter(|seen| seen.revision == row.revision);
        owned.extend(same.map_or_else(|| of_row(row), |seen| Ok(Some(seen)))?);
    }
    let attempts = next()
        .iter()
        .map(|row| Ok((records::decode(&row.body)?, row.revision)))
        .collect::<Result<_, CellError>>()?;
    Ok(View { run, owned, objects, lists, attempts, due })
}

fn all_of(rows: &[Row]) -> Result<Vec<Seen>, CellError> {
    Ok(rows.iter().map(of_row).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

pub(super) fn of_row(row: &Row) -> Result<Option<Seen>, CellError> {
    let Some(key) = key_of_row(row) else { return Ok(None) };
    Ok(Some(Seen { key, value: object::of_row(row)?, revision: row.revision }))
}
