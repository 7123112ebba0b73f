//! One Try, as small as it can be without losing what makes it hard: a store with compare-and-set whose commits may
//! be unheard or late, two replicas of a cell, a first and a second machine that reboot, are suspended and wake,
//! messages that are lost, late and repeated, and leases on a clock that counts suspend.
//!
//! Mirrors `store::cell::session` (claim, start, renew), `store::cell::machines` (lost, forget), `store::cell::pods`
//! (a further attempt) and `store::records::attempt` (`blocks`).

/// Ticks of a lease, of the clocks' difference, and from the end of a lease to the last process's death.
const LEASE: u8 = 2;
const SKEW: u8 = 1;
const KILL: u8 = 1;

/// A mistake that is made on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// None.
    Nothing,
    /// An agent starts user code without asking.
    GateSkipped,
    /// The gate's write does not depend on the revision that was read.
    GateUnconditional,
    /// A reboot is served like the boot that claimed.
    RebootBurnForgotten,
    /// A further attempt does not revoke an earlier one that was only claimed, and the gate does not look whether its
    /// Pod is still there.
    EarlierNotRevoked,
    /// A further attempt does not wait for proof that the lost one is dead.
    RevocationNotAwaited,
    /// That a machine is not on the provider's list is taken for its death.
    AbsenceIsDeath,
    /// A lease counts from the moment at which its answer arrives.
    LeaseFromAnswer,
    /// Renewals are answered from a view that is older than they are.
    StaleView,
    /// The wait for a lease's end forgets that clocks differ.
    SkewForgotten,
    /// The kill timer's clock stops while the machine is suspended.
    SuspendNotCounted,
    /// The kill timer is in the agent, which may be wedged.
    TimerInAgent,
}

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The run may be run again after its machine was lost.
    pub rerun: bool,
    /// Ticks of time; 0 where nothing depends on time.
    pub ticks: u8,
    /// Reboots of each machine.
    pub reboots: u8,
    /// A user may delete the Pod.
    pub deletes: bool,
    /// A mistake.
    pub mistake: Mistake,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Phase {
    Absent,
    Free,
    Claimed,
    Started,
    Revoked,
    Lost,
}

/// An attempt's row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Attempt {
    phase: Phase,
    nonce: u8,
    revision: u8,
    lost_at: u8,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Agent {
    /// Says hello.
    Fresh,
    /// Has the Order, and asks to start.
    Ready,
    /// User code runs.
    Running,
    /// It runs, and the agent does nothing any more.
    Wedged,
    /// It has ended, or must not begin.
    Over,
}

/// A machine: number 0 is the first attempt's, number 1 the second's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Machine {
    there: bool,
    suspended: bool,
    boot: u8,
    agent: Agent,
    /// End of the lease.
    until: u8,
    /// Answers, as sets of the moments at which they were asked for (bits), of this boot and the one before.
    orders: u8,
    goes: [u8; 2],
    leases: u8,
}

/// A transaction under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Txn {
    Claim { attempt: u8, revision: u8, nonce: u8 },
    Start { attempt: u8, revision: u8, nonce: u8, asked: u8 },
    Lose { attempt: u8, revision: u8 },
    Dead { revision: u8 },
    Second { revision: u8 },
}

/// Everything.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    now: u8,
    attempts: [Attempt; 2],
    /// Which attempt's Pod is there.
    pod: Option<u8>,
    machines: [Machine; 2],
    /// Requests to start that were sent and may yet arrive: by machine and boot, the moments (bits).
    starts: [[u8; 2]; 2],
    /// The same of renewals.
    renews: [u8; 2],
    /// What each replica has under way.
    replicas: [Option<Txn>; 2],
    /// A commit whose outcome nobody knows: it may come at any time, or never.
    late: Option<Txn>,
    /// Boots in which user code has begun.
    begun: u8,
}

