//! Tekton bundles: an OCI image with one object in each layer, told apart by annotations.

use std::collections::BTreeMap;
use std::io::Read;

use axum::http::HeaderValue;
use axum::http::header::{ACCEPT, WWW_AUTHENTICATE};
use bytes::Bytes;
use oci_client::Reference;
use ring::digest;
use serde_json::{Value, json};
use store::object::ObjectKey;
use url::Url;

use super::ask::{Ask, Found, Params, RESOURCE_MAX, Trouble, hex};
use super::settings::Map;
use crate::fetch::{Answer, Request, basic, secret_header};
use crate::lower;

/// Objects of one bundle.
const LAYERS_MAX: usize = 20;
/// Bytes of a manifest, and of a registry's answer with a token.
const MANIFEST_MAX: usize = 4 << 20;
const KIND: &str = "dev.tekton.image.kind";
const NAME: &str = "dev.tekton.image.name";
const API_VERSION: &str = "dev.tekton.image.apiVersion";
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The image, as it was written.
    pub bundle: String,
    /// Name of the object.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Whose pull secrets are used.
    pub account: String,
    /// A pull secret beside them.
    pub secret: Option<String>,
}

impl Wanted {
    /// Reads params.
    ///
    /// # Errors
    /// The reference's text.
    pub fn of(params: &Params, map: &Map) -> Result<Self, String> {
        let given = |name: &str| params.get(name).filter(|value| !value.is_empty()).cloned();
        // Newer installations of the reference say nothing of an account: it is that of the namespace then.
        let account = given("serviceAccount").or_else(|| map.get("default-service-account").cloned());
        let account = account.unwrap_or_else(|| "default".into());
        let bundle = given("bundle").ok_or("parameter \"bundle\" required")?;
        parse(&bundle).map_err(|error| format!("invalid bundle reference: {error}"))?;
        let name = given("name").ok_or("parameter \"name\" required")?;
        let kind = given("kind").or_else(|| map.get("default-kind").cloned());
        let kind =
            kind.ok_or("default resource Kind was not set during installation of the bundle resolver")?;
        Ok(Self { bundle, name, kind, account, secret: given("secret") })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>().map_err(|_| format!("could not parse reference: {text}"))
}

pub(super) async fn resolve(ask: &Ask<'_>) -> Result<Found, Trouble> {
    let wanted = Wanted::of(ask.params, ask.map)?;
    let image = parse(&wanted.bundle)?;
    let spec = json!({
        "serviceAccountName": wanted.account,
        "podTemplate": {"imagePullSecrets": wanted.secret.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()},
    });
    let run = ObjectKey {
        tenant: ask.tenant.to_owned(),
        kind: String::new(),
        namespace: ask.namespace.to_owned(),
        name: String::new(),
    };
    let auths = lower::pull_auths(ask.cell, &run, &spec).await?;
    let login = auths.get(image.registry()).and_then(|auth| basic(&auth.username, &auth.password));
    let mut registry = Registry { ask, image: &image, login, token: None };
    let (manifest, digest) = registry.image_manifest().await.map_err(|trouble| match trouble {
        Trouble::Answer(why) => Trouble::Answer(format!("cannot retrieve the oci image: {why}")),
        Trouble::Passing(why) => Trouble::Passing(format!("cannot retrieve the oci image: {why}")),
        store => store,
    })?;
    let layers =
        layers(&manifest).map_err(|why| format!("invalid tekton bundle {}, error: {why}", wanted.bundle))?;
    let entry = layers.iter().find(|layer| {
        annotation(layer, KIND).eq_ignore_ascii_case(&wanted.kind) && annotation(layer, NAME) == wanted.name
    });
    let Some(entry) = entry else {
        let Wanted { kind, name, .. } = &wanted;
        return Err(format!("could not find object in image with kind: {kind} and name: {name}").into());
    };
    let blob = registry.blob(entry["digest"].as_str().unwrap_or("")).await?;
    let data = content(&blob)?;
    let annotations = [KIND, NAME, API_VERSION]
        .map(|name| (format!("resolution.tekton.dev/{name}"), annotation(entry, name).to_owned()));
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("sha256", &digest));
    let host = if image.registry() == "docker.io" { "index.docker.io" } else { image.registry() };
    Ok(Found {
        data,
        annotations: BTreeMap::from(annotations),
        uri: format!("{host}/{}", image.repository()),
        digest: (algorithm.to_owned(), hex.to_owned()),
        entry_point: wanted.name,
    })
}

