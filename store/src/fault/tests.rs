use std::sync::Mutex;

use base::host::{Clock, Mono, Utc};

use super::*;
use crate::memory::Memory;

/// A clock that is moved by hand; who sleeps moves it.
#[derive(Default)]
struct ByHand(Arc<Mutex<u64>>);

impl Clock for ByHand {
    fn utc(&self) -> Utc {
        Utc(i64::try_from(self.mono().0).unwrap())
    }
    fn mono(&self) -> Mono {
        Mono(*self.0.lock().unwrap())
    }
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        *self.0.lock().unwrap() += u64::try_from(time.as_micros()).unwrap();
        Box::pin(std::future::ready(()))
    }
}

fn txn(id: u128) -> Txn {
    Txn { id: RequestId(id), name: "test", ops: Vec::new() }
}

#[tokio::test]
async fn an_outage_takes_minutes_of_the_hosts_clock_and_ends() {
    let now = Arc::new(Mutex::new(0));
    let (mut host, _jobs) = base::real::host();
    host.clock = Arc::new(ByHand(now.clone()));
    let store = Faulty::new(Memory::new(host.clock.clone()), host, Faults::OUTAGES);
    let minute = 60_000_000;
    for (at, away) in [(0, false), (17, false), (18, true), (19, true), (20, false), (38, true), (40, false)]
    {
        *now.lock().unwrap() = at * minute + 1;
        let read = store.snapshot(At::Latest, Vec::new()).await;
        assert_eq!(read.is_err(), away, "reading in minute {at}");
        let written = store.txn(txn(u128::from(at))).await;
        assert_eq!(written.is_err(), away, "writing in minute {at}");
        assert!(!matches!(written, Err(TxnError::Unknown)), "it says that nothing was done");
        assert_eq!(store.settle(RequestId(1000 + u128::from(at))).await.is_err(), away);
    }
    assert!(store.counts().any(|(fault, count)| fault == Fault::Away && count > 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_may_go_wrong_does() {
    let (host, _jobs) = base::real::host();
    let store = Faulty::new(Memory::new(host.clock.clone()), host.clone(), Faults::MANY);
    let mut bell = store.bell(Table::Cell, "cells");
    let all = async {
        let mut id = 0;
        while store.counts().any(|(_, count)| count == 0) {
            id += 1;
            let key = crate::backend::RowKey::new(Table::Cell, "cells", "a");
            let ops = vec![crate::backend::Op::Put {
                key,
                pre: crate::backend::Pre::Any,
                owner: None,
                body: "1".into(),
                prev: None,
            }];
            drop(store.txn(Txn { id: RequestId(id), name: "test", ops }).await);
            drop(store.snapshot(At::Latest, Vec::new()).await);
            let _ = host.within(Duration::from_millis(5), bell.rung()).await;
        }
    };
    let reached = host.within(Duration::from_secs(60), all).await;
    assert!(reached.is_ok(), "{:?}", store.counts().collect::<Vec<_>>());
}
