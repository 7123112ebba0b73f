use super::*;

#[test]
fn every_statement_of_the_schema_names_what_it_makes() {
    let all: Vec<_> = MIGRATIONS.iter().flat_map(|sql| statements(sql)).collect();
    let names: Vec<_> = all.iter().filter_map(|s| creates(s)).collect();
    assert_eq!(names.len(), all.len());
    assert!(names.contains(&"TABLE Records".to_owned()) && names.contains(&"STREAM Doorbell".to_owned()));
    assert!(names.contains(&"INDEX RecordsByOwner".to_owned()));
}

#[test]
fn what_a_statement_makes_is_read_as_spanner_writes_it() {
    let made = |s| creates(s).unwrap();
    assert_eq!(made("CREATE TABLE Log (\n  Scope STRING(MAX)"), "TABLE Log");
    assert_eq!(made("CREATE TABLE `Log`(Scope STRING(MAX)"), "TABLE Log");
    assert_eq!(made("CREATE UNIQUE NULL_FILTERED INDEX A ON B(C)"), "INDEX A");
    assert_eq!(made("CREATE CHANGE STREAM Doorbell\n  FOR Bells(Rang)"), "STREAM Doorbell");
    assert_eq!(creates("ALTER TABLE Log ADD COLUMN IF NOT EXISTS X INT64"), None);
}
