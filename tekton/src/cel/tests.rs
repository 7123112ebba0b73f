use super::{Program, evaluate};

#[test]
fn programs_say_what_they_say() {
    for (program, answer) in [
        ("'main' == 'main'", true),
        ("'main'.startsWith('x')", false),
        ("'a' in ['b', 'a'] && !('c' in ['d'])", true),
        ("1 + 2 * 3 == 7 ? 'x' == 'x' : false", true),
        ("size('héllo') == 5 && [1, 2].size() == 2", true),
        ("[1, 2, 3].exists(x, x > 2) && [1, 2].all(y, y < 3)", true),
        ("[1, 2].map(x, x * 2) == [2, 4] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]", true),
        ("[1, 2].filter(x, x > 1) == [2] && [1, 2].exists_one(x, x > 1)", true),
        ("{'a': 1}.a == 1 && {'a': 1}['a'] == 1 && 'a' in {'a': 1} && has({'a': 1}.a)", true),
        ("has({'a': 1}.b)", false),
        ("int('12') >= 12 && dyn(1) == 1.0 && -3 < -2 && 0x10 == 16 && 2u == uint(2)", true),
        ("true || 1/0 == 1", true),
        ("1/0 == 1 || true", true),
        ("\"it's\" == 'it\\'s' && r'\\n' != '\\n' && '''a'b''' == \"a'b\"", true),
        ("b'\\xff' == b'\\377' && size(b'é') == 2 && string(b'ab') == 'ab'", true),
        ("'inner' == 'in' + 'ner'", true),
        ("'v1.2.3'.matches('^v[0-9]+[.]') && !matches('x', 'y')", true),
        ("type(1) == int && type('a') == string && type([]) == list && type(type(1)) == type", true),
        ("timestamp('2024-02-29T12:34:56.789Z').getFullYear() == 2024", true),
        ("timestamp('2024-02-29T12:34:56Z').getMonth() == 1", true),
        ("timestamp('2024-02-29T12:34:56Z').getDayOfYear() == 59", true),
        ("timestamp('2024-02-29T12:34:56Z').getDayOfWeek() == 4", true),
        ("timestamp('2024-02-29T23:34:56Z').getHours('+01:00') == 0", true),
        ("timestamp('2024-01-01T00:00:00Z') + duration('90m') == timestamp('2024-01-01T01:30:00Z')", true),
        ("timestamp('2024-01-01T01:30:00Z') - timestamp('2024-01-01T00:00:00Z') > duration('1h')", true),
        ("duration('1h30m').getMinutes() == 90 && string(duration('1500ms')) == '1.5s'", true),
        ("string(timestamp('2024-01-01T00:00:00.5Z')) == '2024-01-01T00:00:00.5Z'", true),
        ("int(timestamp('1970-01-01T00:01:00Z')) == 60 && string(1.5) == '1.5' && double('2') == 2.0", true),
        ("bool('true') && [1, 'a', true].size() == 3 && [[1], []] != [[2]]", true),
        ("- 3 == -3 && --3 == 3 && !!true // a remark", true),
    ] {
        assert_eq!(evaluate(program), Ok(answer), "{program}");
    }
}

const OPERANDS: &str = "'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER";

#[test]
fn what_does_not_compile_says_why() {
    for (program, why) in [
        ("1 +", format!("1:4: Syntax error: mismatched input '<EOF>' expecting {{{OPERANDS}}}\n | 1 +\n | ...^")),
        ("", format!("1:1: Syntax error: mismatched input '<EOF>' expecting {{{OPERANDS}}}\n | \n | ^")),
        ("1 + 2\n3 +", "2:1: Syntax error: mismatched input '3' expecting <EOF>\n | 3 +\n | ^".into()),
        ("'a' 'b'", "1:5: Syntax error: extraneous input ''b'' expecting <EOF>\n | 'a' 'b'\n | ....^".into()),
        ("(1", "1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^".into()),
        (
            "'a' = 'b'",
            "1:5: Syntax error: token recognition error at: '= '\n | 'a' = 'b'\n | ....^\nERROR: <input>:1:7: Syntax error: extraneous input ''b'' expecting <EOF>\n | 'a' = 'b'\n | ......^".into(),
        ),
        ("main == 'main'", "1:1: undeclared reference to 'main' (in container '')\n | main == 'main'\n | ^".into()),
        ("1 == 'a'", "1:3: found no matching overload for '_==_' applied to '(int, string)'\n | 1 == 'a'\n | ..^".into()),
        (
            "'a'.startsWith(1)",
            "1:15: found no matching overload for 'startsWith' applied to 'string.(int)'\n | 'a'.startsWith(1)\n | ..............^".into(),
        ),
        ("'a' && true", "1:5: found no matching overload for '_&&_' applied to '(string, bool)'\n | 'a' && true\n | ....^".into()),
        ("!'a'", "1:1: found no matching overload for '!_' applied to '(string)'\n | !'a'\n | ^".into()),
        ("1 in [ 'a' ]", "1:3: found no matching overload for '@in' applied to '(int, list(string))'\n | 1 in [ 'a' ]\n | ..^".into()),
        ("foo(1)", "1:4: undeclared reference to 'foo' (in container '')\n | foo(1)\n | ...^".into()),
        ("'a'.b == 1", "1:4: type 'string' does not support field selection\n | 'a'.b == 1\n | ...^".into()),
        (
            "1.all(x, true)",
            "1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | 1.all(x, true)\n | ^".into(),
        ),
        ("[1].all(1, true)", "1:9: argument must be a simple name\n | [1].all(1, true)\n | ........^".into()),
        ("for == 1", "1:1: reserved identifier: for\n | for == 1\n | ^".into()),
        ("99999999999999999999 == 1", "1:1: invalid int literal\n | 99999999999999999999 == 1\n | ^".into()),
    ] {
        assert_eq!(Program::compile(program).err(), Some(format!("ERROR: <input>:{why}")), "{program}");
    }
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    for (program, why) in [
        ("1/0 == 1", "division by zero"),
        ("1 % 0 == 1", "modulus by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("[1][1] == 1", "index out of bounds: 1"),
        ("{'a': 1}.b == 1", "no such key: b"),
        ("int('a') == 1", "type conversion error from 'string' to 'int'"),
        (
            "duration('x') == duration('1s')",
            "type conversion error from 'string' to 'google.protobuf.Duration'",
        ),
        ("'a'.matches('(')", "error parsing regexp: missing closing ): `(`"),
        ("dyn('a') + 1 == 2", "no such overload"),
        ("'a'", "The CEL expression 'a' is not evaluated to a boolean"),
    ] {
        assert_eq!(evaluate(program), Err(why.to_owned()), "{program}");
    }
}

#[test]
fn no_program_is_too_much() {
    let deep = ["(", "!", "-", "[", "{", "a.", "a[", "f(", "'a' + ", "1 == 1 ? ", "true && ", "x.map(y, "];
    for part in deep {
        let _ = evaluate(&part.repeat(60_000 / part.len()));
    }
    let many = vec!["true"; 5000].join(" && ");
    assert_eq!(evaluate(&many), Ok(true), "what is only long is fine");
    let list = format!("[{}]", vec!["1"; 200].join(","));
    let nested = format!("{list}.all(a, {list}.all(b, {list}.all(c, {list}.all(d, true))))");
    assert_eq!(evaluate(&nested), Err("operation cancelled: actual cost limit exceeded".into()));
    assert!(Program::compile(&"1".repeat(100_000)).is_err());
}
