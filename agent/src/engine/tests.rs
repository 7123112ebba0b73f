use k8s_openapi::api::core::v1::Pod;
use protocol::message::Stop;
use protocol::order::Network;
use serde_json::{Value, json};

use super::*;

fn order() -> Order {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"annotations": {"a": "1"}},
        "spec": {"containers": [{"name": "step-a"}, {"name": "step-b"}]},
    }))
    .unwrap();
    Order {
        attempt: "t".into(),
        pod,
        volumes: BTreeMap::new(),
        secret_env: BTreeMap::new(),
        working_dirs: Vec::new(),
        when_ready: BTreeMap::new(),
        done_by_agent: Vec::new(),
        registry_auth: BTreeMap::new(),
        deadline_us: 60_000_000,
        left_ms: None,
        lease_ms: None,
        traceparent: None,
        network: Network::None,
        version: protocol::VERSION,
        cells: Vec::new(),
    }
}

/// A status in which the two steps are in these states: `w` waiting, `r` running, `0`/`1` ended, `o` for want of memory, `!` in trouble.
fn status(phase: &str, states: &str) -> PodStatus {
    let state = |c: char| match c {
        'w' => json!({"waiting": {"reason": "ContainerCreating"}}),
        '!' => json!({"waiting": {"reason": "ImagePullBackOff"}}),
        'o' => json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": null}}),
        'r' => json!({"running": {"startedAt": "2024-01-01T00:00:00Z"}}),
        code => json!({"terminated": {"exitCode": code.to_digit(10), "startedAt": "2024-01-01T00:00:00Z"}}),
    };
    let all: Vec<Value> = states
        .chars()
        .zip(["step-a", "step-b"])
        .map(|(c, name)| {
            json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state(c)})
        })
        .collect();
    serde_json::from_value(json!({"phase": phase, "containerStatuses": all})).unwrap()
}

struct Driver {
    engine: Engine,
    change: u64,
    now: i64,
}

impl Driver {
    fn new() -> Self {
        let (engine, effects) = Engine::new(&order(), 7);
        assert_eq!(names(&effects), ["prepare", "watch", "deadline"]);
        Self { engine, change: 0, now: 0 }
    }

    fn apply(&mut self, event: Event) -> Vec<Effect> {
        self.engine.apply(event, self.now)
    }

    fn see(&mut self, phase: &str, states: &str) -> Vec<Effect> {
        self.change += 1;
        let seen = Seen { change: self.change, status: status(phase, states), timings: BTreeMap::new() };
        self.apply(Event::Seen(Box::new(seen)))
    }

    fn after(&mut self, us: i64, event: Event) -> Vec<Effect> {
        self.now += us;
        self.apply(event)
    }

    fn running() -> Self {
        let mut driver = Self::new();
        driver.see("Pending", "ww");
        assert_eq!(names(&driver.apply(Event::Prepared(Prepared::Ready))), ["gate"]);
        assert_eq!(names(&driver.apply(Event::Gate(StartAnswer::Go))), ["go", "logs step-a step-b"]);
        driver
    }

    fn stop(&self, grace_ms: u64) -> Desired {
        Desired { stop: Some(Stop { reason: "x".into(), grace_ms }), ..self.engine.desired.clone() }
    }
}

fn states(status: &PodStatus) -> String {
    let letter = |s: &ContainerStatus| match s.state.clone().unwrap_or_default() {
        ContainerState { running: Some(_), .. } => "r".to_owned(),
        ContainerState { terminated: Some(t), .. } => t.exit_code.to_string(),
        ContainerState { .. } => "w".to_owned(),
    };
    statuses(status).map(letter).collect()
}

/// Effects in short; wakes are of interest to their own test only.
fn names(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::Prepare => "prepare".to_owned(),
        Effect::PassGate(_) => "gate".into(),
        Effect::Go => "go".into(),
        Effect::ShipLogs(names) => format!("logs {}", names.join(" ")),
        Effect::Report(t) => {
            format!("report {} {}{}", t.seq, states(&t.status), if t.last { " last" } else { "" })
        }
        Effect::Watch(_) => "watch".into(),
        Effect::Annotate(_) => "annotate".into(),
        Effect::Stop { grace_ms } => format!("stop {grace_ms}"),
        Effect::Wake(_) => "wake".into(),
        Effect::WatchDeadline(_) => "deadline".into(),
        Effect::End(outcome) => format!("end {outcome:?}"),
    };
    effects.iter().map(name).collect()
}

fn telling(effects: &[Effect]) -> Vec<String> {
    names(effects).into_iter().filter(|n| n != "wake").collect()
}

#[test]
fn nothing_starts_before_the_gate_says_go() {
    for (answer, end) in [
        (StartAnswer::Revoked, "end Revoked"),
        (StartAnswer::Burn { reason: "old".into() }, "end Burnt(\"old\")"),
    ] {
        let mut driver = Driver::new();
        driver.apply(Event::Prepared(Prepared::Ready));
        assert_eq!(names(&driver.apply(Event::Gate(answer))), [end]);
        assert!(driver.apply(Event::Gate(StartAnswer::Go)).is_empty(), "nothing follows the end");
    }
}

