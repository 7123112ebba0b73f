use super::*;
use crate::fault::{Faults, Faulty};
use crate::memory::Memory;

fn directory(faults: Faults) -> Directory {
    let (host, _jobs) = base::real::host();
    let store = Memory::new(host.clock.clone());
    Directory::new(Faulty::new(store, host.clone(), faults), host)
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn home(name: &str) -> HomeId {
    HomeId::parse(name).unwrap()
}

#[tokio::test]
async fn a_tenant_lives_in_one_home() {
    let directory = directory(Faults::NONE);
    assert_eq!(directory.home_of(&tenant("acme")).await.unwrap(), None);
    directory.tenant_add(&tenant("acme"), &home("eu")).await.unwrap();
    directory.tenant_add(&tenant("acme"), &home("eu")).await.unwrap();
    let elsewhere = directory.tenant_add(&tenant("acme"), &home("global")).await;
    assert_eq!(elsewhere, Err(DirectoryError::Taken("tenant acme".into(), "eu".into())));
    assert_eq!(directory.home_of(&tenant("acme")).await.unwrap(), Some(home("eu")));
}

#[tokio::test]
async fn an_issuer_speaks_for_its_tenants_with_its_audience_only() {
    let directory = directory(Faults::NONE);
    for name in ["acme", "globex"] {
        directory.issuer_add("https://id.example", "cella", &tenant(name)).await.unwrap();
    }
    directory.issuer_add("https://id.example", "cella2", &tenant("other")).await.unwrap();
    directory.issuer_add("https://id.example/x", "cella", &tenant("another")).await.unwrap();
    let found = directory.issuer_tenants("https://id.example", "cella").await.unwrap();
    assert_eq!(found, [tenant("acme"), tenant("globex")]);
    assert_eq!(directory.issuer_tenants("https://id", "cella").await.unwrap(), []);
    let bad = directory.issuer_add("https://id.example cella", "x", &tenant("evil")).await;
    assert!(matches!(bad, Err(DirectoryError::Name(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_means_one_tenant_whatever_the_store_does() {
    let faults = Faults { away_every: Duration::ZERO, read: 0, ..Faults::MANY };
    for _ in 0..10 {
        let directory = directory(faults);
        directory.host_add("acme.example", &tenant("acme")).await.unwrap();
        assert_eq!(directory.host_tenant("acme.example").await.unwrap(), Some(tenant("acme")));
        assert!(directory.host_add("acme.example", &tenant("globex")).await.is_err());
    }
}
