use super::*;

#[test]
fn times_survive_the_round_trip() {
    for text in
        ["1970-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2100-03-01T12:00:00Z"]
    {
        assert_eq!(rfc3339(parse(text).unwrap()), text);
    }
    assert_eq!(parse("2030-01-01T01:00:00.5+01:00"), Some(parse("2030-01-01T00:00:00Z").unwrap() + 500_000));
    for text in ["", "now", "2030-13-01T00:00:00Z", "2030-01-01", "2030-01-01T00:00:00"] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn durations_are_spelled_as_go_does() {
    for (us, text) in [
        (0, "0s"),
        (3_600_000_000, "1h0m0s"),
        (90_000_000, "1m30s"),
        (1_500_000, "1.5s"),
        (10_000, "10ms"),
        (-1_000_000, "-1s"),
    ] {
        assert_eq!(go_duration(us), text);
        assert_eq!(duration(text), Some(us));
    }
    assert_eq!(duration("5m"), Some(300_000_000));
    assert_eq!(duration("1h30m"), Some(5_400_000_000));
    for text in ["", "5", "m", "1x", "-"] {
        assert_eq!(duration(text), None, "{text}");
    }
}
