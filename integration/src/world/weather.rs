//! What goes wrong, how often, and when. Every seed draws its own weather: some kinds of fault and not others, so
//! that one kind does not hide another.

use std::sync::Arc;

use super::cloud::Cloud;
use super::{HUB, NodeId, Place, World};

/// How often what goes wrong by chance: one in so many; 0: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weather {
    /// A process dies after one of its polls.
    pub dies: u32,
    /// A message is lost, late or doubled.
    pub message: u32,
    /// A stream breaks.
    pub stream: u32,
    /// A read of the store has no answer.
    pub read: u32,
    /// A commit is refused, or nobody hears what became of it.
    pub write: u32,
    /// An answer of the store takes much longer than others.
    pub slow: u32,
    /// A bell of the store is not heard.
    pub bell: u32,
    /// The provider of machines fails, late or not.
    pub provider: u32,
    /// A machine is lost while it boots.
    pub boot: u32,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self =
        Self { dies: 0, message: 0, stream: 0, read: 0, write: 0, slow: 0, bell: 0, provider: 0, boot: 0 };

    /// The weather of a seed.
    pub fn draw(world: &World) -> Self {
        let often = |one_in: u32| match world.draw_us(0, 4) {
            0 => 0,
            1 => one_in / 3,
            _ => one_in,
        };
        Self {
            dies: often(1500),
            message: often(30),
            stream: often(60),
            read: often(150),
            write: often(24),
            slow: often(30),
            bell: often(9),
            provider: often(15),
            // In some worlds every machine is lost, until a run has lost as many as it may.
            boot: match world.draw_us(0, 16) {
                0 => 1,
                1 => 2,
                _ => often(30),
            },
        }
    }
}

/// What goes wrong on a larger scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    StoreAway,
    RegionCut,
    CellAlone,
    MachineAlone,
    CellPaused,
    GatewayPaused,
    MachinePaused,
    MachineSuspended,
    MachinePreempted,
    MachineReset,
    ClockJump,
    StockOut,
    CellGone,
    Drain,
    GatewayAlone,
    UserAlone,
}

const EVENTS: [Event; 16] = [
    Event::StoreAway,
    Event::RegionCut,
    Event::CellAlone,
    Event::MachineAlone,
    Event::CellPaused,
    Event::GatewayPaused,
    Event::MachinePaused,
    Event::MachineSuspended,
    Event::MachinePreempted,
    Event::MachineReset,
    Event::ClockJump,
    Event::StockOut,
    Event::CellGone,
    Event::Drain,
    Event::GatewayAlone,
    Event::UserAlone,
];

/// Says to a replica of a cell whether it takes new runs.
pub type Drain = Arc<dyn Fn(bool) + Send + Sync>;

/// A cell, for what happens to it.
#[derive(Clone)]
pub struct CellSite {
    /// Where it is.
    pub place: Place,
    /// Its processes.
    pub replicas: Vec<NodeId>,
    /// Its machines.
    pub cloud: Arc<Cloud>,
    /// Tells it to take no new runs, or to take them again.
    pub drain: Drain,
}

/// Everything that something can happen to.
pub struct Sites {
    /// The cells.
    pub cells: Vec<CellSite>,
    /// Processes of gateways.
    pub gateways: Vec<NodeId>,
    /// Those of users.
    pub users: Vec<NodeId>,
    /// Events until then, µs.
    pub until_us: u64,
    /// How long a cell may be gone, or the store away, µs.
    pub long_us: u64,
    /// How far a clock may jump, µs.
    pub jump_us: u64,
}

/// Largest jump of a clock, µs.
pub const JUMP_MAX_US: u64 = 90_000_000;
/// Largest jump where leases rely on clocks, µs: two are never further apart than [`SKEW_US`] of attempts' records.
///
/// [`SKEW_US`]: store::records::attempt::SKEW_US
pub const STEP_US: u64 = 2_000_000;
/// How wrong a clock is from the beginning, at most, µs.
pub const SKEW_US: u64 = 400_000;
/// How much too fast or too slow it goes, at most, millionths.
const RATE_PPM: u64 = 500;

/// Gives a process a clock that is a little wrong.
pub fn wind(world: &World, node: NodeId) {
    let skew = signed(world, SKEW_US);
    let rate = signed(world, RATE_PPM);
    world.set_clock(node, skew, rate);
}

fn signed(world: &World, max: u64) -> i64 {
    i64::try_from(world.draw_us(0, 2 * max + 1)).unwrap_or(0) - i64::try_from(max).unwrap_or(0)
}

/// Lets some kinds of event happen, again and again.
pub fn begin(world: &Arc<World>, sites: Sites) {
    let kinds: Vec<Event> = EVENTS.into_iter().filter(|_| world.draw_us(0, 3) == 0).collect();
    if kinds.is_empty() {
        return;
    }
    let pause_us = [1_500_000, 4_000_000, 12_000_000][pick(world, 3)];
    next(world, Arc::new(sites), Arc::from(kinds), pause_us);
}

fn pick(world: &World, count: usize) -> usize {
    usize::try_from(world.draw_us(0, count.max(1) as u64)).unwrap_or(0)
}

fn next(world: &Arc<World>, sites: Arc<Sites>, kinds: Arc<[Event]>, pause_us: u64) {
    let wait = world.draw_us(pause_us / 4, pause_us * 2);
    world.after(wait, move |world| {
        if world.now_us() >= sites.until_us {
            return;
        }
        happen(world, &sites, kinds[pick(world, kinds.len())]);
        next(world, sites, kinds, pause_us);
    });
}

