//! Placement by itself: how fast the pure function is on one core, and what becomes of 16 gateways that place against
//! views that are 2 s old.
//!
//! Two things are told apart. *Placing* chooses a cell from an old view; many gateways may choose the same one, and no
//! view can prevent that. *Scheduling* counts a machine in the cell's capacity, with the operation of the store that
//! the cells use, and only then makes it; what finds no room stands in line. So `over_capacity` is what scheduling must
//! keep at 0, and `waited_share`, `wait_p99_ms` and `line_max` say what the old views cost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use anyhow::{Context, Result};
use base::real::RealClock;
use futures_util::FutureExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use store::backend::{Backend, Op, RequestId, Txn, TxnError};
use store::memory::Memory;
use store::records::machine;
use tenancy::placement::{self, CellView, Request};
use tenancy::residency::Residency;

use crate::commands::Clock;

const CELLS: usize = 100;
const GATEWAYS: usize = 16;
const RUNS_PER_S: i64 = 10_000;
/// Simulated time in which runs come, µs.
const TIME_US: i64 = 25_000_000;
/// A run takes from, to, µs.
const TAKES_US: (i64, i64) = (5_000_000, 15_000_000);
/// Machines of each cell: runs keep 91 of 100 busy.
const MACHINES: u32 = 1100;
/// How old a gateway's view is, and how often it changes, µs.
const VIEW_AGE_US: i64 = 2_000_000;
const VIEW_STEP_US: i64 = 50_000;
const TIMED: u32 = 20_000;

struct Cell {
    name: String,
    running: u32,
    most: u32,
    line: VecDeque<i64>,
    longest: usize,
}

/// Measures and simulates; answers the figures.
///
/// # Errors
/// When a placement or the store fails.
pub fn run() -> Result<String> {
    let speed = speed()?;
    let world = Simulated::play()?;
    let mut waits = world.waits;
    let p99 = super::quantile(&mut waits, 0.99);
    let share = world.waited as f64 / world.placed as f64;
    let over = world.cells.iter().map(|cell| cell.most.saturating_sub(MACHINES)).max().unwrap_or(0);
    let longest = world.cells.iter().map(|cell| cell.longest).max().unwrap_or(0);
    let busiest = world.cells.iter().map(|cell| cell.most).max().unwrap_or(0);
    Ok(format!(
        "runs_per_second={:.0} over_capacity={over} wall_runs_per_second={:.0} cells={CELLS} gateways={GATEWAYS} \
         placed={} view_age_s=2 machines_max={MACHINES} busiest={busiest} waited_share={share:.4} \
         wait_p99_ms={p99:.0} line_max={longest}",
        speed.0, speed.1, world.placed
    ))
}

fn view(name: &str, index: usize, machines: u32) -> CellView {
    CellView {
        cell: name.to_owned(),
        region: format!("region-{}", index % 10),
        heard_us: 0,
        draining: false,
        machines,
        machines_max: MACHINES,
    }
}

fn anywhere() -> Result<Request> {
    Request::parse(&BTreeMap::new(), Residency::ANYWHERE).context("no annotations are a request")
}

/// Placements per second of this thread's time on a core, and of the clock's.
fn speed() -> Result<(f64, f64)> {
    let mut rng = SmallRng::seed_from_u64(1);
    let cells: Vec<_> =
        (0..CELLS).map(|n| view(&format!("cell-{n}"), n, rng.random_range(0..MACHINES))).collect();
    let request = anywhere()?;
    let (began, spent) = (Clock::now(), on_core_ns()?);
    for _ in 0..TIMED {
        std::hint::black_box(placement::place(&request, &cells, 0, rng.random())?);
    }
    let core_s = (on_core_ns()? - spent) as f64 / 1e9;
    Ok((f64::from(TIMED) / core_s, f64::from(TIMED) / began.elapsed().as_secs_f64()))
}

/// Time that this thread has been on a core.
fn on_core_ns() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("the kernel counts no time")?;
    text.split(' ').next().and_then(|ns| ns.parse().ok()).context("the kernel's count cannot be read")
}

struct Simulated {
    cells: Vec<Cell>,
    store: std::sync::Arc<Memory>,
    placed: u64,
    waited: u64,
    waits: Vec<f64>,
    txns: u128,
}

