use serde_json::json;

use super::LabelSelector;

fn selected(selector: &str) -> String {
    let objects = [
        ("a", json!({"tier": "web", "n": "3"})),
        ("b", json!({"tier": "db", "n": "10"})),
        ("c", json!({"tier": "web", "canary": ""})),
        ("d", json!({})),
        ("e", json!({"example.dev/team": "x.y_z", "n": "many"})),
    ];
    let selector = LabelSelector::parse(selector).expect(selector);
    let hits =
        objects.iter().filter(|(_, labels)| selector.matches(&json!({"metadata": {"labels": labels}})));
    hits.map(|(name, _)| *name).collect()
}

#[test]
fn what_each_operator_selects() {
    for (selector, hits) in [
        ("", "abcde"),
        ("tier=web", "ac"),
        ("tier==web", "ac"),
        ("tier!=web", "bde"),
        ("tier", "abc"),
        ("!tier", "de"),
        ("tier in (web,db)", "abc"),
        ("tier notin (web, db)", "de"),
        ("n>5", "b"),
        ("n<5", "a"),
        ("n>3", "b"),
        ("canary=", "c"),
        ("tier=web,!n", "c"),
        ("tier=web, n=3", "a"),
        ("example.dev/team=x.y_z", "e"),
        (" tier = web ", "ac"),
        ("tier in ()", ""),
        ("tier in (,web)", "ac"),
        ("in in (in)", ""),
        ("n>10,n<11", ""),
    ] {
        assert_eq!(selected(selector), hits, "{selector}");
    }
}

#[test]
fn complaints_are_the_references() {
    for (selector, complaint) in [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("tier in", "unable to parse requirement: found '' expected: '('"),
        ("tier in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        (
            "n>abc",
            "unable to parse requirement: values[0]: Invalid value: \"abc\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("tier=we b", "found 'b', expected: ',' or 'end of string'"),
        ("tier in (a,b))", "found ')', expected: ',' or 'end of string'"),
        ("tier=a=b", "found '=', expected: ',' or 'end of string'"),
        ("/x=1", "unable to parse requirement: <nil>: Invalid value: \"/x\": prefix part must be non-empty"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("tier=web,", "found '', expected: identifier after ','"),
        ("tier<>3", "unable to parse requirement: found '>', expected: identifier"),
    ] {
        assert_eq!(LabelSelector::parse(selector).unwrap_err(), complaint, "{selector}");
    }
}

#[test]
fn a_pinned_label_is_known() {
    let selector = LabelSelector::parse("a=b,c in (d,e)").expect("valid");
    assert_eq!((selector.exact("a"), selector.exact("c")), (Some("b"), None));
}