#[test]
fn a_second_go_starts_nothing() {
    let mut driver = Driver::running();
    assert_eq!(telling(&driver.apply(Event::Gate(StartAnswer::Go))), Vec::<String>::new());
}

#[test]
fn starts_are_told_together_and_ends_at_once() {
    let mut driver = Driver::running();
    assert_eq!(names(&driver.see("Running", "rw")), ["wake"]);
    assert_eq!(names(&driver.see("Running", "rr")), ["wake"]);
    assert_eq!(telling(&driver.after(COALESCE_US, Event::Woken)), ["report 1 rr"]);
    driver.apply(Event::Delivered("step-a".into()));
    assert_eq!(telling(&driver.see("Running", "0r")), Vec::<String>::new(), "one report at a time");
    let desired = driver.engine.desired.clone();
    assert_eq!(telling(&driver.apply(Event::Reported(desired))), ["report 2 0r"]);
}

#[test]
fn an_end_is_told_when_its_log_is_there_or_after_a_while() {
    let mut driver = Driver::running();
    assert_eq!(telling(&driver.see("Running", "0r")), Vec::<String>::new());
    assert_eq!(telling(&driver.after(COALESCE_US, Event::Woken)), ["report 1 rr"]);
    let desired = driver.engine.desired.clone();
    driver.apply(Event::Reported(desired.clone()));
    assert_eq!(telling(&driver.apply(Event::Delivered("step-a".into()))), ["report 2 0r"]);
    driver.apply(Event::Reported(desired.clone()));
    assert_eq!(telling(&driver.see("Failed", "01")), Vec::<String>::new());
    let effects = driver.after(LOG_GRACE_US, Event::Woken);
    assert_eq!(
        telling(&effects),
        ["report 3 01 last"],
        "a log that is never taken does not hold the end back"
    );
    assert_eq!(names(&driver.apply(Event::Reported(desired))), ["end Reported"]);
}

#[test]
fn a_short_pod_is_told_in_one_report() {
    let mut driver = Driver::running();
    driver.see("Running", "rr");
    driver.see("Running", "0r");
    driver.apply(Event::Delivered("step-a".into()));
    let mut driver = Driver::running();
    driver.apply(Event::Delivered("step-a".into()));
    driver.apply(Event::Delivered("step-b".into()));
    assert_eq!(telling(&driver.see("Succeeded", "00")), ["report 1 00 last"]);
}

#[test]
fn a_lost_report_is_said_again_under_a_new_number_until_long_after_the_deadline() {
    let mut driver = Driver::running();
    driver.apply(Event::Delivered("step-a".into()));
    driver.apply(Event::Delivered("step-b".into()));
    assert_eq!(telling(&driver.see("Succeeded", "00")), ["report 1 00 last"]);
    assert_eq!(names(&driver.apply(Event::ReportLost)), ["wake"]);
    assert_eq!(telling(&driver.after(RETRY_FIRST_US, Event::Woken)), ["report 2 00 last"]);
    driver.apply(Event::ReportLost);
    driver.apply(Event::Deadline);
    let effects = driver.apply(Event::TooLate);
    assert!(telling(&effects).contains(&"end Unreachable".to_owned()), "{:?}", names(&effects));
}

#[test]
fn trouble_before_the_gate_is_told_and_waits_for_the_cell() {
    let mut driver = Driver::new();
    assert_eq!(telling(&driver.see("Pending", "ww")), Vec::<String>::new());
    assert_eq!(telling(&driver.see("Pending", "!w")), ["report 1 ww"]);
    let stop = driver.stop(0);
    assert_eq!(telling(&driver.apply(Event::Reported(stop))), ["stop 0"]);
    assert_eq!(telling(&driver.see("Failed", "!w")), ["report 2 ww last"]);
}

#[test]
fn a_pod_that_is_lost_before_the_gate_is_not_reported() {
    let mut driver = Driver::new();
    assert_eq!(names(&driver.apply(Event::Prepared(Prepared::Lost))), ["end Broken"]);
    assert_eq!(names(&driver.see("Failed", "ww")), Vec::<String>::new());
}

#[test]
fn who_is_killed_before_anything_has_started_makes_no_failed_pod() {
    for prepared in [Prepared::Lost, Prepared::Ready] {
        let mut driver = Driver::new();
        driver.see("Pending", "ww");
        assert!(telling(&driver.see("Pending", "9w")).is_empty());
        assert!(telling(&driver.see("Failed", "99")).is_empty());
        assert_eq!(names(&driver.apply(Event::Prepared(prepared))), ["end Broken"]);
    }
}

#[test]
fn want_of_memory_before_anything_has_started_is_the_pods_own_and_told_behind_the_gate() {
    let mut driver = Driver::new();
    driver.see("Failed", "oo");
    assert_eq!(names(&driver.apply(Event::Prepared(Prepared::Ready))), ["gate"]);
    driver.apply(Event::Gate(StartAnswer::Go));
    assert_eq!(telling(&driver.after(60_000_000, Event::Woken)), ["report 1 137137 last"]);
}

