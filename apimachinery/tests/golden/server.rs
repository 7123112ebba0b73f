//! Just enough of a server: objects in a map, and the order in which the crate's functions are called.

use std::collections::BTreeMap;

use apimachinery::accept::{Shape, negotiate};
use apimachinery::decode;
use apimachinery::kind::{Kind, all};
use apimachinery::meta::{self, Part};
use apimachinery::options::{DeleteOptions, ListOptions, Params};
use apimachinery::schema::Required;
use apimachinery::status::Status;
use apimachinery::table::{Include, TableStyle, partial};
use apimachinery::time::Micros;
use apimachinery::write::{self, Admission, Effect, Prepared};
use serde_json::Value;

/// What the server says.
pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

type Key = (String, String, String);

/// The server: time passes with every request.
pub struct Server {
    objects: BTreeMap<Key, Value>,
    revision: u64,
    now: Micros,
}

impl Default for Server {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), revision: 100, now: Micros(1_750_000_000_000_000) }
    }
}

/// A request to one object.
struct Request<'a> {
    kind: &'static Kind,
    version: &'static str,
    namespace: &'a str,
    name: &'a str,
    subresource: &'a str,
    params: Params,
    content_type: Option<&'a str>,
    user_agent: &'a str,
    body: Vec<u8>,
}

impl Request<'_> {
    fn key(&self, name: &str) -> Key {
        (self.kind.id(), self.namespace.to_owned(), name.to_owned())
    }

    fn not_found(&self) -> Status {
        Status::not_found(self.kind.group, self.kind.plural, self.name)
    }
}

type Done = Result<(u16, Value, Vec<String>), Status>;

impl Server {
    pub fn sleep(&mut self, ms: u64) {
        self.now.0 += i64::try_from(ms).unwrap_or(0) * 1000;
    }

    /// Answers a recorded request; [`None`] when it is about something else than one object.
    pub fn answer(&mut self, request: &Value) -> Option<Answer> {
        self.now.0 += 3_000;
        let text = |value: &'_ Value| value.as_str().unwrap_or("").to_owned();
        let (path, query) =
            request["path"].as_str()?.split_once('?').unwrap_or((request["path"].as_str()?, ""));
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let ["apis", group, version, "namespaces", namespace, plural, rest @ ..] = parts.as_slice() else {
            return None;
        };
        let kind = all().find(|k| k.group == *group && k.plural == *plural)?;
        let version = kind.versions.iter().find(|v| v.name == *version)?;
        let method = request["method"].as_str()?;
        let (name, subresource) = match rest {
            [] | [""] if method == "POST" => ("", ""),
            [""] => return None,
            [name] => (*name, ""),
            [name, subresource] => (*name, *subresource),
            _ => return None,
        };
        let headers = &request["headers"];
        let accept = headers["Accept"].as_str();
        let body = match (request.get("body"), request["body_text"].as_str()) {
            (Some(body), _) => body.to_string().into_bytes(),
            (None, Some(text)) => text.as_bytes().to_vec(),
            (None, None) => unhex(request["body_hex"].as_str().unwrap_or("")),
        };
        let user_agent = text(&headers["User-Agent"]);
        let user_agent =
            if user_agent.is_empty() { "golden-client/1.0 (test)".to_owned() } else { user_agent };
        let request = Request {
            kind,
            version: version.name,
            namespace,
            name,
            subresource,
            params: Params::parse(query),
            content_type: headers["Content-Type"].as_str(),
            user_agent: &user_agent,
            body,
        };
        let outcome = negotiate(accept).and_then(|accepted| {
            if accepted.yaml {
                return Ok(None);
            }
            let Some(done) = self.dispatch(method, &request) else { return Ok(None) };
            let (code, body, warnings) = done?;
            Ok(Some((code, self.shaped(&request, accepted.shape, accepted.meta_version, body)?, warnings)))
        });
        match outcome {
            Ok(None) => None,
            Ok(Some((code, body, warnings))) => Some(Answer { code, body, warnings }),
            Err(status) => Some(Answer { code: status.code, body: status.to_value(), warnings: Vec::new() }),
        }
    }

    fn dispatch(&mut self, method: &str, request: &Request<'_>) -> Option<Done> {
        let verb = match method {
            "POST" => "create",
            "DELETE" => "delete",
            "PUT" => "update",
            "PATCH" => "patch",
            "GET" => "get",
            _ => return None,
        };
        if !matches!(request.subresource, "" | "status")
            || (request.subresource == "status" && !request.kind.has_status())
        {
            return Some(Err(request.not_found()));
        }
        if request.subresource == "status" && matches!(verb, "create" | "delete") {
            return Some(Err(Status::method_not_supported(request.kind.group, request.kind.plural, verb)));
        }
        Some(match verb {
            "create" if !request.name.is_empty() => return None,
            "update" if request.name.is_empty() => Err(Status::bad_request("name must be provided")),
            "create" | "update" | "patch" => self.write(request, verb),
            "delete" => self.delete(request),
            "get" => self.get(request),
            _ => return None,
        })
    }

