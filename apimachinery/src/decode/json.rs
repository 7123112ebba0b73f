//! JSON, read with an eye on keys that occur twice.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Decoded, Unreadable};

/// More duplicates than this are not told one by one.
const DUPLICATES_MAX: usize = 100;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let mut place = Place::default();
    // As in Go, what is not Unicode becomes replacement characters.
    let text = String::from_utf8_lossy(bytes);
    let text = if text.contains("\\u") { mend_surrogates(text) } else { text };
    let mut reader = serde_json::Deserializer::from_str(&text);
    let value = Seed(&mut place).deserialize(&mut reader).map_err(|e| refuse(&e))?;
    reader.end().map_err(|e| refuse(&e))?;
    Ok(Decoded { value, duplicates: place.duplicates })
}

/// Replaces escaped surrogates that are not in pairs.
fn mend_surrogates(text: Cow<'_, str>) -> Cow<'_, str> {
    let unit = |at: usize| -> Option<u16> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut lone = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                lone.push(at);
                at += 6;
            }
            Some(_) => at += 6,
            // Any other escape is of two bytes, unless it is broken.
            None if text.is_char_boundary(at + 2) => at += 2,
            None => break,
        }
        if at >= text.len() {
            break;
        }
    }
    if lone.is_empty() {
        return text;
    }
    let mut mended = text.clone().into_owned();
    for at in lone {
        mended.replace_range(at..at + 6, "\\ufffd");
    }
    Cow::Owned(mended)
}

fn refuse(error: &serde_json::Error) -> Unreadable {
    Unreadable(format!("json parse error: {error}"))
}

/// A whole number where Go would write one: `1.0` and `1e3` are integers to every client.
pub(super) fn number(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

enum Step {
    Key(String),
    Index(usize),
}

#[derive(Default)]
struct Place {
    path: Vec<Step>,
    duplicates: Vec<String>,
}

impl Place {
    fn complain(&mut self) {
        if self.duplicates.len() >= DUPLICATES_MAX {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(i) => path.push_str(&format!("[{i}]")),
            }
        }
        self.duplicates.push(format!("duplicate field \"{path}\""));
    }
}

struct Seed<'a>(&'a mut Place);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        number(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            self.0.path.push(Step::Index(out.len()));
            let next = list.next_element_seed(Seed(self.0))?;
            self.0.path.pop();
            match next {
                Some(value) => out.push(value),
                None => return Ok(out.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.path.push(Step::Key(key.clone()));
            if out.contains_key(&key) {
                self.0.complain();
            }
            let value = map.next_value_seed(Seed(self.0))?;
            self.0.path.pop();
            out.insert(key, value);
        }
        Ok(out.into())
    }
}
