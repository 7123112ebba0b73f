//! Who may use a claim's volume: attempts ask before their machine is made, and wait in line.
//!
//! All volumes of an attempt are got in one transaction or none is, so that nobody waits while somebody waits for it.
//! An attempt has its volumes until it has ended; after a loss, until its machine is surely gone. That is found out when
//! the next one asks: nothing has to be given back.

use std::collections::{BTreeMap, BTreeSet};

use apimachinery::meta;
use serde_json::json;

use super::machines::MachineSeen;
use super::pods::put_record;
use super::{CELL, CellError, CellStore, Seen, replace, seen};
use crate::backend::{Op, Pre, Read, Revision, RowKey, Table};
use crate::object::ObjectKey;
use crate::records::attempt::{Attempt, Phase};
use crate::records::volume::{self, Holder, Modes, Volume};
use crate::records::{self, machine};

/// What became of asking for an attempt's volumes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hold {
    /// It has all that it needs.
    Held,
    /// It has to wait, for this.
    Waits {
        /// In words.
        why: String,
        /// Claims (namespace, name) that it stands in line for.
        claims: BTreeSet<(String, String)>,
    },
}

/// A volume with its revision, if there is a row.
type Row = Option<(Volume, Revision)>;

impl CellStore {
    /// Gets the volumes of an attempt, all or none. `line` are claims that an earlier one waits for: only who shares
    /// with a present holder passes it.
    ///
    /// # Errors
    /// [`CellError::Conflict`]: look again; [`CellError::Unavailable`].
    pub async fn volumes_hold(
        &self,
        seen: &MachineSeen,
        line: &BTreeSet<(String, String)>,
    ) -> Result<Hold, CellError> {
        let Some(attempt) = seen.attempt.as_ref().filter(|a| a.volumes.is_empty() && !a.claims.is_empty())
        else {
            return Ok(Hold::Held);
        };
        let claims: BTreeSet<(String, String)> =
            attempt.claims.iter().map(|c| (attempt.namespace.clone(), c.claim.clone())).collect();
        let waits = |why: String| Ok(Hold::Waits { why, claims: claims.clone() });
        let (found, revision) = self.claims(attempt).await?;
        let Some(revision) = revision else { return Ok(Hold::Held) };
        let mut ops = Vec::new();
        let mut after = Attempt { volumes: BTreeMap::new(), ..attempt.clone() };
        for ((claim, seen), volume) in &found {
            let Some(seen) = seen else { return waits(format!("persistentvolumeclaim {claim:?} not found")) };
            if meta::is_deleting(&seen.value) {
                return waits(format!("persistentvolumeclaim {claim:?} is being deleted"));
            }
            let uses = attempt.claims.iter().filter(|c| c.claim == *claim);
            let modes = Modes::of(&seen.value);
            let uid = meta::uid(&seen.value).to_owned();
            let mut volume_row = volume
                .as_ref()
                .map_or_else(|| self.volume(&uid, &attempt.namespace, claim), |(volume, _)| volume.clone());
            if volume_row.cell != self.cell() {
                let there = &volume_row.cell;
                return waits(format!("the volume of claim {claim:?} is in cell {there}, and stays there"));
            }
            self.forget_ended(&attempt.tenant, &mut volume_row).await?;
            let holder = Holder {
                attempt: attempt.id.clone(),
                row: attempt.row().key,
                machine: attempt.machine.clone(),
                run: attempt.run.clone(),
                group: attempt.group.clone(),
                generation: volume_row.generation + 1,
                read_only: modes.read_only() || uses.clone().all(|c| c.read_only),
            };
            if let Some(other) = modes.keeps_out(&holder, &volume_row.holders) {
                let (run, is) =
                    (&other.run, if modes.to_string() == "ReadWriteOncePod" { "has" } else { "uses" });
                return waits(format!("the volume of claim {claim:?} ({modes}): TaskRun {run:?} {is} it"));
            }
            let shares = volume_row.holders.iter().any(|other| other.group == holder.group);
            if line.contains(&(attempt.namespace.clone(), claim.clone())) && !shares {
                return waits(format!(
                    "the volume of claim {claim:?} ({modes}): another run is first in line"
                ));
            }
            after.volumes.insert(uid.clone(), holder.generation);
            volume_row.generation = holder.generation;
            volume_row.holders.push(holder);
            volume_row.floor = volume_row.holders.iter().map(|h| h.generation).min().unwrap_or(0);
            let pre = volume.as_ref().map_or(Pre::Absent, |(_, revision)| Pre::Rev(*revision));
            ops.push(put_record(volume::row(&attempt.tenant, &uid), pre, records::encode(&volume_row)));
            ops.extend(self.bind(seen));
        }
        ops.push(put_record(after.row(), Pre::Rev(revision), records::encode(&after)));
        self.commit("volumes_hold", ops).await?;
        Ok(Hold::Held)
    }

