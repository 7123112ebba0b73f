use super::*;

const SETTINGS: [Setting; 4] = [
    Setting { name: "listen", help: "where to listen", default: Some("127.0.0.1:0") },
    Setting { name: "cell", help: "its id", default: None },
    Setting { name: "sleep-after", help: "when to sleep", default: None },
    Setting { name: "machines", help: "how many", default: Some("32") },
];

fn reader(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Reader {
    let owned = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    Reader::new(&SETTINGS, "CELLA_CELL_", Some(("cell.toml", file)), owned(environment), owned(flags))
}

#[test]
fn the_last_one_wins() {
    let mut read = reader(
        "listen = \"a\"\ncell = \"a\"\nmachines = 4\n",
        &[("CELLA_CELL_CELL", "b"), ("CELLA_CELL_SLEEP_AFTER", "5m"), ("HOME", "x"), ("CELLA_LOG", "y")],
        &[("listen", "c")],
    );
    assert_eq!(read.required("listen", text).as_deref(), Some("c"));
    assert_eq!(read.required("cell", text).as_deref(), Some("b"));
    assert_eq!(read.optional("sleep-after", duration), Some(Duration::from_secs(300)));
    assert_eq!(read.required("machines", number), Some(4));
    assert!(read.print().contains("the flag --listen\nlisten = \"c\""));
    assert_eq!(read.finish(Some(1)), Ok(1));
}

#[test]
fn all_faults_are_told_together_each_with_its_place() {
    let mut read = reader(
        "# a comment\nmachines = \"many\"\nlisten = { a = 1 }\nbogus = 1\n",
        &[("CELLA_CELL_SLEEP_AFTER", "soon"), ("CELLA_CELL_SLEPP", "1")],
        &[],
    );
    read.required("machines", number);
    read.required("cell", text);
    read.optional("sleep-after", duration);
    let Err(Faults(faults)) = read.finish(Some(())) else { panic!("taken") };
    let told = faults.join("\n");
    for part in [
        "cell.toml, line 2: machines is \"many\", which is no whole number",
        "cell.toml, line 3: listen must be a text",
        "cell.toml, line 4: \"bogus\" is no setting; there are listen, cell",
        "the variable CELLA_CELL_SLEEP_AFTER: sleep-after is \"soon\"",
        "the variable CELLA_CELL_SLEPP: \"slepp\" is no setting",
        "cell is not set",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let broken = reader("listen = \n", &[], &[]).finish(Some(()));
    assert!(broken.unwrap_err().to_string().contains("cell.toml, line 1"));
}

#[test]
fn units_are_needed() {
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(size("64MiB"), Ok(64 << 20));
    for bad in ["", "10", "s", "10 s", "-1s", "99999999999999999999h"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    assert!(size("64").is_err() && size("64MB").is_err());
}
