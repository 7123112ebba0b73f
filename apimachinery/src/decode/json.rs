//! JSON, read with an eye on keys that occur twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Decoded, Unreadable};

/// More duplicates than this are not told one by one.
const DUPLICATES_MAX: usize = 100;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Unreadable> {
    let mut place = Place::default();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut place).deserialize(&mut reader).map_err(|e| refuse(&e))?;
    reader.end().map_err(|e| refuse(&e))?;
    Ok(Decoded { value, duplicates: place.duplicates })
}

fn refuse(error: &serde_json::Error) -> Unreadable {
    Unreadable(format!("json parse error: {error}"))
}

/// A whole number where Go would write one: `1.0` and `1e3` are integers to every client.
pub(super) fn number(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        // The cast is exact in this range.
        #[allow(clippy::cast_possible_truncation)]
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