fn annotation<'a>(layer: &'a Value, name: &str) -> &'a str {
    layer["annotations"][name].as_str().unwrap_or("")
}

/// The layers of a manifest, if it is a bundle's.
///
/// # Errors
/// The reference's text.
pub fn layers(manifest: &Value) -> Result<&[Value], String> {
    let layers = manifest["layers"].as_array().map_or(&[][..], Vec::as_slice);
    if layers.len() > LAYERS_MAX {
        return Err(format!("contained more than the maximum {LAYERS_MAX} allow objects"));
    }
    for (index, layer) in layers.iter().enumerate() {
        for name in [API_VERSION, NAME, KIND] {
            if !layer["annotations"][name].is_string() {
                return Err(format!("the layer {index} does not contain a {name} annotation"));
            }
        }
        let kind = annotation(layer, KIND);
        let lower = kind.to_lowercase();
        if lower.strip_suffix('s').unwrap_or(&lower) != kind {
            return Err(format!(
                "the layer {index} the annotation {KIND} must be lowercased and singular, found {kind}"
            ));
        }
    }
    Ok(layers)
}

/// The object in a layer: the first file of a tar archive, or the layer itself; compressed or not.
fn content(blob: &[u8]) -> Result<Vec<u8>, String> {
    let plain = if blob.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        // A tar archive is a few blocks longer than what is in it.
        let limit = RESOURCE_MAX as u64 + (64 << 10);
        let read = flate2::read::GzDecoder::new(blob).take(limit + 1).read_to_end(&mut out);
        read.map_err(|error| format!("failed to read image layer: {error}"))?;
        if out.len() as u64 > limit {
            return Err(too_large());
        }
        out
    } else if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err("failed to read image layer: zstd is not supported; gzip is".into());
    } else {
        blob.to_vec()
    };
    let data = first_file(&plain).unwrap_or(plain);
    if data.len() > RESOURCE_MAX { Err(too_large()) } else { Ok(data) }
}

fn too_large() -> String {
    format!("the object exceeds the maximum allowed size of {RESOURCE_MAX} bytes")
}

fn first_file(plain: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(plain);
    let entry = archive.entries().ok()?.next()?.ok()?;
    let mut out = Vec::new();
    entry.take(RESOURCE_MAX as u64 + 1).read_to_end(&mut out).ok()?;
    Some(out)
}

/// One image at its registry.
struct Registry<'a> {
    ask: &'a Ask<'a>,
    image: &'a Reference,
    login: Option<HeaderValue>,
    /// What the registry wants to be shown.
    token: Option<HeaderValue>,
}

