use super::{Micros, go_duration, human_duration, parse_go_duration};

#[test]
fn times_go_there_and_back() {
    for text in
        ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"]
    {
        let time = Micros::parse(text).expect(text);
        assert_eq!(time.rfc3339(), text);
    }
    let offset = Micros::parse("2024-01-01T02:00:00.1234567+02:00").expect("offset");
    assert_eq!(offset.rfc3339_micros(), "2024-01-01T00:00:00.123456Z");
}

#[test]
fn what_is_no_time() {
    for text in [
        "",
        "yesterday",
        "2024-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+2:00",
        "2024-01-01T00:00:00Zx",
        "é",
    ] {
        assert_eq!(Micros::parse(text), None, "{text}");
    }
}

#[test]
fn ages() {
    let s = 1_000_000;
    for (seconds, text) in [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (3600 * 3, "3h"),
        (3600 * 7 + 60, "7h1m"),
        (3600 * 47, "47h"),
        (86_400 * 3 + 3600, "3d1h"),
        (86_400 * 400, "400d"),
        (86_400 * 365 * 3 + 86_400, "3y1d"),
        (86_400 * 365 * 9, "9y"),
    ] {
        assert_eq!(human_duration(seconds * s), text, "{seconds}");
    }
}

#[test]
fn go_durations() {
    for (ns, text) in [
        (0, "0s"),
        (3_600_000_000_000, "1h0m0s"),
        (90_000_000_000, "1m30s"),
        (1_500_000_000, "1.5s"),
        (300_000_000, "300ms"),
        (1_500, "1.5µs"),
        (-2_000_000_000, "-2s"),
        (7, "7ns"),
    ] {
        assert_eq!(go_duration(ns), text);
        assert_eq!(parse_go_duration(text), Some(ns));
    }
    assert_eq!(parse_go_duration("1h30m"), Some(5_400_000_000_000));
    assert_eq!(parse_go_duration(".5h"), Some(1_800_000_000_000));
    for bad in ["", "5", "-", "1x", "1.2.3s", ".s", "h", "99999999999h", "1h 2m", "é"] {
        assert_eq!(parse_go_duration(bad), None, "{bad}");
    }
}