impl Simulated {
    fn play() -> Result<Self> {
        let mut rng = SmallRng::seed_from_u64(2);
        let cell =
            |n| Cell { name: format!("cell-{n}"), running: 0, most: 0, line: VecDeque::new(), longest: 0 };
        let mut world = Self {
            cells: (0..CELLS).map(cell).collect(),
            store: Memory::new(std::sync::Arc::new(RealClock)),
            placed: 0,
            waited: 0,
            waits: Vec::new(),
            txns: 0,
        };
        // What cells said of themselves, the oldest first; every gateway sees the same, a fixed time later.
        let mut said: VecDeque<(i64, Vec<CellView>)> = VecDeque::new();
        let mut ends: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
        let mut dice: Vec<SmallRng> =
            (0..GATEWAYS).map(|n| SmallRng::seed_from_u64(100 + n as u64)).collect();
        let request = anywhere()?;
        let (mut next_view_us, every_us) = (0, 1_000_000 / RUNS_PER_S);
        for (index, now_us) in (0..TIME_US).step_by(usize::try_from(every_us)?).enumerate() {
            while let Some(Reverse((at_us, _))) = ends.peek()
                && *at_us <= now_us
            {
                let Some(Reverse((at_us, number))) = ends.pop() else { break };
                world.end(number, at_us, &mut ends, &mut rng)?;
            }
            if now_us >= next_view_us {
                next_view_us = now_us + VIEW_STEP_US;
                let views = world.cells.iter().enumerate();
                // As a heartbeat counts: with those that stand in line.
                let load = |c: &Cell| c.running + u32::try_from(c.line.len()).unwrap_or(u32::MAX);
                said.push_back((now_us, views.map(|(n, c)| view(&c.name, n, load(c))).collect()));
                while said.get(1).is_some_and(|(at_us, _)| *at_us <= now_us - VIEW_AGE_US) {
                    said.pop_front();
                }
            }
            let (_, cells) = said.front().context("there is a view")?;
            let random = dice[index % GATEWAYS].random();
            let placed = placement::place(&request, cells, 0, random)?;
            let number: usize = placed.cell.trim_start_matches("cell-").parse()?;
            world.placed += 1;
            if world.cells[number].line.is_empty() && world.reserve(number)? {
                ends.push(Reverse((now_us + rng.random_range(TAKES_US.0..TAKES_US.1), number)));
            } else {
                world.waited += 1;
                let cell = &mut world.cells[number];
                cell.line.push_back(now_us);
                cell.longest = cell.longest.max(cell.line.len());
            }
        }
        Ok(world)
    }

    /// A run has ended: its place is given back, and whoever has waited longest gets one.
    fn end(
        &mut self,
        number: usize,
        at_us: i64,
        ends: &mut BinaryHeap<Reverse<(i64, usize)>>,
        rng: &mut SmallRng,
    ) -> Result<()> {
        self.count(number, -1)?;
        self.cells[number].running -= 1;
        if !self.cells[number].line.is_empty() && self.reserve(number)? {
            let since_us = self.cells[number].line.pop_front().unwrap_or(at_us);
            self.waits.push((at_us - since_us) as f64 / 1000.0);
            ends.push(Reverse((at_us + rng.random_range(TAKES_US.0..TAKES_US.1), number)));
        }
        Ok(())
    }

    /// Counts a machine as a cell does; answers whether there was room.
    fn reserve(&mut self, number: usize) -> Result<bool> {
        if !self.count(number, 1)? {
            return Ok(false);
        }
        let cell = &mut self.cells[number];
        cell.running += 1;
        cell.most = cell.most.max(cell.running);
        Ok(true)
    }

    fn count(&mut self, number: usize, delta: i64) -> Result<bool> {
        self.txns += 1;
        let counter = machine::capacity(&self.cells[number].name);
        let op = Op::Add { counter, delta, max: (delta > 0).then_some(i64::from(MACHINES)) };
        let txn = Txn { id: RequestId(self.txns), name: "place", ops: vec![op] };
        match self.store.txn(txn).now_or_never().context("the memory store answers at once")? {
            Ok(_) => Ok(true),
            Err(TxnError::Limit { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
