use super::*;

#[test]
fn faults_are_told_in_the_words_of_go() {
    for (text, expected) in [
        ("not json", "invalid character 'o' in literal null (expecting 'u')"),
        ("bad", "invalid character 'b' looking for beginning of value"),
        ("[", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("[1]x", "invalid character 'x' after top-level value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{1}", "invalid character '1' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("\"a\nb\"", "invalid character '\\n' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        ("\"\\u12g\"", "invalid character 'g' in \\u hexadecimal character escape"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("'a'", "invalid character '\\'' looking for beginning of value"),
    ] {
        assert_eq!(fault(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_is_json_has_no_fault() {
    for text in ["null", " [ ] ", "{\"a\":[1,-2.5e+3,true,\"\\u00e9\\n\"]}", "\"é\"", "0"] {
        assert_eq!(fault(text), None, "{text}");
    }
}
