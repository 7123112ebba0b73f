use std::path::Path;

use super::*;

fn spec(
    pod: Value,
    container: Value,
    image: &ImageConfig,
    secrets: &[(&str, &str)],
) -> Result<Value, String> {
    let secrets = secrets.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let mut pod = pod;
    pod["containers"] = json!([]);
    let parts = Parts {
        pod: &serde_json::from_value(pod).unwrap(),
        container: &serde_json::from_value(container).unwrap(),
        image,
        secrets: Some(&secrets),
        volumes: &Volumes::default(),
        etc: Path::new("/etc-of-pod"),
        shm: Path::new("/shm"),
        termination: Path::new("/message"),
        cgroup: Some("/group".into()),
        grantable: &["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"].map(String::from),
    };
    of(&parts)
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/e".into()],
        cmd: vec!["c".into()],
        env: vec!["A=image".into(), "PATH=/x".into()],
        ..ImageConfig::default()
    }
}

#[test]
fn command_and_args_have_kubernetes_precedence() {
    for (container, wanted) in [
        (json!({"name": "a"}), json!(["/e", "c"])),
        (json!({"name": "a", "args": ["x"]}), json!(["/e", "x"])),
        (json!({"name": "a", "command": ["y"]}), json!(["y"])),
        (
            json!({"name": "a", "command": ["y"], "args": ["x", "$(S)", "$(OTHER)"]}),
            json!(["y", "x", "secret", "$(OTHER)"]),
        ),
    ] {
        let spec = spec(json!({}), container, &image(), &[("S", "secret")]).unwrap();
        assert_eq!(spec["process"]["args"], wanted);
    }
    assert!(spec(json!({}), json!({"name": "a"}), &ImageConfig::default(), &[]).is_err());
}

#[test]
fn later_variables_win_and_each_stands_once() {
    let container =
        json!({"name": "a", "env": [{"name": "A", "value": "pod"}, {"name": "B", "value": "<$(S)>"}]});
    let spec = spec(json!({"hostname": "h"}), container, &image(), &[("S", "secret")]).unwrap();
    let wanted = json!(["PATH=/x", "HOSTNAME=h", "A=pod", "B=<secret>", "S=secret"]);
    assert_eq!(spec["process"]["env"], wanted);
}

#[test]
fn capabilities_stay_within_what_the_host_has() {
    let granted = |security: Value| {
        let container = json!({"name": "a", "securityContext": security});
        spec(json!({}), container, &image(), &[]).unwrap()["process"]["capabilities"]["bounding"].clone()
    };
    assert_eq!(granted(json!({})), json!(["CAP_CHOWN", "CAP_KILL"]));
    assert_eq!(granted(json!({"capabilities": {"drop": ["ALL"], "add": ["kill"]}})), json!(["CAP_KILL"]));
    assert_eq!(granted(json!({"capabilities": {"drop": ["CHOWN"]}})), json!(["CAP_KILL"]));
    assert_eq!(
        granted(json!({"capabilities": {"add": ["SYS_ADMIN", "SYS_TIME"]}})),
        json!(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"])
    );
    assert_eq!(granted(json!({"privileged": true})), json!(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]));
}

#[test]
fn privilege_is_what_the_container_asks_for() {
    let of = |security: Value| {
        spec(json!({}), json!({"name": "a", "securityContext": security}), &image(), &[]).unwrap()
    };
    let (usual, privileged) = (of(json!({})), of(json!({"privileged": true})));
    assert!(usual["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert_eq!(privileged["linux"]["maskedPaths"], json!([]));
    assert_eq!(privileged["linux"]["resources"]["devices"][0]["allow"], true);
    assert_eq!(usual["linux"]["resources"]["devices"][0]["allow"], false);
    assert_eq!(usual["process"]["noNewPrivileges"], false);
    assert_eq!(of(json!({"allowPrivilegeEscalation": false}))["process"]["noNewPrivileges"], true);
    assert_eq!(of(json!({"readOnlyRootFilesystem": true}))["root"]["readonly"], true);
}

#[test]
fn limits_become_control_group_values() {
    let container = json!({"name": "a", "resources": {
        "limits": {"cpu": "1500m", "memory": "64Mi"},
        "requests": {"cpu": "250m"},
    }});
    let resources = spec(json!({}), container, &image(), &[]).unwrap()["linux"]["resources"].clone();
    assert_eq!(resources["memory"]["limit"], 67_108_864);
    assert_eq!(resources["cpu"], json!({"quota": 150_000, "period": 100_000, "shares": 256}));
    let none = spec(json!({}), json!({"name": "a"}), &image(), &[]).unwrap()["linux"]["resources"].clone();
    assert_eq!((&none["memory"], &none["cpu"]), (&Value::Null, &json!({})));
}

#[test]
fn a_mount_of_an_unknown_volume_is_refused() {
    let container = json!({"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    assert!(spec(json!({}), container, &image(), &[]).unwrap_err().contains("no volume \"v\""));
}
