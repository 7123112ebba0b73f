use serde_json::json;

use super::*;

fn secret() -> Value {
    json!({"metadata": {"namespace": "ns"}, "data": {"a": "aHVudGVyMg==", "b": ""}})
}

fn counter() -> impl FnMut(&mut [u8]) {
    let mut n = 0_u8;
    move |bytes| {
        n += 1;
        bytes.fill(n);
    }
}

#[test]
fn what_is_sealed_opens_in_its_place_only() {
    let vault = Vault::new(&[1; 32]);
    let mut sealed = secret();
    vault.seal("acme", &mut sealed, counter()).unwrap();
    assert!(!sealed.to_string().contains("aHVudGVyMg"));
    let again = sealed.clone();
    vault.seal("acme", &mut sealed, counter()).unwrap();
    assert_eq!(sealed, again, "sealing twice changes nothing");
    let mut open = sealed.clone();
    vault.open("acme", &mut open).unwrap();
    assert_eq!(open, secret());
    assert!(vault.open("globex", &mut sealed.clone()).is_err());
    assert!(Vault::new(&[2; 32]).open("acme", &mut sealed.clone()).is_err());
    let mut moved = sealed.clone();
    moved["data"]["b"] = moved["data"]["a"].clone();
    assert!(vault.open("acme", &mut moved).is_err());
}

#[test]
fn damaged_values_are_refused() {
    let vault = Vault::new(&[1; 32]);
    for text in ["cella-vault-1:", "cella-vault-1:AAAA", "cella-vault-1:!"] {
        let mut damaged = json!({"data": {"a": text}});
        assert_eq!(vault.open("acme", &mut damaged), Err(VaultError::Closed("a".into())));
    }
}
