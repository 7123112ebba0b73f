use serde_json::{Value, json};

use super::{Encoding, json, object, patch, yaml};
use crate::kind::by_kind;

fn yaml_value(text: &str) -> Value {
    yaml(text.as_bytes()).expect(text).value
}

#[test]
fn keys_that_occur_twice_are_named_and_the_last_wins() {
    let body = br#"{"spec":{"description":"one","description":"two","steps":[{"name":"a","image":"b","image":"c"}]}}"#;
    let decoded = json(body).expect("valid");
    assert_eq!(
        decoded.duplicates,
        ["duplicate field \"spec.description\"", "duplicate field \"spec.steps[0].image\""]
    );
    assert_eq!(
        decoded.value,
        json!({"spec": {"description": "two", "steps": [{"name": "a", "image": "c"}]}})
    );
}

#[test]
fn numbers_are_what_go_would_write() {
    let text = br#"{"a":9007199254740993,"b":-9223372036854775808,"c":1.5,"d":1000.0,"e":1e-7,"f":-0.0,"g":18446744073709551615,"h":1e300}"#;
    assert_eq!(
        json(text).expect("valid").value.to_string(),
        r#"{"a":9007199254740993,"b":-9223372036854775808,"c":1.5,"d":1000,"e":1e-7,"f":0,"g":18446744073709551615,"h":1e+300}"#
    );
}

#[test]
fn bad_json() {
    for bad in ["", "{bad", "{}x", "[1,]", "{\"a\":1e999}", "\u{0}", "\"\\ud8\"", "\"\\", "nul"] {
        assert!(json(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(json(&[0xff, 0xfe]).is_err());
    assert_eq!(json(b"{\"a\":\"\xff\"}").expect("lenient").value, json!({"a": "\u{fffd}"}));
    let surrogates = br#"["\ud800", "\udc00\ud83d\ude00", "\\ud800", "\ud800\u0041"]"#;
    assert_eq!(
        json(surrogates).expect("lenient").value,
        json!(["\u{fffd}", "\u{fffd}\u{1f600}", "\\ud800", "\u{fffd}A"])
    );
    let deep = "[".repeat(100_000);
    assert!(json(deep.as_bytes()).is_err());
    assert!(yaml(deep.as_bytes()).is_err());
}

#[test]
fn yaml_speaks_the_dialect_of_kubernetes() {
    for (text, value) in [
        ("a: yes\nb: \"yes\"\nc: 'no'\nd: off", json!({"a": true, "b": "yes", "c": "no", "d": false})),
        ("n: 5", json!({"false": 5})),
        ("1: a\n2.5: b", json!({"1": "a", "2.5": "b"})),
        ("a: 010\nb: 0x1F\nc: 1_000\nd: 0b11", json!({"a": 8, "b": 31, "c": 1000, "d": 3})),
        (
            "a: 1.0\nb: 1e3\nc: -1.5\nd: 1.2.3\ne: 2001-01-01",
            json!({"a": 1, "b": 1000, "c": -1.5, "d": "1.2.3", "e": "2001-01-01"}),
        ),
        ("a: ~\nb:\nc: null", json!({"a": null, "b": null, "c": null})),
        ("a: |\n  x\n  y\nb: >-\n  x\n  y", json!({"a": "x\ny\n", "b": "x y"})),
        (
            "a: &x {k: 1}\nb: *x\nc: {<<: *x, l: 2}",
            json!({"a": {"k": 1}, "b": {"k": 1}, "c": {"k": 1, "l": 2}}),
        ),
        ("---\na: 1\n---\n", json!({"a": 1})),
        ("{\"a\": [1, \"b\"]}", json!({"a": [1, "b"]})),
        ("a: !!str 5", json!({"a": "5"})),
        ("", json!(null)),
    ] {
        assert_eq!(yaml_value(text), value, "{text}");
    }
}

#[test]
fn yaml_names_the_line_of_a_duplicate() {
    let decoded = yaml(b"a: 1\nb:\n  n: 5\n  n: 6\na: 2\n").expect("valid");
    assert_eq!(decoded.value, json!({"a": 2, "b": {"false": 6}}));
    assert_eq!(
        decoded.duplicates,
        ["line 4: key false already set in map", "line 5: key \"a\" already set in map"]
    );
}

#[test]
fn bad_yaml() {
    for bad in ["a: b: c", "a: [", "{", "a: 1\n---\nb: 2", "a: .inf", "? [a]\n: b", "a: *nowhere"] {
        assert!(yaml(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for i in 1..30 {
        bomb.push_str(&format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1));
    }
    assert!(yaml(bomb.as_bytes()).is_err());
}

#[test]
fn media_types_of_bodies() {
    assert_eq!(Encoding::of(None).ok(), Some(Encoding::Json));
    assert_eq!(Encoding::of(Some("APPLICATION/JSON")).ok(), Some(Encoding::Json));
    assert_eq!(Encoding::of(Some("application/yaml; charset=utf-8")).ok(), Some(Encoding::Yaml));
    for bad in ["text/plain", "application/cbor", "garbage"] {
        assert_eq!(Encoding::of(Some(bad)).unwrap_err().code, 415, "{bad}");
    }
}

#[test]
fn refusals_say_what_was_expected() {
    let kind = by_kind("tekton.dev", "Task").expect("registered");
    let status = object(kind, None, b"{bad").unwrap_err();
    assert_eq!(status.code, 400);
    assert!(
        status.message.starts_with("the object provided is unrecognized (must be of type Task): "),
        "{}",
        status.message
    );
    assert!(patch(b"{bad", false).unwrap_err().message.starts_with("error decoding patch: "));
    assert_eq!(patch(b"a: 1", true).expect("valid").value, json!({"a": 1}));
}

/// A small generator of reproducible numbers.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn arbitrary_bodies_never_panic() {
    let words: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "a",
        "1",
        "-",
        "\n",
        "  ",
        "&x",
        "*x",
        "<<",
        "|",
        ">",
        "'",
        "\"",
        "!!str",
        "\\u00",
        "1e9",
        "---",
        "...",
        "? ",
        "null",
        "#",
        "\t",
        "é",
        "%YAML 1.2",
        "0x",
        "\u{0}",
    ];
    let mut numbers = Numbers(7);
    for _ in 0..20_000 {
        let len = numbers.next() % 24;
        let text: String = (0..len).map(|_| words[(numbers.next() % words.len() as u64) as usize]).collect();
        let outcome = (json(text.as_bytes()).is_ok(), yaml(text.as_bytes()).is_ok());
        // Everything that is JSON here is YAML too, except what YAML forbids inside: tabs and control characters.
        assert!(!outcome.0 || outcome.1 || text.contains(['\t', '\u{0}', '%', '&']), "{text:?}");
    }
}
