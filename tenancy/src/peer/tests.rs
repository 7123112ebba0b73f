use base64::Engine;

use super::*;

const NOW: i64 = 1_900_000_000_000_000;
const WHAT: &str = "POST /cell/v1/wake";

fn cell(name: &str) -> Peer {
    Peer::Cell(CellId::parse(name).unwrap())
}

fn gateway() -> Identity {
    Identity::new(Peer::Gateway, [1; 32])
}

fn trust(of: &[&Identity]) -> Trust {
    let mut trust = Trust::default();
    of.iter().for_each(|identity| trust.add(identity).unwrap());
    trust
}

#[test]
fn a_call_is_believed_by_its_peer_for_its_request_and_for_a_minute() {
    let trust = trust(&[&gateway()]);
    let token = gateway().call(&cell("a"), WHAT, "n", NOW).unwrap();
    let call = trust.verify_call(&token, &cell("a"), WHAT, NOW).unwrap();
    assert_eq!((call.from, call.nonce.as_str()), (Peer::Gateway, "n"));
    assert_eq!(trust.verify_call(&token, &cell("b"), WHAT, NOW), Err(Unauthenticated::Audience));
    let other = trust.verify_call(&token, &cell("a"), "GET /cell/v1/logs/acme", NOW);
    assert_eq!(other, Err(Unauthenticated::Audience));
    let at = |s: i64| trust.verify_call(&token, &cell("a"), WHAT, NOW + s * 1_000_000).map(|call| call.from);
    assert_eq!(at(CALL_LIFE_S + SKEW_S - 1), Ok(Peer::Gateway));
    assert_eq!(at(CALL_LIFE_S + SKEW_S), Err(Unauthenticated::Expired));
    assert_eq!(at(-SKEW_S - 1), Err(Unauthenticated::NotYet));
}

#[test]
fn a_proof_holds_for_one_cell_one_call_and_one_status() {
    let (a, b) = (Identity::new(cell("a"), [2; 32]), Identity::new(cell("b"), [3; 32]));
    let trust = trust(&[&a, &b]);
    let holds = |token: &str, from: &str, status, nonce| {
        trust.verify_proof(token, &cell(from), &Peer::Gateway, (status, nonce), NOW).is_ok()
    };
    let proof = a.proof(&Peer::Gateway, 200, "n", NOW).unwrap();
    assert!(holds(&proof, "a", 200, "n"));
    assert!(!holds(&proof, "b", 200, "n"));
    assert!(!holds(&proof, "a", 404, "n"));
    assert!(!holds(&proof, "a", 200, "m"));
    assert!(!holds(&b.proof(&Peer::Gateway, 200, "n", NOW).unwrap(), "a", 200, "n"));
    // What one cell says to a gateway is no call, and a call is no proof.
    let call = a.call(&Peer::Gateway, "200", "n", NOW).unwrap();
    assert!(!holds(&call, "a", 200, "n"));
    assert!(trust.verify_call(&proof, &Peer::Gateway, "200", NOW).is_err());
}

#[test]
fn nobody_poses_as_somebody_else() {
    let thief = Identity { peer: Peer::Gateway, key: Identity::new(cell("a"), [2; 32]).key };
    let trust = trust(&[&gateway(), &Identity::new(cell("a"), [2; 32])]);
    let token = thief.call(&cell("b"), WHAT, "n", NOW).unwrap();
    assert_eq!(trust.verify_call(&token, &cell("b"), WHAT, NOW), Err(Unauthenticated::Forged));
    let stranger = Identity::new(Peer::Gateway, [9; 32]).call(&cell("a"), WHAT, "n", NOW).unwrap();
    assert_eq!(trust.verify_call(&stranger, &cell("a"), WHAT, NOW), Err(Unauthenticated::UnknownKey));
}

#[test]
fn forged_tokens_are_not_believed() {
    let trust = trust(&[&gateway()]);
    let good = gateway().call(&cell("a"), WHAT, "n", NOW).unwrap();
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let parts: Vec<&str> = good.split('.').collect();
    let none = encode(&format!("{{\"alg\":\"none\",\"typ\":\"{CALL}\"}}"));
    let claims =
        encode("{\"iss\":\"gateway\",\"aud\":\"cell/b\",\"sub\":\"x\",\"jti\":\"n\",\"iat\":1,\"exp\":2}");
    for forged in [
        format!("{none}.{}.", parts[1]),
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        String::new(),
        "a.b.c".into(),
        "x".repeat(100_000),
    ] {
        assert!(trust.verify_call(&forged, &cell("a"), WHAT, NOW).is_err(), "{forged:.40}");
    }
}

#[test]
fn an_identity_shows_no_key() {
    assert!(!format!("{:?}", gateway()).contains("0101"));
}

#[test]
fn versions_one_apart_agree_and_others_are_told() {
    assert_eq!(agree(None), Ok(1));
    assert_eq!(agree(Some("1")), Ok(1));
    assert_eq!(agree(Some("2")), Ok(2));
    assert_eq!(agree(Some("3")), Ok(2));
    for unknown in ["0", "4", "x", ""] {
        assert!(agree(Some(unknown)).unwrap_err().contains("versions 1 to 2"), "{unknown}");
    }
}
