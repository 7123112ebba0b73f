//! Gateways and cells as processes on Spanner's emulator: the clients' table once, a drain, and short drills.

use std::process::Command;
use std::time::Duration;

use integration::commands::drill::stage::{End, Stage, TASKRUNS, end, noting_task, taskrun};
use integration::commands::drill::{self, Size};
use integration::commands::{Tools, clients};
use integration::server::Store;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
fn the_clients_table_holds_on_processes_and_spanner() {
    let _turn = crate::alone();
    assert!(clients::run_on(Store::Emulator).unwrap());
}

#[test]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
fn killed_servers_agents_and_supervisors_repeat_and_lose_nothing() {
    let _turn = crate::alone();
    assert!(drill::run("kill", Size { kills: 12, seconds: 0 }).unwrap());
}

#[test]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
fn a_store_that_is_away_for_a_while_fails_nothing_that_runs() {
    let _turn = crate::alone();
    assert!(drill::run("outage", Size { kills: 0, seconds: 15 }).unwrap());
}

/// `cella region drain` tells what is left until nothing is; new runs go elsewhere until that is taken back.
#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(no_emulator, ignore = "Google's Spanner emulator is not on this machine")]
async fn a_drained_region_takes_no_new_runs_and_tells_when_it_is_empty() {
    let _turn = crate::alone_async().await;
    let cella = Tools::with(Store::Emulator).unwrap().cella;
    let stage = Stage::open(&[]).await.unwrap();
    let data = stage.server.data().to_owned();
    let drain = |more: &[&str]| {
        let mut command = Command::new(&cella);
        command.args(["region", "drain", "europe-west1", "--data"]).arg(&data).args(more);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let task = noting_task(&[("a", "sleep 4")]);
    stage.create(TASKRUNS, &taskrun("going", "europe-west1", "strict", &task)).await.unwrap();
    let begun = || async { Ok(stage.journal().contains_key("going/0 a")) };
    stage.until("the run begins", PATIENCE, begun).await.unwrap();
    let said = drain(&[]);
    let first = said.lines().next().unwrap();
    assert!(first.contains("1 runs left; 1 machines run steps"), "{said}");
    assert!(said.ends_with("europe-west1: drained, nothing is left\n"), "{said}");
    assert_eq!(end(&stage.run(TASKRUNS, "going").await.unwrap()), End::Succeeded);
    let placed = |name: &'static str| {
        let stage = &stage;
        async move {
            let task = serde_json::json!({"steps": [{"name": "a", "image": "busybox", "script": "true"}]});
            let mut run = taskrun(name, "europe-west1", "prefer", &task);
            run["spec"].as_object_mut().unwrap().remove("workspaces");
            stage.create(TASKRUNS, &run).await.unwrap();
            let run = stage.run(TASKRUNS, name).await.unwrap();
            run["metadata"]["annotations"]["cella.dev/cell"].as_str().unwrap().to_owned()
        }
    };
    assert_eq!(placed("elsewhere").await, "us-central1");
    assert_eq!(drain(&["--undo"]), "europe-west1: takes new runs again\n");
    assert_eq!(placed("again").await, "europe-west1");
    stage.all_ended(TASKRUNS, PATIENCE).await.unwrap();
    assert_eq!(stage.close().unwrap(), Vec::<String>::new());
}
