use clap::{Args, FromArgMatches};

use super::*;

fn given<S: Settings>(arguments: &[&str]) -> Given<S> {
    let command = Given::<S>::augment_args(Command::new("server"));
    let matches = command.try_get_matches_from([&["server"], arguments].concat()).unwrap();
    Given::from_arg_matches(&matches).unwrap()
}

#[test]
fn all_faults_of_a_cell_are_told_together() {
    let folder = std::env::temp_dir().join(format!("cella-config.{}", std::process::id()));
    std::fs::write(&folder, "listen = \"10.0.0.1:7000\"\nbogus = 1\nheartbeat = \"soon\"\n").unwrap();
    let file = folder.display().to_string();
    let given = given::<cell::Cell>(&["--config", &file, "--cell", "Not_A_Name", "--machines", "cloud"]);
    let faults = given.read(cell::read).err().unwrap().to_string();
    std::fs::remove_file(&folder).unwrap();
    for part in [
        "line 2: \"bogus\" is no setting",
        "line 3: heartbeat is \"soon\", which is no time with a unit",
        "the flag --cell: cell is \"Not_A_Name\"",
        "the flag --machines: machines is \"cloud\"",
        "region is not set",
        "secrets is not set",
        "store is not set",
        "is no loopback address: name a folder for tls",
    ] {
        assert!(faults.contains(part), "{part} is not in\n{faults}");
    }
}

#[test]
fn a_gateway_needs_few_settings() {
    let right = given::<gateway::Gateway>(&[
        "--tls",
        "t",
        "--secrets",
        "s",
        "--store",
        "spanner://projects/p/instances/i/databases/d",
    ]);
    assert!(right.read(gateway::read).unwrap().is_ok());
    let checked = given::<gateway::Gateway>(&[
        "--tls",
        "t",
        "--secrets",
        "s",
        "--store",
        "spanner://projects/p/instances/i/databases/d",
        "--check-config",
    ]);
    assert!(checked.read(gateway::read).unwrap().is_err());
}
