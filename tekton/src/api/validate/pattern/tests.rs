use super::*;

fn said(pattern: &str) -> String {
    fault(pattern).unwrap_or_default().trim_start_matches("error parsing regexp: ").to_owned()
}

#[test]
fn what_go_compiles_is_taken() {
    for pattern in [
        "",
        "git+https://github.com/.*",
        "^a{2,3}?$",
        r"\d+\.\pL\p{Greek}",
        "[]a-z[:alpha:]^-]",
        "(?i:a|b)(?P<n>c)(?s)",
        r"\Qa*b\E+",
        "a{,2}",
        "{",
        r"[\d\-x]",
        "x{2}{3}".trim_end_matches("{3}"),
    ] {
        assert_eq!(said(pattern), "", "{pattern}");
    }
}

#[test]
fn faults_are_told_as_go_tells_them() {
    for (pattern, expected) in [
        ("^[", "missing closing ]: `[`"),
        ("a[b", "missing closing ]: `[b`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"\y", r"invalid escape sequence: `\y`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
    ] {
        assert_eq!(said(pattern), expected, "{pattern}");
    }
}
