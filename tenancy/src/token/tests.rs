use base64::Engine;

use super::*;

const NOW: i64 = 1_900_000_000_000_000;
const HOUR: i64 = 3600;

fn caller() -> Caller {
    Caller {
        tenant: TenantId::parse("acme").unwrap(),
        user: "ann".into(),
        groups: vec!["builders".into()],
        role: Role::Editor,
    }
}

fn part(token: &str, index: usize) -> String {
    token.split('.').nth(index).unwrap().to_owned()
}

fn encode(text: &str) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn what_is_issued_is_believed_until_it_expires() {
    let keys = KeySet::new([7; 32]);
    let token = keys.issue(&caller(), "gateway", NOW, HOUR).unwrap();
    assert_eq!(keys.verify(&token, "gateway", NOW).unwrap().0, caller());
    let late = NOW + (HOUR + SKEW_S) * 1_000_000;
    assert_eq!(keys.verify(&token, "gateway", late), Err(Unauthenticated::Expired));
    let early = NOW - (SKEW_S + 1) * 1_000_000;
    assert_eq!(keys.verify(&token, "gateway", early), Err(Unauthenticated::NotYet));
    assert_eq!(keys.verify(&token, "cell", NOW), Err(Unauthenticated::Audience));
}

#[test]
fn a_rotated_key_is_still_believed_a_foreign_one_never() {
    let mut keys = KeySet::new([7; 32]);
    let token = keys.issue(&caller(), "gateway", NOW, HOUR).unwrap();
    keys.rotate([8; 32]);
    assert!(keys.verify(&token, "gateway", NOW).is_ok());
    let foreign = KeySet::new([9; 32]).issue(&caller(), "gateway", NOW, HOUR).unwrap();
    assert_eq!(keys.verify(&foreign, "gateway", NOW), Err(Unauthenticated::UnknownKey));
}

#[test]
fn an_operator_is_no_user_and_a_user_no_operator() {
    let keys = KeySet::new([7; 32]);
    let operator = Operator { user: "olga".into() };
    let token = keys.issue_operator(&operator, "gateway", NOW, HOUR).unwrap();
    assert_eq!(keys.verify_operator(&token, "gateway", NOW), Ok(operator));
    assert!(keys.verify(&token, "gateway", NOW).is_err());
    assert_eq!(keys.verify_operator(&token, "other", NOW), Err(Unauthenticated::Audience));
    let users = keys.issue(&caller(), "gateway", NOW, HOUR).unwrap();
    assert_eq!(keys.verify_operator(&users, "gateway", NOW), Err(Unauthenticated::Forged));
}

#[test]
fn forgeries_are_not_believed() {
    let keys = KeySet::new([7; 32]);
    let token = keys.issue(&caller(), "gateway", NOW, HOUR).unwrap();
    let (header, body, signature) = (part(&token, 0), part(&token, 1), part(&token, 2));
    let none = encode("{\"alg\":\"none\",\"typ\":\"JWT\"}");
    let hmac = encode(&format!("{{\"alg\":\"HS256\",\"kid\":\"{}\"}}", keys.active));
    let other = encode("{\"iss\":\"cella\",\"aud\":\"gateway\",\"sub\":\"ann\",\"tenant\":\"globex\"}");
    for forged in [
        format!("{none}.{body}."),
        format!("{hmac}.{body}.{signature}"),
        format!("{header}.{other}.{signature}"),
        format!("{header}.{body}"),
        "é".repeat(100),
        "a".repeat(100_000),
        String::new(),
    ] {
        assert!(keys.verify(&forged, "gateway", NOW).is_err(), "{}", &forged[..forged.len().min(60)]);
    }
}