impl Registry<'_> {
    /// The manifest of the image, and its digest; of an index, that of linux/amd64, as the reference takes it.
    async fn image_manifest(&mut self) -> Result<(Value, String), Trouble> {
        let name = self.image.digest().or(self.image.tag()).unwrap_or("latest").to_owned();
        let (manifest, digest) = self.manifest(&name).await?;
        let Some(entries) = manifest["manifests"].as_array() else { return Ok((manifest, digest)) };
        let wanted = |entry: &&Value| {
            let platform = &entry["platform"];
            platform.is_null() || platform["os"] == "linux" && platform["architecture"] == "amd64"
        };
        let child = entries.iter().find(wanted).and_then(|entry| entry["digest"].as_str());
        let none = || format!("no child with platform linux/amd64 in index {}", self.image);
        let child = child.ok_or_else(none)?.to_owned();
        self.manifest(&child).await
    }

    async fn manifest(&mut self, name: &str) -> Result<(Value, String), Trouble> {
        let answer = self.get("manifests", name, MANIFEST_MAX).await?;
        let digest = sha256(&answer.body);
        if name.starts_with("sha256:") && digest != name {
            return Err(
                format!("manifest digest: {digest:?} does not match requested digest: {name:?}").into()
            );
        }
        let manifest = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("could not parse image manifest: {error}"))?;
        Ok((manifest, digest))
    }

    async fn blob(&mut self, digest: &str) -> Result<Bytes, Trouble> {
        let answer = self.get("blobs", digest, RESOURCE_MAX + (64 << 10)).await?;
        let got = sha256(&answer.body);
        if got != digest {
            let why = format!("failed to read image layer: error verifying {digest} checksum; got {got}");
            return Err(why.into());
        }
        Ok(answer.body)
    }

    async fn get(&mut self, what: &str, name: &str, limit: usize) -> Result<Answer, Trouble> {
        let host = self.image.resolve_registry();
        // Only what cannot leave this host is asked for in the clear.
        let scheme = if is_loopback(host) { "http" } else { "https" };
        let text = format!("{scheme}://{host}/v2/{}/{what}/{name}", self.image.repository());
        let url: Url = text.parse().map_err(|_| format!("could not parse reference: {}", self.image))?;
        for try_again in [true, false] {
            let request = Request::get(url.clone(), limit)
                .header(ACCEPT, HeaderValue::from_static(MANIFESTS))
                .authorization(self.token.clone());
            let answer = self.ask.cell.fetch.fetch(request).await;
            let answer = answer.map_err(|error| Trouble::fetch(&format!("Get {text:?}"), &error))?;
            match answer.status {
                200 => return Ok(answer),
                401 if try_again => {
                    let asks = answer.headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
                    self.token = self.answer_challenge(&url, asks.unwrap_or("")).await?;
                }
                status => return Err(refused(&text, status, &answer.body)),
            }
        }
        Err(format!("GET {text}: unexpected status code 401 Unauthorized").into())
    }

    /// What a registry wants to be shown, given how it asks.
    async fn answer_challenge(&self, at: &Url, asks: &str) -> Result<Option<HeaderValue>, Trouble> {
        let (scheme, rest) = asks.split_once(' ').unwrap_or((asks, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(self.login.clone());
        }
        let named = challenge(rest);
        let realm = named.get("realm").and_then(|realm| realm.parse::<Url>().ok());
        let Some(mut realm) = realm.filter(|_| scheme.eq_ignore_ascii_case("bearer")) else {
            return Ok(self.login.clone());
        };
        if at.scheme() == "https" && realm.scheme() != "https" {
            return Err(format!("the registry sends us to {realm} for a token, which is not https").into());
        }
        {
            let mut query = realm.query_pairs_mut();
            for name in ["service", "scope"] {
                if let Some(value) = named.get(name) {
                    query.append_pair(name, value);
                }
            }
        }
        let request = Request::get(realm.clone(), MANIFEST_MAX).authorization(self.login.clone());
        let answer = self.ask.cell.fetch.fetch(request).await;
        let answer = answer.map_err(|error| Trouble::fetch(&format!("Get {:?}", realm.as_str()), &error))?;
        if answer.status != 200 {
            return Err(refused(realm.as_str(), answer.status, &answer.body));
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = body["token"].as_str().or(body["access_token"].as_str());
        Ok(token.and_then(|token| secret_header(&format!("Bearer {token}"))))
    }
}

/// The parts of a challenge: `realm="…",service="…"`.
fn challenge(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        out.insert(name.trim().to_ascii_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    out
}

/// A refusal in the words of the reference's library: the registry's own code and message, if it gives them.
fn refused(url: &str, status: u16, body: &[u8]) -> Trouble {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = &said["errors"][0];
    let why = match first["code"].as_str() {
        Some(code) => format!("GET {url}: {code}: {}", first["message"].as_str().unwrap_or("")),
        None => format!("GET {url}: unexpected status code {status}"),
    };
    if status >= 500 || status == 429 { Trouble::Passing(why) } else { Trouble::Answer(why) }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(digest::digest(&digest::SHA256, bytes).as_ref()))
}

/// Whether `host`, perhaps with a port, is this very host.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
    let name = name.map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
