//! Mistakes that are made on purpose, one of each class, to see that the checkers find them. They are wrappers around
//! seams: the product's own code is as it is.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use base::host::{BoxFuture, Entropy, Host, Net, NetError};
use http::{Request, Response};
use http_body_util::BodyExt;
use protocol::message::{HELLO, HelloAnswer, START, StartAnswer};
use store::backend::{Changes, Op, Pre, Table, Txn, TxnError};

use super::{World, locked};

/// A mistake that is made on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// None.
    Nothing,
    /// Agents start without asking at the start gate.
    GateSkipped,
    /// The start gate does not wait for who wins, start or revocation: its write is not conditional.
    RevocationNotAwaited,
    /// A machine that boots again goes on where it was, under the name of its first boot.
    RebootBurnForgotten,
    /// Now and then a reader of the log is not shown an entry.
    LogRowDropped,
    /// A cell writes about a run although it was placed anew meanwhile.
    EpochNotChecked,
    /// A commit of which nobody knows whether it was done is taken for one that was refused.
    UnknownIsFailure,
    /// Now and then a transaction is done without the Due row in it.
    DueDropped,
}

impl Plant {
    /// All of them, with names.
    pub const ALL: [(&'static str, Plant); 7] = [
        ("gate skipped", Plant::GateSkipped),
        ("revocation not awaited", Plant::RevocationNotAwaited),
        ("reboot burn forgotten", Plant::RebootBurnForgotten),
        ("log row dropped", Plant::LogRowDropped),
        ("epoch not checked", Plant::EpochNotChecked),
        ("unknown commit taken for failure", Plant::UnknownIsFailure),
        ("due row dropped", Plant::DueDropped),
    ];

    /// What the mistake does to a transaction before it reaches the store.
    pub fn sent(self, world: &World, txn: &mut Txn) {
        match self {
            Plant::RevocationNotAwaited if txn.name == "attempt_start" => txn.ops.iter_mut().for_each(blind),
            Plant::EpochNotChecked if txn.name == "run_apply" => txn.ops.iter_mut().for_each(blind),
            Plant::DueDropped => {
                for op in &mut txn.ops {
                    if let Op::Put { key, .. } = op
                        && key.table == Table::Due
                        && world.fault(12)
                    {
                        world.note("planted", &key.key);
                        *op = Op::Check { key: key.clone(), pre: Pre::Any };
                    }
                }
            }
            _ => {}
        }
    }

    /// What the mistake makes of an answer.
    pub fn answered(self, world: &World, error: TxnError) -> TxnError {
        if self == Plant::UnknownIsFailure && error == TxnError::Unknown {
            world.note("planted", "");
            return TxnError::Conflict { op: 0, current: None };
        }
        error
    }

    /// What the mistake leaves of a part of the log.
    pub fn shown(self, changes: &mut Changes) {
        if self == Plant::LogRowDropped {
            changes.changes.retain(|change| change.revision.micros() % 16 != 0);
        }
    }
}

fn blind(op: &mut Op) {
    if let Op::Put { pre, .. } | Op::Delete { pre, .. } | Op::Check { pre, .. } = op
        && *pre != Pre::Absent
    {
        *pre = Pre::Any;
    }
}

/// What a machine keeps over its boots.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// The random bytes of its first boot.
    first: Option<u128>,
    /// The Order that it got.
    order: Option<Vec<u8>>,
}

/// The world of an agent that makes the mistake.
pub fn agent(plant: Plant, disk: &Disk, mut host: Host) -> Host {
    match plant {
        Plant::GateSkipped => host.net = Arc::new(GateSkipped(host.net.clone())),
        Plant::RebootBurnForgotten => {
            let first = *locked(&disk.0).first.get_or_insert_with(|| host.id());
            host.entropy = Arc::new(FirstBoot { first, inner: host.entropy.clone(), used: Mutex::new(0) });
            host.net = Arc::new(Remembers { disk: disk.clone(), inner: host.net.clone() });
        }
        _ => {}
    }
    host
}

/// A network in which the start gate always says go, without being asked.
struct GateSkipped(Arc<dyn Net>);

impl Net for GateSkipped {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, NetError>> {
        if request.uri().path() == START {
            return answer(serde_json::to_vec(&StartAnswer::Go).unwrap_or_default());
        }
        self.0.call(to, request)
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, std::io::Result<()>> {
        self.0.serve(at, router)
    }
}

fn answer(body: Vec<u8>) -> BoxFuture<'static, Result<Response<Body>, NetError>> {
    Box::pin(async move { Ok(Response::new(Body::from(body))) })
}

/// The second id that an agent draws in a boot (the first is for the checkers) is its nonce: here always the same.
struct FirstBoot {
    first: u128,
    inner: Arc<dyn Entropy>,
    used: Mutex<u32>,
}

impl Entropy for FirstBoot {
    fn fill(&self, bytes: &mut [u8]) {
        let mut used = locked(&self.used);
        *used += 1;
        if *used == super::cloud::NONCE_DRAW && bytes.len() == 16 {
            bytes.copy_from_slice(&self.first.to_le_bytes());
        } else {
            self.inner.fill(bytes);
        }
    }
}

/// A network in which an Order, once given, is given again.
struct Remembers {
    disk: Disk,
    inner: Arc<dyn Net>,
}

impl Net for Remembers {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, NetError>> {
        if request.uri().path() != HELLO {
            return self.inner.call(to, request);
        }
        if let Some(order) = locked(&self.disk.0).order.clone() {
            return answer(order);
        }
        let (disk, asked) = (self.disk.clone(), self.inner.call(to, request));
        Box::pin(async move {
            let (parts, body) = asked.await?.into_parts();
            let bytes = body.collect().await.map_err(|_| NetError::Broken)?.to_bytes();
            if let Ok(HelloAnswer::Order(_)) = serde_json::from_slice(&bytes) {
                locked(&disk.0).order = Some(bytes.to_vec());
            }
            Ok(Response::from_parts(parts, Body::from(bytes)))
        })
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, std::io::Result<()>> {
        self.inner.serve(at, router)
    }
}
