use super::*;
use crate::memory::Memory;

#[tokio::test]
async fn a_process_finds_its_own_and_sends_others_on() {
    let (host, _jobs) = base::real::host();
    let directory = Directory::new(Memory::new(host.clock.clone()), host.clone());
    let home = |name: &str| HomeId::parse(name).unwrap();
    let tenant = |name: &str| TenantId::parse(name).unwrap();
    for (name, lives) in [("acme", "eu"), ("globex", "global"), ("initech", "in")] {
        directory.tenant_add(&tenant(name), &home(lives)).await.unwrap();
    }
    let elsewhere = BTreeMap::from([(home("eu"), "https://eu.example".to_owned())]);
    let homes = Homes::new(directory, host, [home("global")], elsewhere);
    for _ in 0..2 {
        let gateway = Some("https://eu.example".to_owned());
        assert_eq!(homes.find(&tenant("globex")).await, Ok(Found::Here(home("global"))));
        assert_eq!(homes.find(&tenant("acme")).await, Ok(Found::Elsewhere { home: home("eu"), gateway }));
        let unknown_way = Found::Elsewhere { home: home("in"), gateway: None };
        assert_eq!(homes.find(&tenant("initech")).await, Ok(unknown_way));
        assert_eq!(homes.find(&tenant("nobody")).await, Ok(Found::Nowhere));
    }
}
