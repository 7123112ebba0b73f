use protocol::order::Volume;
use serde_json::json;

use super::*;

/// Goldens are read in place.
#[allow(clippy::disallowed_methods, reason = "a test says where its goldens are")]
fn goldens() -> PathBuf {
    let shared = std::env::var("CELLA_SHARED").map(PathBuf::from);
    shared
        .unwrap_or_else(|_| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")))
        .join("golden/pod")
}

fn full(pod: &Value) -> Contents {
    let names = Names::of(pod);
    let values = || Some(Values::from([("key".to_owned(), b"value".to_vec())]));
    Contents {
        maps: names.maps.into_iter().map(|n| (n, values())).collect(),
        secrets: names.secrets.into_iter().map(|n| (n, values())).collect(),
        claims: list(&pod["spec"]["volumes"])
            .iter()
            .filter_map(|volume| {
                Some((volume["persistentVolumeClaim"]["claimName"].as_str()?.to_owned(), Some(claim())))
            })
            .collect(),
        machine: "m-1".into(),
        ..Contents::default()
    }
}

fn claim() -> Claim {
    let held = Held { uid: "uid".into(), generation: 1, fence: "/volumes/uid.fence".into() };
    Claim { path: "/volumes/uid".into(), held, read_only: false }
}

fn lowered(pod: &Value) -> Result<Order, ConfigError> {
    build::order(pod, &full(pod))
}

#[test]
fn every_pod_of_the_reference_lowers_or_says_which_field_is_in_the_way() {
    let (mut lowered_pods, mut refused) = (0, 0);
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let path = entry.unwrap().path();
        let case: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let pod = &case["expected"]["pod"];
        if !pod.is_object() {
            continue;
        }
        match lowered(pod) {
            Ok(order) => {
                lowered_pods += 1;
                check(pod, &order, &path);
            }
            Err(error) => {
                refused += 1;
                let known = [
                    "hostNetwork",
                    "hostPath",
                    "csi",
                    "ephemeral",
                    "nfs",
                    "key",
                    "fieldPath",
                    "kubernetes.io/os",
                ];
                assert!(
                    known.iter().any(|k| error.message.contains(k)),
                    "{}: {}",
                    path.display(),
                    error.message
                );
            }
        }
    }
    assert!(lowered_pods > 200 && refused < 20, "{lowered_pods} lowered, {refused} refused");
}

/// Nothing of an API is left, and nothing that a container mounts is missing.
fn check(pod: &Value, order: &Order, path: &std::path::Path) {
    let spec = serde_json::to_value(order.pod.spec.as_ref().unwrap()).unwrap();
    for field in ["serviceAccountName", "imagePullSecrets", "nodeSelector", "affinity", "tolerations"] {
        assert!(spec[field].is_null(), "{}: {field}", path.display());
    }
    for container in list(&spec["containers"]).iter().chain(list(&spec["initContainers"])) {
        assert!(container["envFrom"].is_null(), "{}", path.display());
        assert!(list(&container["env"]).iter().all(|e| e["valueFrom"].is_null()), "{}", path.display());
        for mount in list(&container["volumeMounts"]) {
            let name = mount["name"].as_str().unwrap();
            assert!(order.volumes.contains_key(name), "{}: volume {name}", path.display());
        }
    }
    let init = list(&pod["spec"]["initContainers"]).iter().find(|c| c["name"] == "place-scripts");
    let text = init.map(|c| c["args"][1].to_string()).unwrap_or_default();
    for (folder, volume) in [
        ("/tekton/scripts/", "tekton-internal-scripts"),
        ("/tekton/debug/scripts/", "tekton-internal-debug-scripts"),
    ] {
        let placed =
            matches!(order.volumes.get(volume), Some(Volume::Files { files, .. }) if !files.is_empty());
        assert_eq!(
            text.contains(&format!("\"{folder}").replace('"', "\\\"")),
            placed,
            "{}: {volume}",
            path.display()
        );
    }
}

