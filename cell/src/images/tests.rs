use std::fs;

use serde_json::json;

use super::layout::Layout;
use super::registry::{Registry, Settings, mirrored};
use super::*;

fn layout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let config =
        json!({"os": "linux", "architecture": "amd64", "config": {"Entrypoint": ["/e"], "Cmd": ["c", "d"]}});
    fs::write(blobs.join("c0"), config.to_string()).unwrap();
    fs::write(blobs.join("a0"), json!({"config": {"digest": "sha256:c0"}}).to_string()).unwrap();
    let index = json!({"manifests": [{"digest": "sha256:a0", "annotations": {
        "org.opencontainers.image.ref.name": "docker.io/library/tool:1",
        "dev.cella.stands-in-for": "docker.io/library/busybox",
    }}]});
    fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    folder
}

fn found() -> ImageConfig {
    let words = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let platforms = BTreeMap::from([("linux/amd64".to_owned(), (words(&["/e"]), words(&["c", "d"])))]);
    ImageConfig::Found { digest: "sha256:a0".into(), platforms }
}

#[test]
fn a_layout_knows_its_images_by_name_and_stand_ins_by_any_tag() {
    let folder = layout();
    let layout = Layout::new(folder.path());
    let look = |reference: &str| layout.look_up(&reference.parse().unwrap()).unwrap();
    assert_eq!(look("tool:1"), Some(found()));
    assert_eq!(look("tool:2"), None);
    assert_eq!(look("busybox:1.36"), Some(found()));
    assert_eq!(look(&format!("busybox@sha256:{}", "1".repeat(64))), Some(found()));
    assert_eq!(look("example.com/busybox"), None);
}

#[test]
fn the_longest_rule_of_the_mirror_map_counts() {
    let rules =
        [("mirror.gcr.io", "docker.io/library"), ("docker.io", "r.example"), ("docker.io/x", "y.example/z")];
    let mirrors = rules.into_iter().map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
    let check = |from: &str, to: &str| {
        assert_eq!(mirrored(&mirrors, &from.parse().unwrap()).whole(), to);
    };
    check("mirror.gcr.io/busybox:1", "docker.io/library/busybox:1");
    check("busybox", "r.example/library/busybox:latest");
    check("x/y:2", "y.example/z/y:2");
    check("ghcr.io/a/b:3", "ghcr.io/a/b:3");
}

#[tokio::test]
async fn a_reference_that_is_none_is_missing_and_a_silent_registry_is_not() {
    let folder = layout();
    let settings = Settings { mirrors: BTreeMap::new(), layout: Some(folder.path().to_owned()) };
    let registry = Registry::new(base::real::host().0, &settings);
    let look = |reference: &'static str| {
        let registry = &registry;
        async move { registry.look_up(reference, &Auths::new()).await }
    };
    assert!(matches!(look("NOT an image").await, Ok(ImageConfig::Missing(_))));
    assert_eq!(look("busybox").await, Ok(found()));
    assert!(look("127.0.0.1:1/nobody/listens").await.is_err());
}
