use serde_json::json;

use super::*;

fn holder(group: &str, read_only: bool) -> Holder {
    Holder {
        attempt: format!("attempt-of-{group}"),
        row: String::new(),
        machine: String::new(),
        run: String::new(),
        group: group.into(),
        generation: 1,
        read_only,
    }
}

#[test]
fn access_modes_say_who_may_have_a_volume_at_once() {
    let modes = |names: &[&str]| Modes::of(&json!({"spec": {"accessModes": names}}));
    let (once, pod) = (modes(&["ReadWriteOnce"]), modes(&["ReadWriteOncePod"]));
    let (many, read) = (modes(&["ReadWriteMany"]), modes(&["ReadOnlyMany"]));
    let both = modes(&["ReadWriteOnce", "ReadOnlyMany"]);
    let free = |modes: &Modes, asker: &Holder, holders: &[Holder]| modes.keeps_out(asker, holders).is_none();
    let (a, b) = (holder("a", false), holder("b", false));
    let (a_reads, b_reads) = (holder("a", true), holder("b", true));
    for modes in [&once, &pod, &many, &read, &both] {
        assert!(free(modes, &a, &[]), "{modes}");
    }
    assert!(free(&once, &a, std::slice::from_ref(&a)), "tasks of one run share");
    assert!(!free(&once, &b, std::slice::from_ref(&a)));
    assert!(!free(&once, &b_reads, std::slice::from_ref(&a_reads)));
    assert!(!free(&pod, &a, std::slice::from_ref(&a)), "not even with its own run");
    assert!(free(&many, &b, &[a.clone(), a_reads.clone()]));
    assert!(free(&read, &b, std::slice::from_ref(&a)));
    assert!(read.read_only() && !both.read_only());
    assert!(free(&both, &b_reads, std::slice::from_ref(&a_reads)));
    assert!(!free(&both, &b_reads, std::slice::from_ref(&a)));
    assert!(!free(&both, &b, std::slice::from_ref(&a_reads)));
    let none = Modes::of(&json!({"spec": {}}));
    assert!(!free(&none, &b, std::slice::from_ref(&a)) && none.to_string() == "ReadWriteOnce");
}
