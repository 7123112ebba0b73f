use super::evaluate;

#[test]
fn programs_say_what_they_say() {
    for (program, answer) in [
        ("'main' == 'main'", true),
        ("'main'.startsWith('x')", false),
        ("'a' in ['b', 'a'] && !('c' in ['d'])", true),
        ("1 + 2 * 3 == 7 ? 'x' == 'x' : false", true),
        ("size('héllo') == 5 && size([1, 2]) == 2", true),
        ("[1, 2, 3].exists(x, x > 2) && [1, 2].all(y, y < 3)", true),
        ("[1, 2].map(x, x * 2) == [2, 4]", true),
        ("{'a': 1}.a == 1 && {'a': 1}['a'] == 1 && 'a' in {'a': 1}", true),
        ("int('12') >= 12 && 1 == 1.0 && -3 < -2", true),
        ("true || 1/0 == 1", true),
        ("\"it's\" == 'it\\'s' && r'\\n' != '\\n'", true),
        ("'inner' == 'in' + 'ner'", true),
    ] {
        assert_eq!(evaluate(program), Ok(answer), "{program}");
    }
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    for (program, why) in [
        ("1/0 == 1", "division by zero"),
        ("1 % 0 == 1", "modulus by zero"),
        ("'a'.matches('b')", "the CEL function matches is not supported yet"),
        ("'a'", "The CEL expression 'a' is not evaluated to a boolean"),
        (
            "main == 'main'",
            "ERROR: <input>:1:1: undeclared reference to 'main' (in container '')\n | main == 'main'\n | ^",
        ),
    ] {
        assert_eq!(evaluate(program), Err(why.to_owned()), "{program}");
    }
    for program in ["", "'a", "1 +", "(1", "[1", "a.", "'a' 'b'", &"(".repeat(5000), &"!".repeat(5000)] {
        assert!(evaluate(program).is_err(), "{program}");
    }
}
