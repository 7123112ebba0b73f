use super::*;

fn parse(line: &str) -> Result<Flags, String> {
    Flags::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn one_or_two_dashes_and_both_spellings_of_values() {
    let flags =
        parse("-wait_file /a,/b -wait_file_content --post_file=/p -timeout 1m30s -entrypoint sh -- -c true")
            .unwrap();
    assert_eq!(flags.wait_files, ["/a", "/b"]);
    assert!(flags.wait_content);
    assert_eq!(flags.post_file, "/p");
    assert_eq!(flags.timeout, Some(Duration::from_secs(90)));
    assert_eq!((flags.entrypoint.as_str(), flags.args), ("sh", vec!["-c".to_owned(), "true".into()]));
    assert_eq!(flags.termination_path, "/tekton/termination");
}

#[test]
fn what_is_wrong_is_named() {
    assert!(parse("-nonsense 1").unwrap_err().contains("-nonsense"));
    assert!(parse("-timeout soon -- x").unwrap_err().contains("soon"));
    assert!(parse("-post_file").unwrap_err().contains("post_file"));
}