impl State {
    /// The first attempt is there; nobody has it.
    pub fn first() -> Self {
        let attempt = |phase| Attempt { phase, nonce: 0, revision: 0, lost_at: 0, dead: false };
        let machine = |there| Machine {
            there,
            suspended: false,
            boot: 0,
            agent: Agent::Fresh,
            until: 0,
            orders: 0,
            goes: [0; 2],
            leases: 0,
        };
        Self {
            now: 0,
            attempts: [attempt(Phase::Free), attempt(Phase::Absent)],
            pod: Some(0),
            machines: [machine(true), machine(false)],
            starts: [[0; 2]; 2],
            renews: [0; 2],
            replicas: [None; 2],
            late: None,
            begun: 0,
        }
    }

    /// The first attempt is claimed and about to ask at the gate: what comes before is the same with and without
    /// `rerun`, and is searched there.
    pub fn claimed() -> Self {
        let mut state = Self::first();
        state.write(0, Phase::Claimed);
        state.machines[0].agent = Agent::Ready;
        state
    }

    /// User code of the Try has begun at most once.
    pub fn started_once(&self) -> bool {
        self.begun.count_ones() <= 1
    }

    /// User code of the Try runs on at most one machine at a time.
    pub fn alive_once(&self) -> bool {
        self.machines.iter().filter(|machine| machine.runs()).count() <= 1
    }

