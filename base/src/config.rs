//! Settings of a server: a TOML file, then the environment (`CELLA_GATEWAY_LISTEN`), then flags (`--listen`); the last
//! one wins. All faults are found before anything is started, and reported together, each with where it stands.
//! What is not a setting is refused: a misspelt one must not be silently without effect.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use toml::{Spanned, Value};

/// A setting that a binary has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Its name, as in the file and as the flag: `sleep-after`.
    pub name: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Its value when nobody sets it; `None`: it must be set, or may be absent.
    pub default: Option<&'static str>,
}

/// Everything that is wrong with the settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => write!(f, "a setting is wrong: {one}"),
            all => {
                write!(f, "{} settings are wrong:", all.len())?;
                all.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
            }
        }
    }
}

/// A value and where it was set.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Found {
    text: String,
    place: String,
}

/// Reads settings and collects what is wrong with them.
#[derive(Debug)]
pub struct Reader {
    settings: &'static [Setting],
    found: BTreeMap<&'static str, Found>,
    faults: Vec<String>,
}

impl Reader {
    /// Settings of the binary whose variables begin with `prefix` (`CELLA_GATEWAY_`). `file` is a name and its text.
    pub fn new(
        settings: &'static [Setting],
        prefix: &str,
        file: Option<(&str, &str)>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut reader = Self { settings, found: BTreeMap::new(), faults: Vec::new() };
        for setting in settings {
            if let Some(default) = setting.default {
                reader.put(setting.name, default.to_owned(), "the default".to_owned());
            }
        }
        if let Some((name, text)) = file {
            reader.file(name, text);
        }
        for (variable, text) in environment {
            let Some(rest) = variable.strip_prefix(prefix) else { continue };
            let place = format!("the variable {variable}");
            reader.put(&rest.to_ascii_lowercase().replace('_', "-"), text, place);
        }
        for (flag, text) in flags {
            reader.put(&flag, text, format!("the flag --{flag}"));
        }
        reader
    }

    fn file(&mut self, name: &str, text: &str) {
        let table: BTreeMap<Spanned<String>, Spanned<Value>> = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                self.faults.push(format!("{name}, line {line}: {}", error.message()));
                return;
            }
        };
        for (key, value) in table {
            let place = format!("{name}, line {}", line_of(text, key.span().start));
            match plain(value.get_ref()) {
                Some(plain) => self.put(key.get_ref(), plain, place),
                None => self.faults.push(format!(
                    "{place}: {} must be a text, a number, true, false, or a list of texts",
                    key.get_ref()
                )),
            }
        }
    }

    fn put(&mut self, name: &str, text: String, place: String) {
        match self.settings.iter().find(|setting| setting.name == name) {
            Some(setting) => drop(self.found.insert(setting.name, Found { text, place })),
            None => {
                let all: Vec<_> = self.settings.iter().map(|setting| setting.name).collect();
                self.faults.push(format!("{place}: {name:?} is no setting; there are {}", all.join(", ")));
            }
        }
    }

    /// A setting that may be absent or empty.
    pub fn optional<T>(&mut self, name: &'static str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let found = self.found.get(name).filter(|found| !found.text.is_empty())?.clone();
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.faults.push(format!("{}: {name} is {:?}, {why}", found.place, found.text));
                None
            }
        }
    }

    /// A setting that must be there.
    pub fn required<T>(&mut self, name: &'static str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        if self.found.get(name).is_none_or(|found| found.text.is_empty()) {
            self.faults.push(format!("{name} is not set"));
            return None;
        }
        self.optional(name, parse)
    }

    /// Something is wrong with the settings as a whole.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// `value`, if nothing was wrong.
    ///
    /// # Errors
    /// All [`Faults`].
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Faults> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(Faults(self.faults)),
        }
    }

    /// All settings as they are, as a file, each with where it was set. Secrets are no settings: they are in files
    /// that settings name.
    pub fn print(&self) -> String {
        let line = |setting: &Setting| match self.found.get(setting.name) {
            Some(found) => {
                format!("# {}: {}\n{} = {:?}\n", setting.help, found.place, setting.name, found.text)
            }
            None => format!("# {}\n# {} =\n", setting.help, setting.name),
        };
        self.settings.iter().map(line).collect()
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// Any text.
///
/// # Errors
/// Never.
pub fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A path.
///
/// # Errors
/// Never.
pub fn path(text: &str) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text))
}

/// `true` or `false`.
///
/// # Errors
/// When it is neither.
pub fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "which is neither true nor false".to_owned())
}

/// A whole number.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "which is no whole number".to_owned())
}

/// A time with its unit: `500ms`, `10s`, `5m`, `2h`.
///
/// # Errors
/// When number or unit is missing.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "which is no time with a unit, for example 500ms, 10s, 5m or 2h".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// A number of bytes with its unit: `64MiB`.
///
/// # Errors
/// When number or unit is missing.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || "which is no size with a unit, for example 512KiB, 64MiB or 2GiB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests;
