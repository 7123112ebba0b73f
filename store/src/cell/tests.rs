use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::apply::{Create, EventWrite, RunWrite};
use super::session::Claim;
use super::view::{Look, View, Wanted};
use super::*;
use crate::backend::{Backend, Pre};
use crate::memory::Memory;
use crate::object;
use crate::records::due;

struct Fixture {
    backend: Arc<Memory>,
    store: CellStore,
    run: ObjectKey,
}

impl Fixture {
    async fn new() -> Self {
        let (host, _) = base::real::host();
        let backend = Memory::new(host.clock.clone());
        let store = CellStore::new(backend.clone(), host, "cell-a", &[1; 32]);
        let run = ObjectKey {
            tenant: "acme".into(),
            kind: "taskruns.tekton.dev".into(),
            namespace: "default".into(),
            name: "one".into(),
        };
        let object = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {
            "name": "one", "namespace": "default", "uid": "u", "annotations": {CELL: "cell-a", EPOCH: "3"}},
            "spec": {"x": 1}});
        let fixture = Self { backend, store, run };
        let put = object::put(&fixture.run, Pre::Absent, &object, None);
        fixture.write(vec![put, due::put("cell-a", &fixture.run, 0)]).await;
        fixture
    }

    async fn write(&self, ops: Vec<Op>) {
        let id = RequestId(self.store.host.id());
        self.backend.txn(Txn { id, name: "test", ops }).await.unwrap();
    }

    async fn look(&self) -> View {
        match self.store.run_view(&self.run, &Wanted::default(), &BTreeSet::new()).await.unwrap() {
            Look::Found(view) => *view,
            Look::Gone(_) => panic!("the run is gone"),
        }
    }

    async fn due(&self) -> usize {
        let found = self.store.due_scan(due::bucket(&self.run), i64::MAX, 100).await.unwrap();
        found.due.iter().filter(|(key, ..)| *key == self.run).count()
    }
}

fn status(reason: &str) -> RunWrite {
    let conditions = json!([{"type": "Succeeded", "status": "Unknown", "reason": reason}]);
    RunWrite { status: Some(json!({"conditions": conditions})), ..RunWrite::default() }
}

fn pod() -> Create {
    let owner = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "one", "uid": "u", "controller": true});
    let object = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "one-pod", "ownerReferences": [owner]}, "spec": {}});
    Create { object, machine: Some(MachineSize { millicpu: 100, memory: 1 }) }
}

#[tokio::test]
async fn a_decision_is_one_transaction_and_its_children_inherit() {
    let f = Fixture::new().await;
    let write = RunWrite { creates: vec![pod()], timer_us: Some(i64::MAX / 2), ..status("Started") };
    let applied = f.store.run_apply(&f.look().await, write).await.unwrap();
    assert!(applied.committed);
    let view = f.look().await;
    assert!(view.due.is_empty(), "the due row is consumed");
    assert_eq!(f.due().await, 1, "the timer is set");
    assert_eq!(view.run.value["spec"], json!({"x": 1}));
    let pod = &view.owned[0].value;
    assert_eq!((&pod["metadata"]["annotations"][EPOCH], epoch_of(pod)), (&json!("3"), 3));
    let (attempt, _) = view.attempt(apimachinery::meta::uid(pod)).unwrap();
    assert_eq!((attempt.epoch, attempt.retry, attempt.ordinal), (3, 0, 0));
    let machines = f.store.machines().await.unwrap();
    assert_eq!(
        machines[0].machine.token_sha256,
        sha256_hex(f.store.machine_token(&attempt.machine).as_bytes())
    );
}

#[tokio::test]
async fn a_look_that_is_out_of_date_writes_nothing() {
    let f = Fixture::new().await;
    let view = f.look().await;
    // Somebody asked for another look meanwhile.
    f.write(vec![due::put("cell-a", &f.run, 0)]).await;
    let refused = f.store.run_apply(&view, status("Started")).await;
    assert!(matches!(refused, Err(CellError::Conflict { .. })), "{refused:?}");
    assert!(f.look().await.run.value["status"].is_null());
    // Or the run was changed.
    let view = f.look().await;
    let mut edited = view.run.value.clone();
    edited["spec"]["x"] = json!(2);
    f.write(vec![object::put(&f.run, Pre::Any, &edited, None)]).await;
    assert!(matches!(f.store.run_apply(&view, status("Started")).await, Err(CellError::Conflict { .. })));
}

