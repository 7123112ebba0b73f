use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

use super::*;

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
}

fn layer(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Written as it is: `append_data` would refuse the paths that a hostile archive has.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// A registry in this process: blobs by digest, one manifest per `repository:tag`.
#[derive(Default)]
struct Registry {
    blobs: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    requests: Mutex<Vec<String>>,
}

impl Registry {
    fn blob(&mut self, bytes: Vec<u8>) -> String {
        let name = digest(&bytes);
        self.blobs.insert(name.clone(), bytes);
        name
    }

    /// An image of these layers behind an index of two platforms; its digest.
    fn image(&mut self, tag: &str, layers: Vec<Vec<u8>>) -> String {
        let layers: Vec<_> = layers.into_iter().map(|l| json!({"digest": self.blob(l)})).collect();
        let config = json!({"config": {"Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=b"], "User": "app", "WorkingDir": "/w"}});
        let config = self.blob(serde_json::to_vec(&config).unwrap());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": {"digest": config}, "layers": layers});
        let manifest = self.blob(serde_json::to_vec(&manifest).unwrap());
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {"digest": "sha256:0", "platform": {"os": "linux", "architecture": "s390x"}},
                {"digest": manifest, "platform": {"os": "linux", "architecture": architecture}},
            ],
        });
        let index = self.blob(serde_json::to_vec(&index).unwrap());
        self.tags.insert(tag.to_owned(), index.clone());
        index
    }

    async fn serve(self) -> (Arc<Self>, String) {
        let this = Arc::new(self);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/v2/{*path}", get(answer)).with_state(this.clone());
        let (host, _) = base::real::host();
        let serving = base::serve::plain(listener, router, host.clock.clone(), host.jobs.clone());
        host.spawn("registry", async move { drop(serving.await) });
        (this, address)
    }
}

async fn answer(State(registry): State<Arc<Registry>>, UrlPath(path): UrlPath<String>) -> Response {
    registry.requests.lock().unwrap().push(path.clone());
    let name = path.rsplit('/').next().unwrap_or_default();
    let repository = path.split("/manifests/").next().unwrap_or_default();
    let digest = match registry.tags.get(&format!("{repository}:{name}")) {
        Some(digest) => digest.clone(),
        None => name.to_owned(),
    };
    match registry.blobs.get(&digest) {
        Some(bytes) => {
            let kind = serde_json::from_slice::<Value>(bytes)
                .ok()
                .and_then(|v| Some(v["mediaType"].as_str()?.to_owned()));
            let kind = kind.unwrap_or_else(|| "application/octet-stream".into());
            ([("content-type", kind), ("docker-content-digest", digest)], bytes.clone()).into_response()
        }
        None => (
            StatusCode::NOT_FOUND,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        )
            .into_response(),
    }
}

async fn cache(mirror: &str, dir: &std::path::Path) -> Cache {
    let sources = Sources {
        cache: dir.to_owned(),
        mirrors: BTreeMap::from([("docker.io".to_owned(), mirror.to_owned())]),
        offline: true,
    };
    Cache::open(sources, base::real::host().0).unwrap()
}

#[tokio::test]
async fn images_come_through_a_mirror_once_and_hold_nothing_outside_their_layers() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let lower = layer(&[("a/file", "below"), ("../../escape", "caught")]);
    let upper = layer(&[("a/.wh.file", ""), ("b", "above"), ("a/.wh..wh..opq", "")]);
    let index = registry.image("library/thing:1", vec![lower, upper]);
    let (registry, address) = registry.serve().await;
    let cache = cache(&address, &dir.path().join("cache")).await;
    let name = parse("thing:1").unwrap();
    let (first, second) = futures_util::future::join(
        cache.get(&name, PullPolicy::IfNotPresent, None),
        cache.get(&name, PullPolicy::IfNotPresent, None),
    )
    .await;
    let image = first.unwrap();
    assert_eq!(image, second.unwrap());
    assert_eq!(image.digest, index);
    assert_eq!(image_id(&name, &image.digest), format!("docker.io/library/thing@{index}"));
    let wanted = ImageConfig {
        entrypoint: vec!["/e".into()],
        cmd: vec!["c".into()],
        env: vec!["A=b".into()],
        user: Some("app".into()),
        working_dir: Some("/w".into()),
    };
    assert_eq!(image.config, wanted);
    let lower = cache.layers().join(&image.layers[0]);
    assert_eq!(std::fs::read_to_string(lower.join("escape")).unwrap(), "caught");
    assert!(!dir.path().join("escape").exists());
    let hidden = std::fs::metadata(cache.layers().join(&image.layers[1]).join("a/file")).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&hidden.file_type()));
    let blobs = |requests: &[String]| requests.iter().filter(|r| r.contains("/blobs/")).count();
    assert_eq!(blobs(&registry.requests.lock().unwrap()), 3, "configuration and two layers, once");
    registry.requests.lock().unwrap().clear();
    cache.get(&name, PullPolicy::IfNotPresent, None).await.unwrap();
    assert!(registry.requests.lock().unwrap().is_empty(), "a known name asks nobody");
    cache.get(&name, PullPolicy::Always, None).await.unwrap();
    assert_eq!(registry.requests.lock().unwrap().len(), 1, "the digest, and nothing else");
}