    /// The claims of an attempt with their volumes, and the attempt's revision; `None`: it is not as it was any more.
    #[allow(clippy::type_complexity, reason = "read once, in the loop above")]
    async fn claims(
        &self,
        attempt: &Attempt,
    ) -> Result<(Vec<((String, Option<Seen>), Row)>, Option<Revision>), CellError> {
        let names: BTreeSet<&String> = attempt.claims.iter().map(|c| &c.claim).collect();
        let keys: Vec<ObjectKey> = names.iter().map(|name| claim_key(attempt, name)).collect();
        let mut reads = vec![Read::Get(attempt.row())];
        reads.extend(keys.iter().map(|key| Read::Get(key.row())));
        let answers = self.snapshot(reads).await?.answers;
        let row = answers[0].rows.first();
        let same = row.filter(|row| records::decode::<Attempt>(&row.body).is_ok_and(|now| now == *attempt));
        let Some(revision) = same.map(|row| row.revision) else { return Ok((Vec::new(), None)) };
        let mut claims = Vec::new();
        for (key, rows) in keys.iter().zip(&answers[1..]) {
            claims.push((key.name.clone(), seen(key, rows)?));
        }
        let uid = |claim: &Option<Seen>| claim.as_ref().map_or("", |c| meta::uid(&c.value)).to_owned();
        let reads = claims.iter().map(|(_, claim)| Read::Get(volume::row(&attempt.tenant, &uid(claim))));
        let answers = self.snapshot(reads.collect()).await?.answers;
        let mut out = Vec::new();
        for (claim, rows) in claims.into_iter().zip(&answers) {
            let row =
                rows.rows.first().map(|row| Ok::<_, CellError>((records::decode(&row.body)?, row.revision)));
            out.push((claim, row.transpose()?));
        }
        Ok((out, Some(revision)))
    }

    /// A volume that is used for the first time.
    fn volume(&self, uid: &str, namespace: &str, claim: &str) -> Volume {
        Volume {
            uid: uid.to_owned(),
            namespace: namespace.to_owned(),
            claim: claim.to_owned(),
            cell: self.cell().to_owned(),
            generation: 0,
            floor: 0,
            holders: Vec::new(),
        }
    }

    /// Takes out holders that have surely ended: once they have, they always will have.
    async fn forget_ended(&self, tenant: &str, volume: &mut Volume) -> Result<(), CellError> {
        if volume.holders.is_empty() {
            return Ok(());
        }
        let reads = volume.holders.iter().flat_map(|holder| {
            let attempt = RowKey::new(Table::Attempt, tenant, holder.row.clone());
            [Read::Get(attempt), Read::Get(machine::row(self.cell(), &holder.machine))]
        });
        let answers = self.snapshot(reads.collect()).await?.answers;
        let mut live = Vec::new();
        for (holder, pair) in volume.holders.drain(..).zip(answers.chunks(2)) {
            let attempt: Option<Attempt> =
                pair[0].rows.first().map(|row| records::decode(&row.body)).transpose()?;
            let machine = pair[1].rows.first();
            let phase = attempt.filter(|attempt| attempt.id == holder.attempt).map(|attempt| attempt.phase);
            // Of a lost machine nobody knows what it does until its provider has deleted it.
            let ended = matches!(phase, Some(Phase::Done | Phase::Revoked));
            if machine.is_some() && !ended {
                live.push(holder);
            }
        }
        volume.holders = live;
        Ok(())
    }

    /// Says on a claim, once, where its volume is.
    fn bind(&self, claim: &Seen) -> Option<Op> {
        let bound =
            claim.value["status"]["phase"] == "Bound" && meta::annotation(&claim.value, CELL).is_some();
        if bound {
            return None;
        }
        let mut new = claim.value.clone();
        meta::set_annotation(&mut new, CELL, self.cell());
        let (modes, capacity) =
            (new["spec"]["accessModes"].clone(), new["spec"]["resources"]["requests"].clone());
        new["status"] = json!({"phase": "Bound", "accessModes": modes, "capacity": capacity});
        Some(replace(claim, &new))
    }

    /// Whether an attempt has all its volumes, under the generations that its agent was told.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn volumes_held(
        &self,
        attempt: &Attempt,
        told: &BTreeMap<String, u64>,
    ) -> Result<bool, CellError> {
        if attempt.volumes.is_empty() && told.is_empty() {
            return Ok(true);
        }
        if attempt.volumes != *told {
            return Ok(false);
        }
        let reads = told.keys().map(|uid| Read::Get(volume::row(&attempt.tenant, uid)));
        let answers = self.snapshot(reads.collect()).await?.answers;
        for (generation, rows) in told.values().zip(&answers) {
            let volume: Option<Volume> =
                rows.rows.first().map(|row| records::decode(&row.body)).transpose()?;
            if !volume.is_some_and(|volume| volume.is_held(&attempt.id, *generation)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The volumes of an attempt.
    ///
    /// # Errors
    /// [`CellError::Unavailable`], [`CellError::Damaged`].
    pub async fn volumes_of(&self, attempt: &Attempt) -> Result<Vec<Volume>, CellError> {
        if attempt.volumes.is_empty() {
            return Ok(Vec::new());
        }
        let reads = attempt.volumes.keys().map(|uid| Read::Get(volume::row(&attempt.tenant, uid)));
        let answers = self.snapshot(reads.collect()).await?.answers;
        answers.iter().flat_map(|a| &a.rows).map(|row| Ok(records::decode(&row.body)?)).collect()
    }

    /// The op that removes the volume of a deleted claim. `None`: there is none; `Err`: somebody has it still.
    pub(super) async fn volume_remove(
        &self,
        tenant: &str,
        uid: &str,
    ) -> Result<Result<Option<Op>, StillHeld>, CellError> {
        let key = volume::row(tenant, uid);
        let answers = self.snapshot(vec![Read::Get(key.clone())]).await?.answers;
        let Some(row) = answers[0].rows.first() else { return Ok(Ok(None)) };
        let mut volume: Volume = records::decode(&row.body)?;
        if volume.cell == self.cell() {
            self.forget_ended(tenant, &mut volume).await?;
        }
        if !volume.holders.is_empty() {
            return Ok(Err(StillHeld));
        }
        Ok(Ok(Some(Op::Delete { key, pre: Pre::Rev(row.revision), last: None })))
    }
}

/// A deleted claim's volume is in use.
pub(super) struct StillHeld;

fn claim_key(attempt: &Attempt, name: &str) -> ObjectKey {
    ObjectKey { kind: "persistentvolumeclaims".into(), name: name.to_owned(), ..attempt.run_key() }
}
