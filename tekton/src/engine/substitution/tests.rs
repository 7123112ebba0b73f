use serde_json::json;

use super::*;

fn replacements() -> Replacements {
    let mut r = Replacements::default();
    r.strings.insert("params.a".into(), "A".into());
    r.strings.insert("params.d".into(), "$(params.a)".into());
    r.arrays.insert("params.l[*]".into(), vec!["x".into(), "y".into()]);
    r
}

#[test]
fn replaced_text_is_not_looked_at_again() {
    let r = replacements();
    assert_eq!(r.string("-$(params.d)-$(params.a)-$(params.zz)-$("), "-$(params.a)-A-$(params.zz)-$(");
}

#[test]
fn a_whole_element_that_names_an_array_becomes_its_elements() {
    let r = replacements();
    assert_eq!(r.value(&json!(["1", "$(params.l[*])", "$(params.a)"])), json!(["1", "x", "y", "A"]));
    assert_eq!(r.value(&json!("$(params.l[*])")), json!(["x", "y"]));
    assert_eq!(r.value(&json!("$(params.l)")), json!(["x", "y"]), "with and without the star");
    assert_eq!(r.value(&json!("-$(params.l)")), json!("-$(params.l)"), "the whole value or nothing");
}
