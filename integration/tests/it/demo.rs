use std::process::Command;

use integration::commands::{self, Tools};
use integration::leaks;

fn demo(files: &[&str]) -> (bool, String) {
    let tools = Tools::ready().unwrap();
    let mut command = Command::new(&tools.cella);
    command.arg("demo").arg("--images").arg(&tools.images);
    command.args(files.iter().map(|f| commands::workspace().join(f)));
    let output = command.output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn the_demo_runs_both_tenants_and_leaves_nothing() {
    let _turn = crate::alone();
    let before = leaks::Traces::now();
    let (good, text) = demo(&[]);
    assert!(good, "{text}");
    assert_eq!(text.matches("result summary = tests passed, image rocket:1.4.2").count(), 2, "{text}");
    assert!(text.contains("placed in europe-west1"), "{text}");
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}

#[test]
fn a_failing_run_says_what_failed_and_where_the_log_is() {
    let _turn = crate::alone();
    let before = leaks::Traces::now();
    let (good, text) = demo(&["docs/examples/failing.yaml"]);
    assert!(!good, "{text}");
    for part in ["step \"compile\" exited with code 3", "main.c:7: error: expected ';'"] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let kept: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("the whole log: less ")).map(|l| l.1).collect();
    assert_eq!(kept.len(), 2, "{text}");
    for path in kept {
        assert!(std::fs::read_to_string(path).unwrap().contains("main.c:7: error: expected ';'"));
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(leaks::left_since(&before), Vec::<String>::new());
}