#[tokio::test]
async fn what_cannot_be_had_says_so_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let index = registry.image("library/broken:1", vec![layer(&[("a", "b")])]);
    // A mirror that sends other bytes than the digest says.
    let broken: Vec<String> = registry.blobs.keys().filter(|k| **k != index).cloned().collect();
    for name in &broken {
        if serde_json::from_slice::<Value>(&registry.blobs[name]).is_err() {
            registry.blobs.insert(name.clone(), layer(&[("a", "evil")]));
        }
    }
    let (_, address) = registry.serve().await;
    let cache = cache(&address, dir.path()).await;
    for (name, text) in [
        ("nothing:1", "manifest unknown"),
        ("broken:1", "igest"),
        ("elsewhere.invalid/x:1", "there is no mirror for it"),
    ] {
        let error = cache.get(&parse(name).unwrap(), PullPolicy::IfNotPresent, None).await.unwrap_err();
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
    let never = cache.get(&parse("nothing:1").unwrap(), PullPolicy::Never, None).await;
    assert!(matches!(never, Err(ImageError::NotPresent(_))));
    assert!(matches!(parse("NOT A NAME"), Err(ImageError::InvalidName(_))));
}

#[test]
fn a_layout_answers_for_a_tag_a_digest_and_for_whatever_it_stands_in_for() {
    let dir = tempfile::tempdir().unwrap();
    let index = json!({"manifests": [
        {"digest": "sha256:1", "annotations": {"org.opencontainers.image.ref.name": "ghcr.io/a/b:v1"}},
        {"digest": "sha256:2", "annotations": {"dev.cella.stands-in-for": "docker.io/library/ubuntu"}},
    ]});
    std::fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
    let layout = layout::Layout::new(dir.path());
    let other = format!("ubuntu@sha256:{}", "0".repeat(64));
    for (name, wanted) in [
        ("ghcr.io/a/b:v1", Some("sha256:1")),
        ("ghcr.io/a/b:v2", None),
        ("ubuntu", Some("sha256:2")),
        ("docker.io/library/ubuntu:24.04", Some("sha256:2")),
        (&other, Some("sha256:2")),
        ("mirror.gcr.io/ubuntu", Some("sha256:2")),
        ("mirror.gcr.io/library/ubuntu:22.04", Some("sha256:2")),
        ("quay.io/ubuntu", None),
    ] {
        assert_eq!(layout.digest(&parse(name).unwrap()).ok().as_deref(), wanted, "{name}");
    }
}

#[tokio::test]
async fn who_gives_up_waiting_for_an_image_is_in_nobodys_way() {
    const FILES: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..FILES).map(|n| format!("f{n}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let mut registry = Registry::default();
    registry.image("library/large:1", vec![layer(&entries)]);
    let (_registry, address) = registry.serve().await;
    let cache = cache(&address, &dir.path().join("cache")).await;
    let name = parse("large:1").unwrap();
    let (host, _jobs) = base::real::host();
    let begun = async {
        let folders = || std::fs::read_dir(dir.path().join("cache/tmp")).unwrap().flatten();
        while !folders().any(|entry| entry.path().is_dir()) {
            host.clock.sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    let first = base::host::race(cache.get(&name, PullPolicy::IfNotPresent, None), begun).await;
    assert!(matches!(first, base::host::Either::Right(())), "it is given up while it is unpacked");
    let image = cache.get(&name, PullPolicy::IfNotPresent, None).await.unwrap();
    let unpacked = std::fs::read_dir(cache.layers().join(&image.layers[0])).unwrap();
    assert_eq!(unpacked.count(), FILES);
}
