//! The seams between a process and the world: clock, jobs, entropy, and requests to other processes.
//!
//! Everything a process may ask of the world goes through a [`Host`], cloned and passed by value. The real
//! implementations and the simulated ones (in `integration`) are behind the same four small traits.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};

/// A boxed future that may be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Wall-clock time in microseconds since 1970-01-01T00:00:00Z. May jump; differs from process to process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Utc(pub i64);

/// Microseconds since boot, counting suspend. Never stored and never sent to another process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Source of time.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn utc(&self) -> Utc;
    /// Monotonic time.
    fn mono(&self) -> Mono;
    /// Completes after `time` on the monotonic clock.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// Starts concurrent jobs that live as long as their process.
pub trait Jobs: Send + Sync {
    /// Starts `job`. It dies with its process: then it is dropped at an await.
    fn spawn(&self, name: &'static str, job: BoxFuture<'static, ()>);
}

/// Source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with unpredictable bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// Requests between our own processes: HTTP meaning, no framing.
pub trait Net: Send + Sync {
    /// Sends `request` to the process that serves `to` (an address as given to [`Net::serve`]).
    fn call(&self, to: &str, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, NetError>>;
    /// Serves `router` at `at` until the future is dropped.
    fn serve(&self, at: &str, router: Router) -> BoxFuture<'static, io::Result<()>>;
}

/// Why a call to another process has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetError {
    /// Nobody listens there: the peer has surely not acted.
    #[error("connection refused")]
    Refused,
    /// The connection broke: the peer may have acted.
    #[error("connection broken")]
    Broken,
    /// No answer in time: the peer may have acted, or may yet act.
    #[error("no answer in time")]
    TimedOut,
}

/// Everything a process may ask of the world.
#[derive(Clone)]
pub struct Host {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Concurrency.
    pub jobs: Arc<dyn Jobs>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Other processes of ours.
    pub net: Arc<dyn Net>,
}

/// The time given to [`Host::within`] ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("time ran out")]
pub struct Elapsed;

impl Host {
    /// Starts a named job.
    pub fn spawn(&self, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        self.jobs.spawn(name, Box::pin(job));
    }

    /// A fresh 128-bit id.
    pub fn id(&self) -> u128 {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A fresh id in the form of an RFC 9562 version 4 UUID, as Kubernetes objects carry.
    pub fn uuid(&self) -> String {
        let mut b = [0; 16];
        self.entropy.fill(&mut b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        uuid_text(b)
    }

    /// Runs `work` for at most `time`. An answer that is there when the time ends wins.
    ///
    /// # Errors
    /// [`Elapsed`] when `time` has passed first; `work` is dropped.
    pub async fn within<T>(&self, time: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        match race(work, self.clock.sleep(time)).await {
            Either::Left(value) => Ok(value),
            Either::Right(()) => Err(Elapsed),
        }
    }
}

/// A UUID's text.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.extend([byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
    }
    out
}

/// Which of two futures ended first.
pub enum Either<A, B> {
    /// The first one.
    Left(A),
    /// The second one.
    Right(B),
}

/// Waits for the first of two futures; the first one wins a tie, so the order is the same in every run.
pub async fn race<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Either<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(move |cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Either::Left(value)),
        Poll::Pending => b.as_mut().poll(cx).map(Either::Right),
    })
    .await
}
