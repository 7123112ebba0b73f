use serde_json::json;

use super::*;

fn spec(value: serde_json::Value) -> PodSpec {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_pod_gets_the_servers_that_it_can_reach() {
    let host = "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch a.example\n";
    assert_eq!(
        resolver_of(host, &spec(json!({"containers": []}))),
        "nameserver 10.0.0.2\nsearch a.example\n"
    );
    let own = json!({
        "containers": [],
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["192.0.2.1"],
            "searches": ["b.example"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
        },
    });
    let wanted = "nameserver 192.0.2.1\nsearch b.example\noptions ndots:2 edns0\n";
    assert_eq!(resolver_of(host, &spec(own)), wanted);
}
