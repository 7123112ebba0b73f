use integration::{commands, leaks};

#[test]
fn kubectl_and_tkn_work_unchanged_and_nothing_is_left() {
    let _turn = crate::alone();
    let before = leaks::Traces::now();
    assert!(commands::clients::run().unwrap(), "a check has failed; it is printed above");
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}
