use super::*;

const LOG: &[u8] = b"2030-01-01T00:00:01.000000001Z stdout F one\n\
2030-01-01T00:00:02.5Z stderr P tw\n\
2030-01-01T00:00:02.6Z stderr F o\n\
2030-01-01T00:00:03Z stdout F \n\
2030-01-01T00:00:04Z stdout F four\n";

fn lines(query: &str) -> Lines {
    Lines::new(Options::parse(&Params::parse(query), 0).unwrap())
}

fn all(query: &str) -> String {
    let mut lines = lines(query);
    // In chunks that cut lines anywhere.
    let mut out: Vec<u8> = LOG.chunks(7).flat_map(|chunk| lines.feed(chunk)).collect();
    out.extend(lines.finish());
    String::from_utf8(out).unwrap()
}

#[test]
fn partial_lines_are_joined_and_times_left_out() {
    assert_eq!(all(""), "one\ntwo\n\nfour\n");
    assert_eq!(all("timestamps=true").lines().nth(1), Some("2030-01-01T00:00:02.5Z two"));
}

#[test]
fn a_client_may_want_less() {
    assert_eq!(all("sinceTime=2030-01-01T00:00:03Z"), "\nfour\n");
    assert_eq!(all("limitBytes=5"), "one\nt");
    assert_eq!(String::from_utf8(lines("tailLines=2").tail(LOG)).unwrap(), "\nfour\n");
    assert_eq!(lines("tailLines=0").tail(LOG), b"");
}

#[test]
fn what_cannot_be_read_is_named() {
    for query in
        ["tailLines=x", "sinceSeconds=-1", "sinceTime=soon", "sinceTime=2030-01-01T00:00:03Z&sinceSeconds=1"]
    {
        let status = Options::parse(&Params::parse(query), 0).unwrap_err();
        assert_eq!(status.code, 400, "{query}");
    }
}