fn happen(world: &Arc<World>, sites: &Arc<Sites>, event: Event) {
    let site = &sites.cells[pick(world, sites.cells.len())];
    let replica = site.replicas[pick(world, site.replicas.len())];
    let machine = site.cloud.some_machine();
    match event {
        Event::StoreAway => {
            let time = world.draw_us(500_000, sites.long_us);
            world.note(if time >= 60_000_000 { "store away for minutes" } else { "store away" }, "");
            world.state().store_away = true;
            world.after(time, |world| world.state().store_away = false);
        }
        Event::RegionCut => {
            world.note("region cut off", "");
            let (place, time) = (site.place, world.draw_us(1_000_000, 40_000_000));
            let others: Vec<Place> = std::iter::once(HUB)
                .chain(sites.cells.iter().map(|cell| cell.place))
                .filter(|p| *p != place)
                .collect();
            others.iter().for_each(|other| world.set_cut(place, *other, true));
            world.after(time, move |world| {
                others.iter().for_each(|other| world.set_cut(place, *other, false))
            });
        }
        Event::CellAlone => alone(world, replica, "cell cut off"),
        Event::GatewayAlone => {
            alone(world, sites.gateways[pick(world, sites.gateways.len())], "gateway cut off");
        }
        Event::MachineAlone => {
            if let Some((_, node)) = machine {
                alone(world, node, "machine cut off");
            }
        }
        Event::UserAlone => {
            alone(world, sites.users[pick(world, sites.users.len())], "user cut off");
        }
        Event::CellPaused => pause(world, replica, "cell paused", 40_000_000),
        Event::GatewayPaused => {
            pause(world, sites.gateways[pick(world, sites.gateways.len())], "gateway paused", 15_000_000);
        }
        Event::MachinePaused => {
            if let Some((_, node)) = machine {
                pause(world, node, "machine paused", 30_000_000);
            }
        }
        Event::MachineSuspended => {
            if let Some((id, node)) = machine {
                site.cloud.suspend(&id, node);
            }
        }
        Event::MachinePreempted => {
            if let Some((id, node)) = machine {
                site.cloud.preempt(&id, node);
            }
        }
        Event::MachineReset => {
            if let Some((_, node)) = machine {
                world.crash(node);
            }
        }
        Event::ClockJump => {
            let node = if pick(world, 3) == 0 {
                sites.gateways[pick(world, sites.gateways.len())]
            } else {
                machine.filter(|_| pick(world, 2) == 0).map_or(replica, |(_, node)| node)
            };
            jump(world, node, sites.jump_us);
        }
        Event::StockOut => {
            world.note("stock-out", "");
            let time = world.draw_us(1_000_000, 40_000_000);
            site.cloud.set_sold_out(true);
            let cloud = site.cloud.clone();
            world.after(time, move |_| cloud.set_sold_out(false));
        }
        Event::CellGone => {
            world.note("cell gone", "");
            let time = world.draw_us(5_000_000, sites.long_us);
            for replica in site.replicas.clone() {
                world.kill(replica);
                world.after(time, move |world| world.start(replica));
            }
        }
        Event::Drain => {
            world.note("cell drained", "");
            let (drain, time) = (site.drain.clone(), world.draw_us(1_000_000, 30_000_000));
            drain(true);
            world.after(time, move |_| drain(false));
        }
    }
}

fn alone(world: &Arc<World>, node: NodeId, name: &'static str) {
    world.note(name, "");
    world.set_alone(node, true);
    let time = world.draw_us(500_000, 60_000_000);
    world.after(time, move |world| world.set_alone(node, false));
}

fn pause(world: &Arc<World>, node: NodeId, name: &'static str, max_us: u64) {
    if !world.pause(node) {
        return;
    }
    world.note(name, "");
    let time = world.draw_us(50_000, max_us);
    world.after(time, move |world| world.resume(node));
}

fn jump(world: &Arc<World>, node: NodeId, max_us: u64) {
    let by = signed(world, max_us);
    world.note(if by < 0 { "clock jumps back" } else { "clock jumps ahead" }, "");
    let rate = world.state().nodes[node].rate_ppm;
    world.set_clock(node, by, rate);
}

impl World {
    /// A process stands still; what reaches it waits. False: it is not there, or stands still already.
    pub fn pause(&self, node: NodeId) -> bool {
        let mut state = self.state();
        let node = &mut state.nodes[node];
        let goes = node.up && !node.paused;
        node.paused |= goes;
        goes
    }

    /// A process goes on, and knows nothing of its pause but what its clock says.
    pub fn resume(&self, node: NodeId) {
        let mut state = self.state();
        if let Some(node) = state.nodes.get_mut(node) {
            node.paused = false;
            let parked = std::mem::take(&mut node.parked);
            state.ready.extend(parked);
        }
    }

    /// That life of a process is not over; it may stand still.
    pub fn lives(&self, node: NodeId, life: u32) -> bool {
        self.state().nodes.get(node).is_some_and(|node| node.up && node.life == life)
    }

    /// A process is there, standing still or not.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.state().nodes.get(node).is_some_and(|node| node.up)
    }

    /// From now on nothing goes wrong, and what is broken is whole again.
    pub fn heal(self: &Arc<Self>) {
        self.set_weather(Weather::CALM);
        let nodes = {
            let mut state = self.state();
            state.store_away = false;
            state.cuts.clear();
            state.nodes.iter_mut().for_each(|node| node.alone = false);
            state.nodes.len()
        };
        (0..nodes).for_each(|node| self.resume(node));
    }
}