    fn shaped(
        &self,
        request: &Request<'_>,
        shape: Shape,
        meta_version: &'static str,
        body: Value,
    ) -> Result<Value, Status> {
        if body["kind"] == "Status" {
            return Ok(body);
        }
        let include = Include::parse(request.params.get("includeObject").unwrap_or(""));
        let version =
            request.kind.versions.iter().find(|v| v.name == request.version).expect("was found by it");
        Ok(match shape {
            Shape::Full => body,
            Shape::Table => {
                let style = TableStyle {
                    kind: request.kind,
                    version,
                    meta_version,
                    include: include?,
                    now: self.now,
                };
                style.single(&body, true)
            }
            Shape::Partial => partial(&body, meta_version),
            Shape::PartialList => return Err(Status::bad_request("content is not a list")),
        })
    }

    fn get(&self, request: &Request<'_>) -> Done {
        match ListOptions::parse(&request.params)?.resource_version {
            Some(asked) if asked > self.revision => {
                return Err(Status::too_large_version(&asked.to_string(), &self.revision.to_string()));
            }
            _ => {}
        }
        let object = self.objects.get(&request.key(request.name)).ok_or_else(|| request.not_found())?;
        Ok((200, self.served(request, object), Vec::new()))
    }

    /// The object in the version of the request.
    fn served(&self, request: &Request<'_>, object: &Value) -> Value {
        let mut out = object.clone();
        out["apiVersion"] = request.kind.api_version(request.version).into();
        out
    }

    fn write(&mut self, request: &Request<'_>, verb: &str) -> Done {
        let key = request.key(request.name);
        let old = self.objects.get(&key).map(|old| self.served(request, old));
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.revision);
        let random = self.revision.to_le_bytes();
        let write = write::Request {
            kind: request.kind,
            version: request.version,
            namespace: request.namespace,
            name: request.name,
            part: if request.subresource == "status" { Part::Status } else { Part::Main },
            params: &request.params,
            content_type: request.content_type,
            user_agent: request.user_agent,
            body: &request.body,
            uid: &uid,
            random: [random[0], random[1], random[0].wrapping_mul(7), random[0].wrapping_mul(11), 3],
            now: self.now,
        };
        let admission =
            Admission { change: &|_, _| Ok(()), check: &|_, _| Ok(Vec::new()), required: Required::Strict };
        let prepared = match verb {
            "create" => write.create(&admission),
            "update" => write.update(old.as_ref(), &admission),
            _ => write.patch(old.as_ref(), &admission),
        }?;
        self.carry_out(request, prepared)
    }

    fn carry_out(&mut self, request: &Request<'_>, prepared: Prepared) -> Done {
        let Prepared { mut object, effect, dry_run, generates_name, warnings } = prepared;
        let key = request.key(meta::name(&object));
        if let (Effect::Create, Some(there)) = (effect, self.objects.get(&key)) {
            let (group, plural, name) = (request.kind.group, request.kind.plural, meta::name(&object));
            return Err(match () {
                () if meta::is_deleting(there) => Status::exists_being_deleted(group, plural, name),
                () if generates_name => Status::generated_name_exists(group, plural, name),
                () => Status::already_exists(group, plural, name),
            });
        }
        let code = if effect == Effect::Create { 201 } else { 200 };
        self.revision += 1;
        match effect {
            _ if dry_run => {}
            Effect::Create | Effect::Replace => {
                meta::set(&mut object, "resourceVersion", self.revision.to_string());
                self.objects.insert(key, object.clone());
            }
            Effect::Remove => drop(self.objects.remove(&key)),
            Effect::Nothing => {}
        }
        Ok((code, object, warnings))
    }

    fn delete(&mut self, request: &Request<'_>) -> Done {
        let body = decode::options(request.content_type, &request.body)?;
        let options = DeleteOptions::parse(&request.params, body.as_ref())?;
        let key = request.key(request.name);
        let old = self.objects.get(&key).cloned().ok_or_else(|| request.not_found())?;
        let old = self.served(request, &old);
        let (effect, mut answer) = write::delete(request.kind, &old, &options, self.now)?;
        self.revision += 1;
        match effect {
            _ if options.dry_run => {}
            Effect::Remove => drop(self.objects.remove(&key)),
            Effect::Replace | Effect::Create => {
                meta::set(&mut answer, "resourceVersion", self.revision.to_string());
                self.objects.insert(key, answer.clone());
            }
            Effect::Nothing => {}
        }
        Ok((200, answer, Vec::new()))
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |i: usize| u8::from_str_radix(&text[i..i + 2], 16).expect("recorded bytes are hex");
    (0..text.len()).step_by(2).map(digits).collect()
}