#[test]
fn a_stop_is_asked_once_and_again_only_to_be_quicker() {
    let mut driver = Driver::running();
    let (slow, quick) = (driver.stop(30_000), driver.stop(0));
    assert_eq!(telling(&driver.apply(Event::Watched(slow.clone()))), ["stop 30000", "watch"]);
    assert_eq!(telling(&driver.apply(Event::Watched(slow))), ["watch"]);
    assert_eq!(telling(&driver.apply(Event::Watched(quick))), ["stop 0", "watch"]);
}

#[test]
fn a_stop_while_the_gate_answers_starts_nothing() {
    let mut driver = Driver::new();
    driver.apply(Event::Prepared(Prepared::Ready));
    let stop = driver.stop(0);
    driver.apply(Event::Watched(stop));
    assert_eq!(telling(&driver.apply(Event::Gate(StartAnswer::Go))), Vec::<String>::new());
    assert_eq!(telling(&driver.see("Failed", "ww")), ["report 1 ww last"]);
}

#[test]
fn annotations_are_shown_when_they_change_and_sidecars_stop_after_the_steps() {
    let mut driver = Driver::running();
    let same = driver.engine.desired.clone();
    assert_eq!(telling(&driver.apply(Event::Watched(same.clone()))), ["watch"]);
    let ready = Desired { annotations: BTreeMap::from([("a".into(), "2".into())]), ..same };
    assert_eq!(telling(&driver.apply(Event::Watched(ready.clone()))), ["annotate", "watch"]);
    let over = Desired { stop_sidecars: true, ..ready };
    assert_eq!(telling(&driver.apply(Event::Watched(over))), ["stop 30000", "watch"]);
}

#[test]
fn who_waits_for_the_sidecars_need_not_wait_for_the_cell() {
    let mut order = order();
    order.when_ready = BTreeMap::from([("ready".into(), "yes".into())]);
    let mut driver = Driver { engine: Engine::new(&order, 7).0, change: 0, now: 0 };
    driver.apply(Event::Prepared(Prepared::Ready));
    assert!(!telling(&driver.see("Running", "rw")).contains(&"annotate".to_owned()), "the gate is not open");
    driver.apply(Event::Gate(StartAnswer::Go));
    assert!(telling(&driver.see("Running", "rr")).contains(&"annotate".to_owned()));
    let shown = |effects: &[Effect]| {
        effects.iter().find_map(|e| if let Effect::Annotate(all) = e { Some(all.clone()) } else { None })
    };
    let same = driver.engine.desired.clone();
    assert_eq!(shown(&driver.apply(Event::Watched(same.clone()))), None);
    // What the cell says of other annotations takes nothing back.
    let other = Desired { annotations: BTreeMap::from([("a".into(), "2".into())]), ..same };
    let both = BTreeMap::from([("a".into(), "2".into()), ("ready".into(), "yes".into())]);
    assert_eq!(shown(&driver.apply(Event::Watched(other))), Some(both));
}

#[test]
fn a_container_that_is_no_step_must_be_ready_first() {
    let status = |ready: bool, state: Value| -> PodStatus {
        let all = json!([
            {"name": "step-a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"running": {}}},
            {"name": "sidecar-b", "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state},
        ]);
        serde_json::from_value(json!({"phase": "Running", "containerStatuses": all})).unwrap()
    };
    assert!(!is_ready(&status(false, json!({"running": {}}))));
    assert!(!is_ready(&status(false, json!({"waiting": {}}))));
    assert!(is_ready(&status(true, json!({"running": {}}))));
    assert!(is_ready(&status(false, json!({"terminated": {"exitCode": 0}}))));
}

#[test]
fn the_deadline_stops_the_pod_whatever_the_cell_says() {
    let mut driver = Driver::running();
    driver.see("Running", "rr");
    driver.apply(Event::ReportLost);
    assert!(telling(&driver.apply(Event::Deadline)).contains(&"stop 0".to_owned()));
    driver.apply(Event::Delivered("step-a".into()));
    driver.apply(Event::Delivered("step-b".into()));
    driver.see("Failed", "11");
    let ended = driver.after(RETRY_FIRST_US, Event::Woken);
    let reported = ended.iter().find_map(|effect| match effect {
        Effect::Report(telling) => telling.status.reason.clone(),
        _ => None,
    });
    assert_eq!(reported.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn whoever_refuses_or_wants_it_gone_ends_it() {
    assert_eq!(names(&Driver::running().apply(Event::Leave)), ["end Left"]);
    assert_eq!(names(&Driver::running().apply(Event::Refused("no".into()))), ["end Burnt(\"no\")"]);
}

#[test]
fn a_lost_report_that_nobody_waits_for_is_said_again_although_nothing_changes() {
    let mut driver = Driver::running();
    driver.see("Running", "rr");
    assert_eq!(telling(&driver.after(COALESCE_US, Event::Woken)), ["report 1 rr"]);
    driver.apply(Event::ReportLost);
    driver.after(RETRY_FIRST_US, Event::Woken);
    assert_eq!(telling(&driver.after(COALESCE_US, Event::Woken)), ["report 2 rr"]);
}