#[test]
fn results_that_a_sidecar_would_report_are_taken_from_the_steps() {
    let step = json!({"name": "step-a", "image": "i", "command": ["/tekton/bin/entrypoint"],
        "args": ["-result_from", "sidecar-logs", "-results", "r", "--", "-result_from", "sidecar-logs"]});
    let reporter = json!({"name": "sidecar-tekton-log-results", "image": "i", "command": ["x"]});
    let order = lowered(&pod(json!({"containers": [step, reporter]}))).unwrap();
    let spec = serde_json::to_value(order.pod.spec.unwrap()).unwrap();
    assert_eq!(list(&spec["containers"]).len(), 1);
    let max = (256 << 10).to_string();
    let words = [
        "-message_max",
        &max,
        "-result_from",
        "agent",
        "-results",
        "r",
        "--",
        "-result_from",
        "sidecar-logs",
    ];
    assert_eq!(spec["containers"][0]["args"], json!(words));
}

#[test]
fn results_are_not_limited_as_in_the_reference_unless_the_tenant_says_so() {
    let step = |name: &str, flags: &[&str]| {
        let args: Vec<_> = flags.iter().chain(&["-entrypoint", "x", "--", "-results"]).collect();
        json!({"name": name, "image": "i", "command": ["/tekton/bin/entrypoint"], "args": args})
    };
    let mut steps: Vec<_> = (0..8).map(|n| step(&format!("step-{n}"), &["-results", "r"])).collect();
    steps.push(step("step-none", &[]));
    let pod = pod(json!({"containers": steps}));
    let args = |strict_results: bool, index: usize| {
        let order = build::order(&pod, &Contents { strict_results, ..full(&pod) }).unwrap();
        serde_json::to_value(order.pod.spec.unwrap()).unwrap()["containers"][index]["args"].clone()
    };
    // Nine steps share what a Pod's status may hold.
    let max = ((1 << 20) / 9).to_string();
    let native = [
        "-message_max",
        &max,
        "-result_from",
        "agent",
        "-results",
        "r",
        "-entrypoint",
        "x",
        "--",
        "-results",
    ];
    assert_eq!(args(false, 0), json!(native));
    assert_eq!(args(false, 8), json!(["-entrypoint", "x", "--", "-results"]));
    assert_eq!(args(true, 0), json!(native[4..]));
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "step-a", "image": "x"}]);
    }
    json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"l": "v"}}, "spec": spec})
}

#[test]
fn missing_references_are_told_in_the_words_of_a_kubelet() {
    let check = |container: Value, text: &str| {
        let mut container = container;
        container["name"] = json!("step-a");
        let pod = pod(json!({"containers": [container]}));
        let contents = Contents {
            maps: BTreeMap::from([("there".into(), Some(Values::new())), ("gone".into(), None)]),
            secrets: BTreeMap::from([("there".into(), Some(Values::new())), ("gone".into(), None)]),
            ..Contents::default()
        };
        let error = build::order(&pod, &contents).err().map(|e| (e.container, e.message));
        assert_eq!(error, Some((Some("step-a".to_owned()), text.to_owned())));
    };
    let env = |from: Value| json!({"env": [{"name": "E", "valueFrom": from}]});
    check(env(json!({"secretKeyRef": {"name": "gone", "key": "k"}})), "secret \"gone\" not found");
    check(env(json!({"configMapKeyRef": {"name": "gone", "key": "k"}})), "configmap \"gone\" not found");
    let text = "couldn't find key k in Secret ns/there";
    check(env(json!({"secretKeyRef": {"name": "there", "key": "k"}})), text);
    let text = "couldn't find key k in ConfigMap ns/there";
    check(env(json!({"configMapKeyRef": {"name": "there", "key": "k"}})), text);
    check(json!({"envFrom": [{"secretRef": {"name": "gone"}}]}), "secret \"gone\" not found");
}

