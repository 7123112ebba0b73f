//! Whatever a client sends, nothing panics and nothing runs away: selectors, patches, schemas and apply against
//! generated input.

use apimachinery::apply::{Writer, apply, track_update};
use apimachinery::kind::{Kind, by_kind};
use apimachinery::options::{DeleteOptions, ListOptions, Params};
use apimachinery::patch::{JsonPatch, apply_merge, apply_strategic};
use apimachinery::schema::{FieldValidation, Required, conform, validate};
use apimachinery::selector::Selector;
use apimachinery::table::{Include, TableStyle};
use apimachinery::time::{Micros, parse_go_duration};
use apimachinery::{meta, names};
use serde_json::{Map, Value, json};

/// Reproducible numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("is below a usize")
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    fn text(&mut self, words: &[&str], len_max: usize) -> String {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.pick(words)).collect()
    }

    fn value(&mut self, depth: usize) -> Value {
        let words = &[
            "name",
            "spec",
            "uid",
            "steps",
            "",
            "a",
            "é",
            "$patch",
            "delete",
            "replace",
            "2024-01-01T00:00:00Z",
        ];
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => json!(self.next().cast_signed()),
            3 => json!(1.5),
            4 => self.pick(words).into(),
            5 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let keys = &[
                    "apiVersion",
                    "kind",
                    "metadata",
                    "spec",
                    "status",
                    "labels",
                    "annotations",
                    "finalizers",
                    "ownerReferences",
                    "managedFields",
                    "fieldsV1",
                    "f:spec",
                    "steps",
                    "params",
                    "name",
                    "value",
                    "uid",
                    "conditions",
                    "type",
                    "$patch",
                    "$retainKeys",
                    "$setElementOrder/finalizers",
                    "data",
                    "containers",
                    "claims",
                    "computeResources",
                    "limits",
                    "deletionTimestamp",
                    "containerStatuses",
                    "state",
                ];
                let members: Map<String, Value> =
                    (0..self.below(6)).map(|_| (self.pick(keys).to_owned(), self.value(depth - 1))).collect();
                members.into()
            }
        }
    }
}

fn kinds() -> Vec<&'static Kind> {
    [
        ("tekton.dev", "TaskRun"),
        ("tekton.dev", "Task"),
        ("", "Pod"),
        ("", "Secret"),
        ("", "Event"),
        ("", "Namespace"),
    ]
    .iter()
    .map(|(group, kind)| by_kind(group, kind).expect("registered"))
    .collect()
}

#[test]
fn selectors_and_queries() {
    let words = &[
        "a",
        "in",
        "notin",
        " ",
        "(",
        ")",
        ",",
        "=",
        "==",
        "!",
        "!=",
        ">",
        "<",
        "5",
        "/",
        "\\",
        "metadata.name",
        "é",
        "%",
        "%4",
        "&",
        "+",
        "limit",
        "watch",
        "resourceVersion",
        "timeoutSeconds",
        "-1",
        "\u{0}",
    ];
    let mut numbers = Numbers(1);
    let object = json!({"metadata": {"name": "a", "labels": {"a": "5"}}});
    let mut accepted = 0;
    for round in 0..30_000 {
        let kind = kinds()[round % 6];
        let (labels, fields) = (numbers.text(words, 8), numbers.text(words, 8));
        if let Ok(selector) = Selector::parse(kind, &labels, &fields) {
            accepted += 1;
            selector.matches(&object);
        }
        let params = Params::parse(&fields);
        drop((ListOptions::parse(&params), DeleteOptions::parse(&params, None)));
        names::qualified_name(&labels);
        Micros::parse(&fields);
        parse_go_duration(&labels);
    }
    assert!(accepted > 100, "only {accepted} selectors were understood");
}

#[test]
fn patches() {
    let segments = &["/a", "/0", "/-", "/-1", "/x~1y", "/~", "~2", "", "/99999999999999999999", "/spec"];
    let mut numbers = Numbers(2);
    let mut applied = 0;
    for _ in 0..20_000 {
        let mut document = numbers.value(4);
        let operations: Vec<Value> = (0..numbers.below(4))
            .map(|_| {
                json!({"op": numbers.pick(&["add", "remove", "replace", "test", "move", "copy", "x"]),
                       "path": numbers.text(segments, 3), "from": numbers.text(segments, 3), "value": numbers.value(2)})
            })
            .collect();
        let patch = JsonPatch::parse(&Value::Array(operations)).expect("is a list of objects");
        applied += usize::from(patch.apply(&mut document).is_ok());
        let patch = numbers.value(4);
        drop((apply_merge(&mut document.clone(), &patch), apply_strategic(&mut document, &patch)));
    }
    assert!(applied > 1_000, "only {applied} patches could be applied");
}

#[test]
fn objects() {
    let mut numbers = Numbers(3);
    let (mut conforming, mut merged) = (0, 0);
    for round in 0..20_000 {
        let kind = kinds()[round % 6];
        let writer = Writer { manager: "m", version: "v1", subresource: "", now: Micros(0) };
        let (mut old, mut new) = (numbers.value(5), numbers.value(5));
        for object in [&mut old, &mut new] {
            if !object.is_object() {
                *object = json!({});
            }
            conforming += usize::from(conform(kind, "v1", object, &[], FieldValidation::Warn).is_ok());
            drop(validate(kind, "v1", object, meta::Part::Main, Required::Strict));
            let version = kind.version("v1").expect("served");
            let style = TableStyle {
                kind,
                version,
                meta_version: "meta.k8s.io/v1",
                include: Include::Object,
                now: Micros(0),
            };
            style.single(object, true);
        }
        drop(meta::prepare_update(kind, &mut new, &old, meta::Part::Main));
        track_update(kind, &old, &mut new, &writer);
        let config = numbers.value(4);
        merged += usize::from(apply(kind, Some(&old), &config, &writer, true).is_ok());
    }
    assert!(conforming > 1_000 && merged > 1_000, "only {conforming} conforming, {merged} merged");
}
