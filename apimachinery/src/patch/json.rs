//! JSON patch (RFC 6902), as the reference understands it: `replace` of a missing object member works like `add`
//! (clients cancel runs that way), a missing member equals null in `test`, `copy` from nowhere copies null.

use serde_json::Value;

use crate::meta::json_type;
use crate::status::Status;

/// More operations than this are refused.
pub const OPERATIONS_MAX: usize = 10_000;
/// Copies may not blow a document up beyond this many values in total.
const COPIED_VALUES_MAX: usize = 1_000_000;

/// A parsed JSON patch.
#[derive(Clone, PartialEq, Debug)]
pub struct JsonPatch {
    operations: Vec<Operation>,
}

#[derive(Clone, PartialEq, Debug)]
struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

/// An operation cannot be applied. Which one it was is not told: the reference doesn't.
struct Failed;

impl JsonPatch {
    /// Reads a decoded patch body.
    ///
    /// # Errors
    /// 400 when it is no list of operations, 413 when there are too many.
    pub fn parse(body: &Value) -> Result<Self, Status> {
        let refuse = |found: &Value, wanted: &str| {
            let found = json_type(found);
            Status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
            ))
        };
        let list = match body {
            Value::Null => &[],
            Value::Array(list) => list.as_slice(),
            other => return Err(refuse(other, "[]handlers.jsonPatchOp")),
        };
        if list.len() > OPERATIONS_MAX {
            return Err(Status::too_large(&format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                list.len()
            )));
        }
        let mut operations = Vec::with_capacity(list.len());
        for item in list {
            let Some(item) = item.as_object() else { return Err(refuse(item, "handlers.jsonPatchOp")) };
            let text = |key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
            operations.push(Operation {
                op: text("op").unwrap_or_default(),
                path: text("path"),
                from: text("from"),
                value: item.get("value").cloned().unwrap_or(Value::Null),
            });
        }
        Ok(Self { operations })
    }

    /// Applies every operation, in order; on failure `document` is half patched and must be thrown away.
    ///
    /// # Errors
    /// 422 when an operation cannot be applied.
    pub fn apply(&self, document: &mut Value) -> Result<(), Status> {
        let mut copied = 0;
        for operation in &self.operations {
            operation.apply(document, &mut copied).map_err(|Failed| Status::patch_failed())?;
        }
        Ok(())
    }
}

impl Operation {
    fn apply(&self, document: &mut Value, copied: &mut usize) -> Result<(), Failed> {
        let path = segments(self.path.as_deref().ok_or(Failed)?);
        match self.op.as_str() {
            "add" => add(document, &path, self.value.clone()),
            "remove" => remove(document, &path).map(|_| ()),
            "replace" => replace(document, &path, self.value.clone()),
            "test" => test(document, &path, &self.value),
            "move" => {
                let value = remove(document, &segments(self.from.as_deref().ok_or(Failed)?))?;
                add(document, &path, value)
            }
            "copy" => {
                let value = find(document, &segments(self.from.as_deref().ok_or(Failed)?))?;
                let value = value.cloned().unwrap_or(Value::Null);
                *copied += count(&value);
                if *copied > COPIED_VALUES_MAX {
                    return Err(Failed);
                }
                add(document, &path, value)
            }
            _ => Err(Failed),
        }
    }
}

/// The decoded parts of a pointer; whatever stands before the first slash is ignored.
fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).collect()
}

/// The container that the last segment is in.
fn container<'a>(document: &'a mut Value, path: &[String]) -> Result<&'a mut Value, Failed> {
    path.iter().try_fold(document, |at, segment| match at {
        Value::Object(map) => map.get_mut(segment).ok_or(Failed),
        Value::Array(list) => {
            let i = index(segment, list.len()).ok_or(Failed)?;
            list.get_mut(i).ok_or(Failed)
        }
        _ => Err(Failed),
    })
}

/// The value at `path`; [`None`] when only the last member is missing.
fn find<'a>(document: &'a mut Value, path: &[String]) -> Result<Option<&'a Value>, Failed> {
    let Some((last, parents)) = path.split_last() else { return Ok(Some(document)) };
    match container(document, parents)? {
        Value::Object(map) => Ok(map.get(last)),
        Value::Array(list) => {
            let i = index(last, list.len()).ok_or(Failed)?;
            list.get(i).map(Some).ok_or(Failed)
        }
        _ => Err(Failed),
    }
}

/// An array index; negative ones count from the end.
fn index(segment: &str, len: usize) -> Option<usize> {
    let number: i64 = segment.parse().ok()?;
    if number < 0 { len.checked_sub(usize::try_from(-number).ok()?) } else { usize::try_from(number).ok() }
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), Failed> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match container(document, parents)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(list) if last == "-" => {
            list.push(value);
            Ok(())
        }
        Value::Array(list) => {
            let i = index(last, list.len() + 1).filter(|i| *i <= list.len()).ok_or(Failed)?;
            list.insert(i, value);
            Ok(())
        }
        _ => Err(Failed),
    }
}

fn remove(document: &mut Value, path: &[String]) -> Result<Value, Failed> {
    let (last, parents) = path.split_last().ok_or(Failed)?;
    match container(document, parents)? {
        Value::Object(map) => map.remove(last).ok_or(Failed),
        Value::Array(list) => {
            let i = index(last, list.len()).filter(|i| *i < list.len()).ok_or(Failed)?;
            Ok(list.remove(i))
        }
        _ => Err(Failed),
    }
}

fn replace(document: &mut Value, path: &[String], value: Value) -> Result<(), Failed> {
    let Some((last, parents)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match container(document, parents)? {
        Value::Object(map) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(list) => {
            let i = index(last, list.len()).ok_or(Failed)?;
            *list.get_mut(i).ok_or(Failed)? = value;
            Ok(())
        }
        _ => Err(Failed),
    }
}

fn test(document: &mut Value, path: &[String], value: &Value) -> Result<(), Failed> {
    let found = find(document, path)?;
    if same(found.unwrap_or(&Value::Null), value) { Ok(()) } else { Err(Failed) }
}

/// Equal as JSON: `1` is `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| same(v, w)))
        }
        _ => a == b,
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}