#[test]
fn optional_references_may_be_missing() {
    let pod = pod(json!({
        "containers": [{"name": "step-a", "env": [
            {"name": "E", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
        ], "envFrom": [{"configMapRef": {"name": "gone", "optional": true}}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "gone", "optional": true}}],
    }));
    let order = build::order(&pod, &Contents::default()).unwrap();
    assert!(matches!(&order.volumes["v"], Volume::Files { files, .. } if files.is_empty()));
}

#[test]
fn variables_expand_and_fields_and_resources_are_known() {
    let pod = pod(json!({"containers": [{
        "name": "step-a",
        "args": ["$(A)", "$$(A)", "$(NONE)", "$HOME $", "$(S)"],
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)$(C)"},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['l']"}}},
            {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        ],
    }]}));
    let order = lowered(&pod).unwrap();
    let step = &order.pod.spec.as_ref().unwrap().containers[0];
    assert_eq!(step.args.as_deref().unwrap(), ["1", "$(A)", "$(NONE)", "$HOME $", "$(S)"]);
    let env: Vec<_> =
        step.env.iter().flatten().map(|e| (e.name.as_str(), e.value.as_deref().unwrap())).collect();
    assert_eq!(env, [("A", "1"), ("B", "1$(C)"), ("C", "v"), ("D", "2"), ("E", "64")]);
    assert_eq!(order.secret_env["step-a"]["S"], "value");
}

#[test]
fn quantities_and_machine_sizes() {
    let cases =
        [("1", 1000), ("100m", 100), ("1.5", 1500), ("2Ki", 2_048_000), ("1k", 1_000_000), ("1e2", 100_000)];
    for (text, milli) in cases {
        assert_eq!(size::milli(text), Some(milli), "{text}");
    }
    for text in ["", "x", "1x", "m", "1e"] {
        assert_eq!(size::milli(text), None, "{text}");
    }
    let request = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}});
    let pod =
        json!({"spec": {"containers": [request("100m"), request("1")], "initContainers": [request("2")]}});
    let machine = size::machine(&pod);
    assert_eq!((machine.millicpu, machine.memory), (2000, 2 << 20));
}

#[test]
fn a_path_cannot_leave_its_volume() {
    for path in ["../x", "/x", "a/../b", ""] {
        let volume =
            json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "key", "path": path}]}});
        let error = lowered(&pod(json!({"volumes": [volume]}))).unwrap_err();
        assert!(error.message.contains("must be relative"), "{path}: {}", error.message);
    }
}

#[test]
fn pull_secrets_become_credentials_by_registry() {
    let config = br#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "r.example": {"username": "a", "password": "b"}}}"#;
    let contents = Contents {
        secrets: BTreeMap::from([(
            "pull".into(),
            Some(Values::from([(".dockerconfigjson".to_owned(), config.to_vec())])),
        )]),
        pull_secrets: vec!["gone".into(), "pull".into()],
        ..Contents::default()
    };
    let auths = build::registry_auth(&contents).unwrap();
    let of = |host: &str| (auths[host].username.as_str(), auths[host].password.as_str());
    assert_eq!((of("docker.io"), of("r.example")), (("u", "p"), ("a", "b")));
}

#[test]
fn the_table_in_the_docs_is_the_table_in_the_code() {
    let docs = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md"));
    let from = docs.lines().skip_while(|line| !line.starts_with("| field of `spec` |"));
    let rows: Vec<&str> = from.skip(2).take_while(|line| line.starts_with('|')).collect();
    let table: Vec<String> = fields::TABLE
        .iter()
        .map(|(field, fate)| match fate {
            fields::Fate::Kept => format!("| `{field}` | kept | |"),
            fields::Fate::Lowered => format!("| `{field}` | lowered | |"),
            fields::Fate::Ignored(why) => format!("| `{field}` | ignored | {why} |"),
            fields::Fate::Refused(why) => format!("| `{field}` | refused | {why} |"),
        })
        .collect();
    assert_eq!(rows, table);
}
