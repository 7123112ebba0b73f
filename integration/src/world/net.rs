//! Messages between processes: they take time, they are lost, late or doubled, and links can be cut. An answer that
//! is a stream is pumped piece by piece; it breaks with its server, and with the link.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use base::host::{BoxFuture, Either, Net, NetError, race};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use rand::Rng;
use tokio::sync::{mpsc, oneshot};

use super::seat::Seat;
use super::{HUB, NodeId, Place, World};

/// A message takes so long, µs.
const HOP_US: (u64, u64) = (50, 1500);
/// A late message takes up to this, µs.
const LATE_MAX_US: u64 = 20_000_000;
/// Who sent a message that is lost gives up after this, µs.
const GIVE_UP_US: (u64, u64) = (2_000_000, 15_000_000);

type Answer = Result<Response<Body>, NetError>;

impl Net for Seat {
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Answer> {
        let (world, to, from) = (self.world.clone(), to.to_owned(), self.node);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.map_err(|_| NetError::Broken)?.to_bytes();
            let (answer, answered) = oneshot::channel();
            world.send(from, &to, Message { parts, bytes }, answer);
            // Whoever was to answer has died with the question.
            answered.await.unwrap_or(Err(NetError::Broken))
        })
    }

    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, io::Result<()>> {
        let (world, node, life, at) = (self.world.clone(), self.node, self.life, at.to_owned());
        Box::pin(async move {
            let old: Vec<_> = {
                let mut state = world.state();
                let living = state.nodes[node].up && state.nodes[node].life == life;
                let served = state.services.entry(at).or_default();
                let old = served.extract_if(.., |(other, _)| *other == node).collect();
                if living {
                    served.push((node, router));
                }
                old
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

    /// Nothing gets through between two places, or everything again.
    pub fn set_cut(&self, a: Place, b: Place, cut: bool) {
        let pair = (a.min(b), a.max(b));
        let mut state = self.state();
        if cut {
            state.cuts.insert(pair);
        } else {
            state.cuts.remove(&pair);
        }
    }

    /// Nothing reaches a process, or everything again.
    pub fn set_alone(&self, node: NodeId, alone: bool) {
        self.state().nodes[node].alone = alone;
    }

    /// A message gets from one process to another.
    pub fn connected(&self, a: NodeId, b: NodeId) -> bool {
        let state = self.state();
        let (a, b) = (&state.nodes[a], &state.nodes[b]);
        !a.alone && !b.alone && !state.cuts.contains(&(a.place.min(b.place), a.place.max(b.place)))
    }

    /// A process reaches the store.
    pub fn reaches_store(&self, node: NodeId) -> bool {
        let state = self.state();
        let Some(node) = state.nodes.get(node) else { return false };
        !state.store_away && !node.alone && !state.cuts.contains(&(HUB, node.place))
    }

    fn send(self: &Arc<Self>, from: NodeId, to: &str, message: Message, answer: oneshot::Sender<Answer>) {
        let mut hop = self.hop_us();
        if self.fault(self.weather().message) {
            let what = format!("{} {} to {to}", message.parts.method, message.parts.uri.path());
            match self.draw_us(0, 4) {
                0 => {
                    self.note("message lost", &what);
                    return self.give_up(answer, NetError::TimedOut);
                }
                1 => {
                    self.note("answer lost", &what);
                    let (unheard, _) = oneshot::channel();
                    let to = to.to_owned();
                    self.after(hop, move |world| world.deliver(from, &to, message, unheard));
                    return self.give_up(answer, NetError::Broken);
                }
                // A client's connection delivers nothing twice; our own processes repeat themselves.
                2 if self.doubles(from) => {
                    self.note("message doubled", &what);
                    let (twice, again) = (self.draw_us(0, LATE_MAX_US), message.clone());
                    let (unheard, _) = oneshot::channel();
                    let to = to.to_owned();
                    self.after(twice, move |world| world.deliver(from, &to, again, unheard));
                }
                _ => {
                    self.note("message late", &what);
                    hop = self.draw_us(hop, LATE_MAX_US);
                }
            }
        }
        let to = to.to_owned();
        self.after(hop, move |world| world.deliver(from, &to, message, answer));
    }

    fn doubles(&self, from: NodeId) -> bool {
        self.state().nodes[from].place != HUB
    }

    fn give_up(&self, answer: oneshot::Sender<Answer>, why: NetError) {
        let wait = self.draw_us(GIVE_UP_US.0, GIVE_UP_US.1);
        self.after(wait, move |_| drop(answer.send(Err(why))));
    }

    fn deliver(self: &Arc<Self>, from: NodeId, to: &str, message: Message, answer: oneshot::Sender<Answer>) {
        let service = {
            let mut state = self.state();
            let count = state.services.get(to).map_or(0, Vec::len);
            // Replicas behind one address: any of them.
            let pick = if count > 1 { state.fault.random_range(0..count) } else { 0 };
            let found = state.services.get(to).and_then(|all| all.get(pick)).cloned();
            found.map(|(node, router)| (node, state.nodes[node].life, router))
        };
        let back = self.hop_us();
        let Some((node, life, router)) = service else {
            if let Some(cold) = self.called(to) {
                let to = to.to_owned();
                return self.after(cold, move |world| world.deliver(from, &to, message, answer));
            }
            return self.after(back, move |_| drop(answer.send(Err(NetError::Refused))));
        };
        if !self.connected(from, node) {
            self.note("message cut off", to);
            return self.give_up(answer, NetError::TimedOut);
        }
        let request = Request::from_parts(message.parts, Body::from(message.bytes));
        let world = self.clone();
        let work = Box::pin(async move {
            let response = match tower::ServiceExt::oneshot(router, request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let (parts, body) = response.into_parts();
            let known = body.size_hint().exact().is_some();
            let (body, stream) = if known {
                (body.collect().await.map(|whole| Body::from(whole.to_bytes())).unwrap_or_default(), None)
            } else {
                let (sender, pieces) = mpsc::unbounded_channel();
                (stream_of(pieces), Some((body, sender)))
            };
            let response = Response::from_parts(parts, body);
            if !world.connected(from, node) {
                world.note("answer cut off", "");
                return world.give_up(answer, NetError::Broken);
            }
            world.after(back, move |_| drop(answer.send(Ok(response))));
            if let Some((body, sender)) = stream {
                world.pump(from, node, body, sender).await;
            }
        });
        self.spawn(node, life, "request", work);
    }

    /// Sends a stream on, piece by piece and in order, until it ends, or breaks, or nobody listens.
    async fn pump(
        self: Arc<Self>,
        from: NodeId,
        node: NodeId,
        body: Body,
        sender: mpsc::UnboundedSender<Piece>,
    ) {
        let (mut arrives_us, mut pieces) = (0, body.into_data_stream());
        loop {
            let Either::Left(next) = race(pieces.next(), sender.closed()).await else { return };
            let piece = match next {
                None => Piece::End,
                Some(Ok(bytes)) => Piece::Bytes(bytes),
                Some(Err(_)) => return,
            };
            if !self.connected(from, node) {
                self.note("stream cut off", "");
                return;
            }
            if self.fault(self.weather().stream) {
                self.note("stream broken", "");
                return;
            }
            arrives_us = (self.now_us() + self.hop_us()).max(arrives_us);
            let (over, sender) = (matches!(piece, Piece::End), sender.clone());
            self.after(arrives_us - self.now_us(), move |_| drop(sender.send(piece)));
            if over {
                return;
            }
        }
    }
}

enum Piece {
    Bytes(Bytes),
    End,
}

/// A stream at its receiver. One that stops without its end is broken.
fn stream_of(pieces: mpsc::UnboundedReceiver<Piece>) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => None,
            None => Some((Err(NetError::Broken), None)),
        }
    }))
}
