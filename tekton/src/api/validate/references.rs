//! Which names the `$(prefix.name)` references in a text mention.

use std::collections::BTreeSet;

use apimachinery::field_error::quote;

use crate::api::fault::Faults;

/// One `$(...)` that begins with the prefix.
struct Found<'a> {
    whole: &'a str,
    /// What stands between the prefix and the end.
    name: &'a str,
    dotted: bool,
}

/// References below `prefix`: `$(prefix.NAME)`, `$(prefix["NAME"])`, `$(prefix['NAME'])`.
fn find<'a>(value: &'a str, prefix: &str) -> Vec<Found<'a>> {
    let mut out = Vec::new();
    // Most texts refer to nothing, and each is looked at for many prefixes.
    if !value.contains("$(") {
        return out;
    }
    let start = format!("$({prefix}");
    let mut from = 0;
    while let Some(at) = value[from..].find(&start).map(|at| from + at) {
        let rest = &value[at + start.len()..];
        let forms = [(".", ")", true), ("[\"", "\"])", false), ("['", "'])", false)];
        let found = forms.iter().find_map(|(open, close, dotted)| {
            let inner = rest.strip_prefix(open)?;
            let end = inner.find(close)?;
            let name = &inner[..end];
            let length = start.len() + open.len() + end + close.len();
            (!name.contains('\n')).then(|| Found { whole: &value[at..at + length], name, dotted: *dotted })
        });
        from = at + found.as_ref().map_or(start.len(), |f| f.whole.len());
        out.extend(found);
    }
    out
}

/// The names without their keys: `object` of `object.key`.
fn variables<'a>(value: &'a str, prefix: &str) -> Result<Vec<&'a str>, Faults> {
    let mut out = Vec::new();
    for found in find(value, prefix) {
        if found.dotted && found.name.split('.').count() > 2 {
            let prefix = prefix.replace('.', "\\.");
            return Err(Faults::at(
                format!(
                    "Invalid referencing of parameters in {}! Only two dot-separated components after the prefix {} are allowed.",
                    quote(value),
                    quote(&prefix)
                ),
                &[""],
            ));
        }
        out.push(if found.dotted { found.name.split('.').next().unwrap_or("") } else { found.name });
    }
    Ok(out)
}

/// `name` without `[2]`, `[*]` or `[]`.
pub(super) fn without_index(name: &str) -> String {
    let mut out = name.to_owned();
    while let Some(open) = out.find('[') {
        let Some(close) = out[open..].find(']').map(|c| open + c) else { break };
        let inner = &out[open + 1..close];
        let digits = inner.strip_suffix('*').unwrap_or(inner);
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            break;
        }
        out.replace_range(open..=close, "");
    }
    out
}

fn plain(name: &str) -> &str {
    name.strip_suffix("[*]").unwrap_or(name)
}

fn fault(message: &str, value: &str) -> Faults {
    Faults::at(format!("{message} in {}", quote(value)), &[""])
}

type Names = BTreeSet<String>;

/// Every name must be one of `known`.
pub(super) fn known(value: &str, prefix: &str, known: &Names) -> Faults {
    match variables(value, prefix) {
        Err(faults) => faults,
        Ok(names) if names.iter().all(|n| known.contains(&without_index(n))) => Faults::none(),
        Ok(_) => fault("non-existent variable", value),
    }
}

/// As [`known`], and says which name it is.
pub(super) fn known_by_name(value: &str, prefix: &str, known: &Names) -> Faults {
    match variables(value, prefix) {
        Err(faults) => faults,
        Ok(names) => match names.iter().map(|n| without_index(n)).find(|n| !known.contains(n)) {
            Some(name) => fault(&format!("non-existent variable `{name}`"), value),
            None => Faults::none(),
        },
    }
}

/// No name may be one of `prohibited`.
pub(super) fn prohibited(value: &str, prefix: &str, prohibited: &Names) -> Faults {
    match variables(value, prefix) {
        Err(faults) => faults,
        Ok(names) if !names.iter().any(|n| prohibited.contains(plain(n))) => Faults::none(),
        Ok(_) => fault("variable type invalid", value),
    }
}

/// None of `prohibited` may be referred to as a whole; their keys may.
pub(super) fn whole_prohibited(value: &str, prefix: &str, prohibited: &Names) -> Faults {
    if find(value, prefix).iter().any(|f| prohibited.contains(plain(f.name))) {
        return fault("variable type invalid", value);
    }
    Faults::none()
}

/// A reference to one of `names` must be all that the text is.
pub(super) fn isolated(value: &str, prefix: &str, names: &Names) -> Faults {
    match variables(value, prefix) {
        Err(faults) => faults,
        Ok(found) => {
            let first = find(value, prefix).first().map_or(0, |f| f.whole.len());
            if found.iter().any(|n| names.contains(plain(n))) && first != value.len() {
                return fault("variable is not properly isolated", value);
            }
            Faults::none()
        }
    }
}

/// Whether a text is one reference to a whole array or object, and nothing else.
pub(super) fn is_whole(value: &str, prefix: &str) -> bool {
    let found = find(value, prefix);
    let Some(first) = found.first().filter(|f| f.whole.len() == value.len()) else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    first.name.strip_suffix("[*]").is_some_and(|n| !n.is_empty() && n.bytes().all(plain))
}

/// Whether a text is one reference and nothing else.
pub(super) fn is_single(value: &str, prefix: &str) -> bool {
    let found = find(value, prefix);
    found.len() == 1 && found[0].whole.len() == value.len()
}

/// Whether a text refers to anything below `prefix`.
pub(super) fn mentions(value: &str, prefix: &str) -> bool {
    !find(value, prefix).is_empty()
}

/// What stands inside each `$(...)` of a text that can be replaced.
pub(super) fn expressions(value: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find("$(") {
        rest = &rest[at + 2..];
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
        let name = rest.bytes().take_while(plain).count();
        let index = rest[name..].strip_prefix('[').and_then(|r| r.find(']')).map_or(0, |close| {
            let inner = &rest[name + 1..name + 1 + close];
            let number = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit());
            if inner == "*" || number { close + 2 } else { 0 }
        });
        if name > 0 && rest[name + index..].starts_with(')') {
            out.push(&rest[..name + index]);
        }
    }
    out
}

/// The task and the result that an expression names.
pub(super) struct ResultReference<'a> {
    pub task: &'a str,
    pub result: String,
}

/// Whether an expression begins like a reference to a task's result.
pub(super) fn looks_like_result(expression: &str) -> bool {
    let parts: Vec<_> = expression.split('.').collect();
    parts.len() >= 4 && matches!(parts[0], "tasks" | "finally") && parts[2] == "results"
}

/// Reads `tasks.T.results.R` with an index or one key.
pub(super) fn result(expression: &str) -> Option<ResultReference<'_>> {
    let parts: Vec<_> = expression.split('.').collect();
    if !looks_like_result(expression) || parts.len() > 5 {
        return None;
    }
    Some(ResultReference { task: parts[1], result: without_index(parts[3]) })
}
