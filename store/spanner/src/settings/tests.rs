use super::*;

#[test]
fn a_url_names_a_database() {
    let settings = Settings::parse("spanner://projects/p/instances/i/databases/d").unwrap();
    assert_eq!(settings.database.to_string(), "projects/p/instances/i/databases/d");
    assert_eq!(settings.url(), "spanner://projects/p/instances/i/databases/d");
    assert_eq!(settings.emulator, None);
}

#[test]
fn what_is_no_url_is_refused_and_the_form_is_said() {
    for bad in ["", "d", "spanner://d", "spanner://projects/p/instances//databases/d", "sqlite://x"] {
        let why = Settings::parse(bad).unwrap_err().to_string();
        assert!(why.contains("spanner://projects/PROJECT"), "{why}");
    }
}

#[test]
fn the_rest_side_of_an_emulator_is_ten_ports_above() {
    let settings = Settings::parse("spanner://projects/p/instances/i/databases/d").unwrap();
    let rest = |grpc, rest| settings.clone().in_emulator(grpc, rest).map(|s| s.emulator.unwrap().rest);
    assert_eq!(rest("127.0.0.1:9010", None), Ok("127.0.0.1:9020".into()));
    assert_eq!(rest("127.0.0.1:9010", Some("127.0.0.1:7")), Ok("127.0.0.1:7".into()));
    assert_eq!(rest("127.0.0.1", None), Err(BadSettings::Emulator("127.0.0.1".into())));
}
