use super::*;

#[test]
fn a_gate_that_is_closed_is_told_how_to_open_it() {
    let faults = Faults::at(
        r#"matrix requires "enable-api-fields" feature gate to be "alpha" or "beta" but it is "stable""#,
        &[],
    );
    let hints = of(&faults);
    assert_eq!(hints.len(), 1);
    assert!(hints[0].text.contains(r#"-p '{"data":{"enable-api-fields":"beta"}}'"#), "{}", hints[0].text);
    let faults =
        Faults::at("feature flag enable-artifacts should be set to true to use artifacts feature.", &[""]);
    assert!(of(&faults)[0].text.starts_with("set enable-artifacts: \"true\""));
}

#[test]
fn fields_are_named() {
    let mut faults = Faults::missing("steps").under("spec");
    faults.add(Faults::neither(&["taskRef", "taskSpec"]).under("spec"));
    let hints = of(&faults);
    assert_eq!(
        hints[0],
        Hint { field: "spec.taskRef".into(), text: "set one of spec.taskRef, spec.taskSpec".into() }
    );
    assert_eq!(hints[1], Hint { field: "spec.steps".into(), text: "set spec.steps".into() });
}

#[test]
fn what_nobody_has_a_hint_for_has_none() {
    assert_eq!(of(&Faults::at("something else", &["spec"])), Vec::new());
}
