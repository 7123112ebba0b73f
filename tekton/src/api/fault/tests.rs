use super::*;

#[test]
fn paths_grow_from_the_inside_out() {
    let faults = Faults::missing("name").field_index("steps", 2).under("spec");
    assert_eq!(faults.to_string(), "missing field(s): spec.steps[2].name");
    let faults = Faults::invalid("x", "").field_key("params", "a").index(0).under("spec.tasks");
    assert_eq!(faults.to_string(), "invalid value: x: spec.tasks[0].params[a]");
}

#[test]
fn a_fault_without_a_path_never_gets_one() {
    assert_eq!(Faults::at("no", &[]).under("spec").to_string(), "no: ");
}

#[test]
fn faults_of_one_message_are_merged_and_all_are_sorted() {
    let mut faults = Faults::missing("b");
    faults.add(Faults::detailed("bad", &["z"], "why"));
    faults.add(Faults::missing("a"));
    faults.add(Faults::missing("b"));
    assert_eq!(faults.to_string(), "bad: z\nwhy\nmissing field(s): a, b");
}
