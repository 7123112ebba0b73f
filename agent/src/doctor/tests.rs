use super::*;

#[test]
fn whatever_is_missing_comes_with_a_remedy() {
    let checks = doctor(Path::new("/tmp"));
    let names: Vec<_> = checks.iter().map(|c| c.name).collect();
    assert_eq!(names, ["root", "cgroups", "namespaces", "overlay", "network"]);
    for check in &checks {
        assert!(!check.found.is_empty(), "{check:?}");
        assert_eq!(check.good, check.remedy.is_empty(), "{check:?}");
    }
    let missing = super::check("x", true, Err("nothing".into()), "get it");
    assert_eq!((missing.good, missing.remedy.as_str()), (false, "get it"));
}
