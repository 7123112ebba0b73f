//! Quantities: `500m`, `1.5Gi`, `2e3`.

const SUFFIXES: &[&str] =
    &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E"];

/// A number with an optional sign and either a suffix or an exponent.
pub(super) fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let Some(rest) = number(unsigned) else { return false };
    if SUFFIXES.contains(&rest) {
        return true;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    number(exponent) == Some("")
}

/// What follows a number such as `1`, `1.`, `1.5` or `.5`.
fn number(text: &str) -> Option<&str> {
    let whole = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let has_whole = whole.len() < text.len();
    let Some(part) = whole.strip_prefix('.') else { return has_whole.then_some(whole) };
    let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
    (has_whole || rest.len() < part.len()).then_some(rest)
}

#[cfg(test)]
mod tests;