#[tokio::test]
async fn a_run_that_was_placed_elsewhere_is_not_written() {
    let f = Fixture::new().await;
    let mut moved = f.look().await.run.value;
    apimachinery::meta::set_annotation(&mut moved, CELL, "cell-b");
    f.write(vec![object::put(&f.run, Pre::Any, &moved, None)]).await;
    let refused = f.store.run_apply(&f.look().await, status("Started")).await;
    assert!(matches!(refused, Err(CellError::Conflict { .. })));
}

#[tokio::test]
async fn what_is_not_the_runs_cannot_be_written() {
    let f = Fixture::new().await;
    let task = ObjectKey { kind: "tasks.tekton.dev".into(), ..f.run.clone() };
    let object = json!({"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "one"}});
    f.write(vec![object::put(&task, Pre::Absent, &object, None)]).await;
    let write = RunWrite { updates: vec![(task.clone(), json!({}))], ..RunWrite::default() };
    assert!(matches!(f.store.run_apply(&f.look().await, write).await, Err(CellError::Foreign(_))));
    let write = RunWrite { deletes: vec![task.clone()], ..RunWrite::default() };
    f.store.run_apply(&f.look().await, write).await.unwrap();
    let left = f.store.objects([task.clone()]).await.unwrap();
    assert!(left[&task].is_some());
}

#[tokio::test]
async fn timers_move_and_an_event_said_again_is_counted() {
    let f = Fixture::new().await;
    let event = EventWrite { kind: "Normal", reason: "Started".into(), message: String::new() };
    let far = i64::MAX / 2;
    let write = RunWrite { timer_us: Some(far), events: vec![event.clone()], ..status("Started") };
    f.store.run_apply(&f.look().await, write).await.unwrap();
    f.write(vec![due::put("cell-a", &f.run, 0)]).await;
    let known = BTreeSet::from([far]);
    let write = RunWrite {
        timer_us: Some(far + 1),
        timers_known_us: known,
        events: vec![event],
        ..RunWrite::default()
    };
    f.store.run_apply(&f.look().await, write).await.unwrap();
    let timers = f.store.timers(due::bucket(&f.run), 0).await.unwrap();
    assert_eq!(timers, [(f.run.clone(), far + 1)]);
    let scan = Read::Scan {
        table: Table::Object,
        partition: "acme/events".into(),
        from: String::new(),
        to: String::new(),
        limit: 10,
    };
    let rows = f.store.snapshot(vec![scan]).await.unwrap().answers.remove(0).rows;
    let events: Vec<Value> = rows.iter().map(|row| object::of_row(row).unwrap()).collect();
    assert_eq!((events.len(), &events[0]["count"]), (1, &json!(2)));
    let name = events[0]["metadata"]["name"].as_str().unwrap();
    assert!(name.strip_prefix("one.").is_some_and(|hex| hex.len() == 16), "{name}");
}

#[tokio::test]
async fn the_same_decision_twice_writes_nothing_the_second_time() {
    let f = Fixture::new().await;
    f.store.run_apply(&f.look().await, status("Started")).await.unwrap();
    let again = f.store.run_apply(&f.look().await, status("Started")).await.unwrap();
    assert!(!again.committed);
    let labels = (BTreeMap::new(), BTreeMap::from([(CELL.to_owned(), "cell-a".to_owned())]));
    let write = RunWrite { metadata: Some(labels), ..RunWrite::default() };
    assert!(f.store.run_apply(&f.look().await, write).await.unwrap().committed);
}

#[tokio::test]
async fn a_run_made_anew_under_a_known_name_is_seen_with_what_belongs_to_it() {
    let f = Fixture::new().await;
    let write = RunWrite { creates: vec![pod()], ..status("Started") };
    f.store.run_apply(&f.look().await, write).await.unwrap();
    let before = f.look().await;
    assert_eq!((before.owned.len(), before.attempts.len()), (1, 1));
    let mut anew = before.run.value.clone();
    apimachinery::meta::set(&mut anew, "uid", "another");
    f.write(vec![object::put(&f.run, Pre::Any, &anew, None)]).await;
    let after = f.look().await;
    assert_eq!((after.owned.len(), after.attempts.len()), (0, 0), "nothing of the first one's");
    // A row that tells a uid which was true once does not mislead either.
    f.write(vec![due::put_with_uid("cell-a", &f.run, "u")]).await;
    assert_eq!(f.due().await, 1);
    assert_eq!((f.look().await.owned.len(), f.look().await.due.len()), (0, 1));
}

#[tokio::test]
async fn a_machine_is_asked_for_one_moment_and_an_attempt_that_is_gone_is_not_remembered() {
    let f = Fixture::new().await;
    let write = RunWrite { creates: vec![pod()], ..status("Started") };
    f.store.run_apply(&f.look().await, write).await.unwrap();
    let attempt = f.look().await.attempts[0].0.clone();
    let machine = attempt.machine.clone();
    for _ in 0..2 {
        let session = f.store.session(&machine).await.unwrap().unwrap();
        assert!(session.attempt.is_some() && session.pod.is_some() && session.run.is_some());
    }
    assert!(f.store.claimed(&machine, "boot", &attempt.id).await.unwrap().is_none(), "nobody has claimed it");
    assert!(matches!(f.store.claim(&machine, "boot", false).await.unwrap(), Claim::Mine(_)));
    assert!(f.store.claimed(&machine, "boot", &attempt.id).await.unwrap().is_some());
    assert!(f.store.claimed(&machine, "another boot", &attempt.id).await.unwrap().is_none());
    f.write(vec![Op::Delete { key: attempt.row(), pre: Pre::Any, last: None }]).await;
    for _ in 0..2 {
        let session = f.store.session(&machine).await.unwrap().unwrap();
        assert!(session.attempt.is_none() && session.pod.is_none());
    }
    f.write(vec![Op::Delete {
        key: crate::records::machine::row("cell-a", &machine),
        pre: Pre::Any,
        last: None,
    }])
    .await;
    assert!(f.store.session(&machine).await.unwrap().is_none());
}

#[tokio::test]
async fn what_a_large_run_owned_is_kept_and_what_has_changed_is_read_anew() {
    let f = Fixture::new().await;
    let key = |n: usize| ObjectKey { kind: "pods".into(), name: format!("pod-{n:02}"), ..f.run.clone() };
    let owner = json!({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": "one", "uid": "u", "controller": true});
    let pod = |n: usize, label: &str| {
        let name = key(n).name;
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default",
            "labels": {"l": label}, "ownerReferences": [owner]}})
    };
    let puts = (0..40).map(|n| object::put(&key(n), Pre::Absent, &pod(n, "old"), None));
    f.write(puts.collect()).await;
    let mut first = f.look().await;
    // Marked in memory only, so that it shows which documents were read again.
    first.owned.iter_mut().for_each(|seen| seen.value["kept"] = true.into());
    f.store.keep(first);
    let changed = [object::put(&key(3), Pre::Any, &pod(3, "new"), None)];
    let gone = Op::Delete { key: key(4).row(), pre: Pre::Any, last: None };
    f.write(changed.into_iter().chain([gone]).collect()).await;
    let second = f.look().await;
    let kept: Vec<_> = second.owned.iter().filter(|seen| seen.value["kept"] == true).collect();
    assert_eq!((second.owned.len(), kept.len()), (39, 38));
    let anew = second.owned.iter().find(|seen| seen.key == key(3)).unwrap();
    assert_eq!(anew.value["metadata"]["labels"]["l"], "new");
    // It was lent to one look.
    assert!(f.look().await.owned.iter().all(|seen| seen.value["kept"].is_null()));
}
