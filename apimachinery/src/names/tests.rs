use super::{NameRule, generate, label_value, qualified_name};

#[test]
fn subdomains() {
    for good in ["a", "a-b", "a.b", "0", &"x".repeat(253)] {
        assert!(NameRule::Subdomain.check(good, false).is_empty(), "{good}");
    }
    for bad in ["", "Upper", "under_score", "-lead", "trail-", "a b", "a/b", "a..b", ".", "é"] {
        let found = NameRule::Subdomain.check(bad, false);
        assert_eq!(found.len(), 1, "{bad}");
        assert!(found[0].starts_with("a lowercase RFC 1123 subdomain"), "{bad}");
    }
    assert_eq!(NameRule::Subdomain.check(&"x".repeat(254), false), ["must be no more than 253 characters"]);
}

#[test]
fn a_prefix_may_end_in_a_dash() {
    assert!(NameRule::Subdomain.check("gen-", true).is_empty());
    assert!(!NameRule::Subdomain.check("Bad_", true).is_empty());
}

#[test]
fn namespaces_are_labels() {
    assert!(NameRule::Label.check("my-ns", false).is_empty());
    assert!(NameRule::Label.check("my.ns", false)[0].starts_with("a lowercase RFC 1123 label"));
}

#[test]
fn label_keys_and_values() {
    for good in ["a", "example.dev/Some_Key.x", "A.b_c-1"] {
        assert!(qualified_name(good).is_empty(), "{good}");
    }
    assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
    assert_eq!(qualified_name("")[0], "name part must be non-empty");
    assert!(qualified_name("a/b/c")[0].starts_with("a valid label key must consist of"));
    assert!(qualified_name("UPPER.dev/x")[0].starts_with("prefix part a lowercase RFC 1123"));
    assert!(label_value("").is_empty() && label_value("Val_1.2-x").is_empty());
    assert_eq!(label_value(&"v".repeat(64)), ["must be no more than 63 bytes"]);
    assert!(label_value("bad value!")[0].starts_with("a valid label must be"));
}

#[test]
fn generated_names_use_the_safe_alphabet_and_fit() {
    assert_eq!(generate("gen-", [0, 1, 26, 27, 255]), "gen-bc9bq");
    let long = generate(&"a".repeat(60), [0; 5]);
    assert_eq!(long.len(), 63);
    assert_eq!(generate(&"é".repeat(60), [0; 5]).len(), 63);
}
