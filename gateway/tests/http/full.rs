//! A disk that is full, and has room again.

use std::process::Command;

use http::{Method, StatusCode};
use serde_json::json;
use tenancy::access::Role;

use super::Rig;

/// A small disk of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test makes a small disk, for which it must be root");
        Self(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_to_be_one_and_the_server_works_again_when_there_is_room() {
    let disk = Disk::new();
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![0; 2 << 20]).unwrap();
    let (host, _jobs) = base::real::host();
    let home = disk.0.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let store = store::embedded::open(&home, &host).unwrap();
    let rig = Rig::on(store, host).await;
    let token = rig.token("acme", Role::Admin);
    let path = "/api/v1/namespaces/default/configmaps";
    let map = |n: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("map-{n}")}, "data": {"x": "y".repeat(100_000)}});
    let mut made = Vec::new();
    let refused = loop {
        let (status, body) = rig.create(&token, path, &map(made.len())).await;
        match status {
            StatusCode::CREATED => made.push(body),
            _ => break (status, body),
        }
        assert!(made.len() < 200, "the disk is never full");
    };
    assert_eq!(refused.0, StatusCode::INSUFFICIENT_STORAGE, "{}", refused.1);
    assert_eq!(refused.1["kind"], "Status");
    assert!(refused.1["message"].as_str().unwrap().contains("no room"), "{}", refused.1);
    assert!(made.len() > 3);
    // What was there can still be read, all of it.
    let list = rig.get(&token, path).await.1;
    let names: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect();
    for object in &made {
        assert!(names.contains(&object["metadata"]["name"]), "lost: {}", object["metadata"]["name"]);
    }
    assert!(!names.contains(&json!(format!("map-{}", made.len()))), "refused, and there all the same");
    std::fs::remove_file(&filler).unwrap();
    let (status, body) = rig.create(&token, path, &map(1000)).await;
    assert_eq!(status, StatusCode::CREATED, "with room again: {body}");
    let (status, _) = rig.ask(&token, Method::DELETE, &format!("{path}/map-0"), "", String::new()).await;
    assert_eq!(status, StatusCode::OK);
}
