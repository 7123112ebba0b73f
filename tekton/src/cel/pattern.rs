//! Regular expressions, and numbers as Go prints them.

/// Compiled patterns are at most this large, bytes: a tenant writes them.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Whether `text` holds something that `pattern` describes.
pub fn matches(text: &str, pattern: &str) -> Result<bool, String> {
    let regex = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    regex.map(|regex| regex.is_match(text)).map_err(|error| fault(pattern, &error))
}

/// Why a pattern is none, in the words of Go's library where it is one of the usual faults.
fn fault(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let told = |what: &str| text.contains(what);
    let what = if told("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if told("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if told("unclosed character class") {
        format!("missing closing ]: `{}`", &pattern[pattern.find('[').unwrap_or(0)..])
    } else if told("repetition operator missing expression") {
        let at = pattern.find(['*', '+', '?']).unwrap_or(0);
        format!("missing argument to repetition operator: `{}`", pattern.get(at..=at).unwrap_or(""))
    } else if told("unrecognized escape sequence") {
        let at = pattern.find('\\').unwrap_or(0);
        format!("invalid escape sequence: `{}`", pattern[at..].chars().take(2).collect::<String>())
    } else if told("look-around") {
        format!("invalid or unsupported Perl syntax: `{}`", pattern.get(..3).unwrap_or(pattern))
    } else {
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    format!("error parsing regexp: {what}")
}

/// A double in the fewest digits that tell it, with an exponent where it is very large or small.
pub fn shortest(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