    /// All that may happen now.
    pub fn next(&self, config: &Config, out: &mut Vec<(&'static str, State)>) {
        self.time(config, out);
        for number in 0..2 {
            self.machine(config, number, out);
        }
        self.replicas(config, out);
        if config.deletes && self.pod == Some(0) {
            self.step(out, "a user deletes the pod", |s| s.pod = None);
        }
    }

    fn step(
        &self,
        out: &mut Vec<(&'static str, State)>,
        name: &'static str,
        change: impl FnOnce(&mut State),
    ) {
        let mut after = self.clone();
        change(&mut after);
        // Which of the replicas does a thing makes no difference.
        after.replicas.sort_unstable();
        out.push((name, after));
    }

    /// Time goes on, unless something must have happened by now.
    fn time(&self, config: &Config, out: &mut Vec<(&'static str, State)>) {
        let late =
            |m: &Machine| config.rerun && m.runs() && config.kills(m) && self.now + 1 >= m.until + KILL;
        if self.now < config.ticks && !self.machines.iter().any(late) {
            self.step(out, "time goes on", |s| {
                s.now += 1;
                for machine in &mut s.machines {
                    if config.mistake == Mistake::SuspendNotCounted && machine.suspended {
                        machine.until += 1;
                    }
                }
                s.forget(config);
            });
        }
    }

    /// What can have no effect any more is forgotten, to keep the number of states small.
    fn forget(&mut self, config: &Config) {
        if config.mistake == Mistake::LeaseFromAnswer {
            return;
        }
        let of_use = (0..8).filter(|at| at + LEASE > self.now).fold(0_u8, |all, at| all | 1 << at);
        for number in 0..2 {
            self.renews[number] &= of_use;
            self.machines[number].leases &= of_use;
        }
    }

    fn machine(&self, config: &Config, number: usize, out: &mut Vec<(&'static str, State)>) {
        let machine = &self.machines[number];
        if !machine.there {
            return;
        }
        if machine.suspended {
            self.step(out, "a machine wakes up", |s| {
                s.machines[number].suspended = false;
                // The kill timer has come up while it slept: the first that runs is the supervisor.
                let machine = &mut s.machines[number];
                if config.rerun && config.kills(machine) && machine.runs() && s.now >= machine.until {
                    machine.agent = Agent::Over;
                }
            });
            return;
        }
        // A suspended machine matters where time does, and the second one sleeps no better than the first.
        if !config.rerun || number == 0 && machine.runs() {
            self.step(out, "a machine is suspended", |s| s.machines[number].suspended = true);
        }
        if machine.boot < config.reboots {
            self.step(out, "a machine reboots", |s| {
                let machine = &mut s.machines[number];
                (machine.boot, machine.agent, machine.leases, machine.until) =
                    (machine.boot + 1, Agent::Fresh, 0, 0);
            });
        }
        if config.rerun && machine.runs() && config.kills(machine) && self.now >= machine.until {
            self.step(out, "a lease runs out", |s| s.machines[number].agent = Agent::Over);
        }
        let (boot, bit) = (usize::from(machine.boot), 1_u8 << self.now);
        match machine.agent {
            Agent::Fresh => {
                if machine.orders & (1 << machine.boot) != 0 {
                    self.step(out, "an order arrives", |s| s.machines[number].agent = Agent::Ready);
                }
            }
            Agent::Ready => {
                if self.starts[number][boot] & bit == 0 && self.starts[number][boot].count_ones() < 2 {
                    self.step(out, "an agent asks to start", |s| s.starts[number][boot] |= bit);
                }
                if config.mistake == Mistake::GateSkipped {
                    self.step(out, "an agent starts without asking", |s| s.begin(number, s.now + LEASE));
                }
                for asked in (0..8).filter(|asked| machine.goes[boot] & (1 << asked) != 0) {
                    let from = if config.mistake == Mistake::LeaseFromAnswer { self.now } else { asked };
                    self.step(out, "a go arrives", |s| {
                        s.begin(number, from + LEASE);
                        // The kill timer is armed before anything starts: it may have come up already.
                        if config.rerun && s.now >= from + LEASE {
                            s.machines[number].agent = Agent::Over;
                            s.begun = self.begun;
                        }
                    });
                }
            }
            Agent::Running if config.rerun && number == 0 => {
                if self.renews[number] & bit == 0 && machine.until <= self.now + 1 {
                    self.step(out, "an agent asks for another lease", |s| s.renews[number] |= bit);
                }
                for asked in (0..8).filter(|asked| machine.leases & (1 << asked) != 0) {
                    let from = if config.mistake == Mistake::LeaseFromAnswer { self.now } else { asked };
                    self.step(out, "a lease arrives", |s| {
                        let machine = &mut s.machines[number];
                        machine.until = machine.until.max(from + LEASE);
                        machine.leases &= !(1 << asked);
                    });
                }
                self.step(out, "an agent is wedged", |s| s.machines[number].agent = Agent::Wedged);
            }
            Agent::Running | Agent::Wedged | Agent::Over => {}
        }
    }

    fn begin(&mut self, number: usize, until: u8) {
        let machine = &mut self.machines[number];
        machine.agent = Agent::Running;
        machine.until = until;
        self.begun |= 1 << (2 * number as u8 + machine.boot);
    }

    /// Whatever a replica may do: take a request from the network, look at machines, try again.
    fn replicas(&self, config: &Config, out: &mut Vec<(&'static str, State)>) {
        // Racing commits are searched without `rerun`; one that is late is enough beside the present one.
        let free = if config.rerun { self.replicas == [None, None] } else { self.replicas[0].is_none() };
        if free {
            let mut begin = |name, txn| self.step(out, name, |s| s.replicas[0] = Some(txn));
            for number in 0..2 {
                self.requests(config, number, &mut begin);
            }
            self.loops(config, &mut begin);
        }
        // Reads alone.
        for number in 0..2 {
            self.answers(config, number, out);
        }
        for slot in 0..2 {
            let Some(txn) = self.replicas[slot] else { continue };
            self.step(out, "a commit is done", |s| {
                s.replicas[slot] = None;
                s.apply(config, txn, true);
            });
            self.step(out, "a commit is done and nobody hears of it", |s| {
                s.replicas[slot] = None;
                s.apply(config, txn, false);
            });
            self.step(out, "a replica dies and its commit is not done", |s| s.replicas[slot] = None);
            if self.late.is_none() {
                self.step(out, "a replica dies and its commit is late", |s| {
                    s.replicas[slot] = None;
                    s.late = Some(txn);
                });
            }
        }
        if let Some(txn) = self.late {
            self.step(out, "a late commit is done", |s| {
                s.late = None;
                s.apply(config, txn, false);
            });
        }
    }

    /// Requests of a machine's agents that need a commit.
    fn requests(&self, config: &Config, number: usize, begin: &mut impl FnMut(&'static str, Txn)) {
        let (machine, attempt) = (&self.machines[number], self.attempts[number]);
        let revision = attempt.revision;
        // A hello may be late as well: of this boot or of the one before.
        for nonce in 0..=machine.boot {
            let has_pod = self.pod == Some(number as u8);
            if attempt.phase == Phase::Free && has_pod && (machine.there || machine.boot > 0) {
                begin("a claim is taken", Txn::Claim { attempt: number as u8, revision, nonce });
            }
            let boot_known = attempt.nonce == nonce || config.mistake == Mistake::RebootBurnForgotten;
            let may = attempt.phase == Phase::Claimed && boot_known;
            let gate_open = has_pod || config.mistake == Mistake::EarlierNotRevoked;
            for asked in 0..8 {
                if may && gate_open && self.starts[number][usize::from(nonce)] & (1 << asked) != 0 {
                    begin("a start is taken", Txn::Start { attempt: number as u8, revision, nonce, asked });
                }
            }
        }
    }

    /// What the loops of a replica may begin.
    fn loops(&self, config: &Config, begin: &mut impl FnMut(&'static str, Txn)) {
        for number in 0..2 {
            let attempt = self.attempts[number];
            // Whether it is true or not: being taken for lost must do no harm.
            if number == 1 && config.rerun {
                continue;
            }
            let lost_by_mistake = matches!(attempt.phase, Phase::Free | Phase::Claimed)
                || attempt.phase == Phase::Started && config.rerun;
            if lost_by_mistake {
                begin(
                    "a machine is taken for lost",
                    Txn::Lose { attempt: number as u8, revision: attempt.revision },
                );
            }
        }
        let first = self.attempts[0];
        let gone = !self.machines[0].there || config.mistake == Mistake::AbsenceIsDeath;
        if first.phase == Phase::Lost && !first.dead && gone {
            begin("a machine's death is confirmed", Txn::Dead { revision: first.revision });
        }
        if self.attempts[1].phase == Phase::Absent && self.pod.is_none() {
            let wait =
                if config.mistake == Mistake::SkewForgotten { LEASE + KILL } else { LEASE + SKEW + KILL };
            // The replica's clock is as far ahead as it may be.
            let starved = self.now + SKEW >= first.lost_at + wait;
            let over = match first.phase {
                Phase::Absent | Phase::Started => false,
                Phase::Free | Phase::Claimed | Phase::Revoked => true,
                Phase::Lost => {
                    config.rerun && (first.dead || starved || config.mistake == Mistake::RevocationNotAwaited)
                }
            };
            if over {
                begin("another attempt is made", Txn::Second { revision: first.revision });
            }
        }
    }

    /// Requests that are answered without a commit.
    fn answers(&self, config: &Config, number: usize, out: &mut Vec<(&'static str, State)>) {
        let (machine, attempt) = (&self.machines[number], self.attempts[number]);
        let same = |nonce: u8| attempt.nonce == nonce || config.mistake == Mistake::RebootBurnForgotten;
        for nonce in 0..=machine.boot {
            let bit = 1 << nonce;
            let orders = attempt.phase == Phase::Claimed
                || attempt.phase == Phase::Started && config.mistake == Mistake::RebootBurnForgotten;
            if orders && same(nonce) && machine.orders & bit == 0 {
                self.step(out, "an order is given", |s| s.machines[number].orders |= bit);
            }
            let asked = self.starts[number][usize::from(nonce)];
            if attempt.phase == Phase::Started && same(nonce) && machine.goes[usize::from(nonce)] != asked {
                self.step(out, "a go is given again", |s| {
                    s.machines[number].goes[usize::from(nonce)] = asked
                });
            }
        }
        let known = match config.mistake {
            Mistake::StaleView => matches!(attempt.phase, Phase::Started | Phase::Lost),
            _ => attempt.phase == Phase::Started,
        };
        if known && attempt.nonce == machine.boot && self.renews[number] != 0 {
            for asked in (0..8).filter(|asked| self.renews[number] & (1 << asked) != 0) {
                self.step(out, "a lease is given", |s| {
                    s.machines[number].leases |= 1 << asked;
                    s.renews[number] &= !(1 << asked);
                });
            }
        }
        let ended = matches!(attempt.phase, Phase::Revoked | Phase::Lost);
        if ended && machine.there && number == 0 {
            self.step(out, "the provider deletes a machine", |s| {
                let machine = &mut s.machines[number];
                (machine.there, machine.suspended, machine.agent) = (false, false, Agent::Over);
            });
        }
    }

    /// A commit, if its conditions hold; with `heard` its answer is sent.
    fn apply(&mut self, config: &Config, txn: Txn, heard: bool) {
        let row = match txn {
            Txn::Claim { attempt, .. } | Txn::Start { attempt, .. } | Txn::Lose { attempt, .. } => attempt,
            Txn::Dead { .. } | Txn::Second { .. } => 0,
        };
        let n = usize::from(row);
        match txn {
            Txn::Claim { revision, nonce, .. } if self.attempts[n].revision == revision => {
                self.write(n, Phase::Claimed);
                self.attempts[n].nonce = nonce;
                if heard {
                    self.machines[n].orders |= 1 << nonce;
                }
            }
            Txn::Start { revision, nonce, asked, .. } => {
                let pod = self.pod == Some(row) || config.mistake == Mistake::EarlierNotRevoked;
                let same = self.attempts[n].revision == revision;
                if config.mistake == Mistake::GateUnconditional || same && pod {
                    self.write(n, Phase::Started);
                    if heard {
                        self.machines[n].goes[usize::from(nonce)] |= 1 << asked;
                    }
                }
            }
            Txn::Lose { revision, .. } if self.attempts[n].revision == revision => {
                let early = self.attempts[n].phase != Phase::Started;
                self.write(n, if early { Phase::Revoked } else { Phase::Lost });
                self.attempts[n].lost_at = self.now;
                if self.pod == Some(row) {
                    self.pod = None;
                }
            }
            Txn::Dead { revision } if self.attempts[0].revision == revision => {
                self.write(0, Phase::Lost);
                self.attempts[0].dead = true;
            }
            Txn::Second { revision } => {
                let same = self.attempts[0].revision == revision;
                let fresh = self.attempts[1].phase == Phase::Absent && self.pod.is_none();
                let unrevoked = config.mistake == Mistake::EarlierNotRevoked;
                if fresh && (same || unrevoked) {
                    if matches!(self.attempts[0].phase, Phase::Free | Phase::Claimed) && !unrevoked {
                        self.write(0, Phase::Revoked);
                    }
                    self.write(1, Phase::Free);
                    self.pod = Some(1);
                    self.machines[1].there = true;
                    if config.rerun {
                        self.write(1, Phase::Claimed);
                        self.machines[1].agent = Agent::Ready;
                    }
                }
            }
            Txn::Claim { .. } | Txn::Lose { .. } | Txn::Dead { .. } => {}
        }
    }

    fn write(&mut self, attempt: usize, phase: Phase) {
        self.attempts[attempt].phase = phase;
        self.attempts[attempt].revision += 1;
    }
}

impl Machine {
    /// Its user code can do something now.
    fn runs(&self) -> bool {
        self.there && !self.suspended && matches!(self.agent, Agent::Running | Agent::Wedged)
    }
}

impl Config {
    /// Something ends this machine's user code at the end of its lease.
    fn kills(&self, machine: &Machine) -> bool {
        self.mistake != Mistake::TimerInAgent || machine.agent != Agent::Wedged
    }
}
