use super::*;

/// Build scripts that look at one of these would run anew, and everything above them, for each cargo that we start.
#[test]
fn a_cargo_of_ours_is_told_nothing_of_the_package_that_we_are() {
    let command = cargo_command();
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "OUT_DIR"] {
        assert!(command.get_envs().any(|(had, value)| had == name && value.is_none()), "{name} is passed on");
    }
}
