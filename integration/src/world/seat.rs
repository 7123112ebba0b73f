//! A process's view of the world: clock, jobs, entropy and net.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base::host::{BoxFuture, Clock, Entropy, Host, Jobs, Mono, Net, NetError, Utc};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use rand::RngCore;
use tokio::sync::oneshot;

use super::{EPOCH_US, NodeId, What, World};

/// A message takes so long, µs.
const HOP_US: (u64, u64) = (50, 1500);
/// One message in so many meets a fault.
const FAULTY: u32 = 25;
/// A late message takes up to this, µs.
const LATE_MAX_US: u64 = 20_000_000;
/// Who sent a message that is lost gives up after this, µs.
const GIVE_UP_US: (u64, u64) = (2_000_000, 15_000_000);

type Answer = Result<Response<Body>, NetError>;

/// One life of one process.
struct Seat {
    world: Arc<World>,
    node: NodeId,
    life: u32,
}

impl World {
    /// What the process `node` may ask in its present life.
    pub fn host(self: &Arc<Self>, node: NodeId) -> Host {
        let life = self.state().nodes[node].life;
        let seat = Arc::new(Seat { world: self.clone(), node, life });
        Host { clock: seat.clone(), jobs: seat.clone(), entropy: seat.clone(), net: seat }
    }
}

impl Clock for Seat {
    fn utc(&self) -> Utc {
        let state = self.world.state();
        let skew = state.nodes.get(self.node).map_or(0, |node| node.skew_us);
        Utc(EPOCH_US + i64::try_from(state.now_us).unwrap_or(i64::MAX) + skew)
    }

    fn mono(&self) -> Mono {
        let state = self.world.state();
        Mono(state.now_us - state.nodes.get(self.node).map_or(0, |node| node.booted_us))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at_us = self.world.now_us().saturating_add(micros);
        Box::pin(Sleep { world: self.world.clone(), at_us, key: None })
    }
}

/// Ends at an instant.
struct Sleep {
    world: Arc<World>,
    at_us: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.state();
        let old = self.key.and_then(|key| state.queue.remove(&key));
        if state.now_us >= self.at_us {
            self.key = None;
            drop(state);
            drop(old);
            return Poll::Ready(());
        }
        let left = self.at_us - state.now_us;
        let key = state.key(left);
        state.queue.insert(key, What::Wake(cx.waker().clone()));
        self.key = Some(key);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.key.and_then(|key| self.world.state().queue.remove(&key));
        drop(waker);
    }
}

impl Jobs for Seat {
    fn spawn(&self, name: &'static str, job: BoxFuture<'static, ()>) {
        self.world.spawn(self.node, self.life, name, job);
    }
}

impl Entropy for Seat {
    fn fill(&self, bytes: &mut [u8]) {
        if let Some(node) = self.world.state().nodes.get_mut(self.node) {
            node.entropy.fill_bytes(bytes);
        }
    }
}

impl Net for Seat {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Answer> {
        let (world, to) = (self.world.clone(), to.to_owned());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.map_err(|_| NetError::Broken)?.to_bytes();
            let (answer, answered) = oneshot::channel();
            world.send(&to, Message { parts, bytes }, answer);
            // Whoever was to answer has died with the question.
            answered.await.unwrap_or(Err(NetError::Broken))
        })
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, io::Result<()>> {
        let (world, node, life, at) = (self.world.clone(), self.node, self.life, at.to_owned());
        Box::pin(async move {
            let old = {
                let mut state = world.state();
                let living = state.nodes[node].up && state.nodes[node].life == life;
                if living { state.services.insert(at, (node, router)) } else { None }
            };
            drop(old);
            std::future::pending().await
        })
    }
}

#[derive(Clone)]
struct Message {
    parts: http::request::Parts,
    bytes: Bytes,
}

impl World {
    fn hop_us(&self) -> u64 {
        self.draw_us(HOP_US.0, HOP_US.1)
    }

    fn send(self: &Arc<Self>, to: &str, message: Message, answer: oneshot::Sender<Answer>) {
        let to = to.to_owned();
        let what = format!("{} {} to {to}", message.parts.method, message.parts.uri.path());
        let mut hop = self.hop_us();
        if self.fault(FAULTY) {
            let give_up = self.draw_us(GIVE_UP_US.0, GIVE_UP_US.1);
            match self.draw_us(0, 4) {
                0 => {
                    self.note("message lost", &what);
                    return self.after(give_up, move |_| drop(answer.send(Err(NetError::TimedOut))));
                }
                1 => {
                    self.note("answer lost", &what);
                    let (unheard, _) = oneshot::channel();
                    self.after(hop, move |world| world.deliver(&to, message, unheard));
                    return self.after(give_up, move |_| drop(answer.send(Err(NetError::Broken))));
                }
                2 => {
                    self.note("message doubled", &what);
                    let (twice, again, to) = (self.draw_us(0, LATE_MAX_US), message.clone(), to.clone());
                    let (unheard, _) = oneshot::channel();
                    self.after(twice, move |world| world.deliver(&to, again, unheard));
                }
                _ => {
                    self.note("message late", &what);
                    hop = self.draw_us(hop, LATE_MAX_US);
                }
            }
        }
        self.after(hop, move |world| world.deliver(&to, message, answer));
    }

    fn deliver(self: &Arc<Self>, to: &str, message: Message, answer: oneshot::Sender<Answer>) {
        let service = {
            let state = self.state();
            state.services.get(to).map(|(node, router)| (*node, state.nodes[*node].life, router.clone()))
        };
        let back = self.hop_us();
        let Some((node, life, router)) = service else {
            return self.after(back, move |_| drop(answer.send(Err(NetError::Refused))));
        };
        let request = Request::from_parts(message.parts, Body::from(message.bytes));
        let world = self.clone();
        let work = Box::pin(async move {
            let response = match tower::ServiceExt::oneshot(router, request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            world.after(back, move |_| drop(answer.send(Ok(response))));
        });
        self.spawn(node, life, "request", work);
    }
}
