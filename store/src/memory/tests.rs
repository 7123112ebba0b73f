use super::*;

const GRAIN: Duration = Duration::from_millis(50);

fn put(tenant: &str, name: &str) -> Op {
    let key = RowKey::new(Table::Object, format!("{tenant}/tasks"), name);
    Op::Put { key, pre: Pre::Any, owner: None, body: "1".into(), prev: None }
}

async fn commit(store: &Memory, id: u128, ops: Vec<Op>) -> Revision {
    store.txn(Txn { id: RequestId(id), name: "test", ops }).await.unwrap().revisions[0]
}

/// Two tenants' commits of one moment, unless the clock has just gone on between them.
async fn of_two_tenants(store: &Memory, id: u128) -> (Revision, Revision) {
    let (a, b) = (format!("a{id}"), format!("b{id}"));
    (commit(store, id, vec![put(&a, "x")]).await, commit(store, id + 1, vec![put(&b, "x")]).await)
}

#[tokio::test]
async fn revisions_of_different_tenants_may_be_equal_and_of_one_tenant_never() {
    let (host, _jobs) = base::real::host();
    let store = Memory::loose(host.clock.clone(), GRAIN);
    let mut equal = 0;
    for n in 0..50 {
        let (a, b) = of_two_tenants(&store, n * 10).await;
        equal += i32::from(a == b);
        let again = commit(&store, n * 10 + 2, vec![put(&format!("a{}", n * 10), "y")]).await;
        assert!(again > a);
    }
    assert!(equal > 10, "only {equal} of 50 are equal");
}

#[tokio::test]
async fn nothing_commits_where_somebody_has_read() {
    let (host, _jobs) = base::real::host();
    let store = Memory::loose(host.clock.clone(), GRAIN);
    for n in 0..20 {
        let read = store.snapshot(At::Latest, Vec::new()).await.unwrap().revision;
        let (a, b) = of_two_tenants(&store, n * 10).await;
        assert!(a > read && b > read);
    }
}

#[tokio::test]
async fn the_strict_model_gives_each_transaction_a_time_of_its_own() {
    let (host, _jobs) = base::real::host();
    let store = Memory::new(host.clock.clone());
    let (a, b) = of_two_tenants(&store, 1).await;
    assert!(b > a);
}
