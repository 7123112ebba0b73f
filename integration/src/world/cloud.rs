//! Machines that can be had, of one cell. The provider is no process of ours: it lives on when the cell dies. What a
//! machine does in a boot is the agent's own session and engine, on a pod that a [puppet](super::puppet) plays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::session::Session;
use base::host::{BoxFuture, Host};
use cell::provider::{MachineProvider, MachineSpec, MachineState, ProviderError};
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::plants::{self, Plant};
use super::puppet::{Spot, Starts, Watched};
use super::{NodeId, Place, World, locked, weather};

const HOP_US: (u64, u64) = (500, 20_000);
/// Now and then a call takes so long.
const SLOW_US: (u64, u64) = (100_000, 15_000_000);
const BOOT_US: (u64, u64) = (5_000, 2_000_000);
const REBOOT_US: (u64, u64) = (200_000, 8_000_000);
const SUSPEND_US: (u64, u64) = (1_000_000, 60_000_000);
/// Which of the ids that a boot draws is its nonce: the first is for the checkers.
pub(super) const NONCE_DRAW: u32 = 2;

/// What the clouds of a world share.
#[derive(Clone)]
pub struct Sky {
    /// The world.
    pub world: Arc<World>,
    /// What was committed.
    pub ledger: Arc<Ledger>,
    /// What was started.
    pub starts: Arc<Starts>,
    /// The mistake that is made on purpose.
    pub plant: Plant,
}

/// The provider of one cell.
pub struct Cloud {
    sky: Sky,
    cell: String,
    place: Place,
    room: usize,
    machines: Mutex<BTreeMap<String, Vm>>,
    /// Machines that something has befallen.
    harmed: Mutex<BTreeSet<String>>,
    sold_out: AtomicBool,
    changed: Arc<Notify>,
}

#[derive(Clone)]
struct Vm {
    node: NodeId,
    state: MachineState,
}

impl Cloud {
    /// A provider of machines for `cell`, which shall never have more than `room`.
    pub fn new(sky: &Sky, cell: &str, place: Place, room: usize) -> Arc<Self> {
        Arc::new(Self {
            sky: sky.clone(),
            cell: cell.to_owned(),
            place,
            room,
            machines: Mutex::default(),
            harmed: Mutex::default(),
            sold_out: AtomicBool::new(false),
            changed: Arc::default(),
        })
    }

    /// Machines that there are.
    pub fn machines(&self) -> Vec<String> {
        locked(&self.machines).keys().cloned().collect()
    }

    /// Something has befallen that machine.
    pub fn has_harmed(&self, id: &str) -> bool {
        locked(&self.harmed).contains(id)
    }

    /// A machine and its process, drawn from those that there are.
    pub fn some_machine(&self) -> Option<(String, NodeId)> {
        let machines = locked(&self.machines);
        let mut running: Vec<_> =
            machines.iter().filter(|(_, vm)| vm.state == MachineState::Running).collect();
        let nth = self.sky.world.draw_us(0, running.len().max(1) as u64);
        let nth = usize::try_from(nth).ok().filter(|nth| *nth < running.len())?;
        let (id, vm) = running.swap_remove(nth);
        Some((id.clone(), vm.node))
    }

    /// There are none left to be had, or there are again.
    pub fn set_sold_out(&self, sold_out: bool) {
        self.sold_out.store(sold_out, Ordering::Relaxed);
    }

    /// The provider takes a machine away.
    pub fn preempt(&self, id: &str, node: NodeId) {
        self.sky.world.note("machine preempted", id);
        self.harm(id);
        self.sky.world.kill(node);
        self.exited(id, "it was preempted");
    }

    /// The provider suspends a machine, perhaps says that it has stopped, and lets it go on later.
    pub fn suspend(self: &Arc<Self>, id: &str, node: NodeId) {
        let world = &self.sky.world;
        if !world.pause(node) {
            return;
        }
        let told = world.draw_us(0, 2) == 0;
        world.note(if told { "machine suspended" } else { "machine suspended, untold" }, id);
        if told {
            self.harm(id);
            self.exited(id, "it was suspended");
        }
        let time = world.draw_us(SUSPEND_US.0, SUSPEND_US.1);
        let (cloud, id) = (Arc::downgrade(self), id.to_owned());
        world.after(time, move |world| {
            let Some(cloud) = cloud.upgrade() else { return };
            if world.is_up(node) {
                world.note("machine wakes", &id);
                world.resume(node);
                if world.draw_us(0, 2) == 0
                    && let Some(vm) = locked(&cloud.machines).get_mut(&id)
                {
                    vm.state = MachineState::Running;
                }
            }
        });
    }

    fn harm(&self, id: &str) {
        locked(&self.harmed).insert(id.to_owned());
    }

    fn make(self: &Arc<Self>, spec: &MachineSpec) {
        let world = &self.sky.world;
        if locked(&self.machines).contains_key(&spec.id) {
            return;
        }
        let id = spec.id.clone();
        let node = world.node(&format!("machine {id}"), self.place, true, self.program(spec));
        weather::wind(world, node);
        locked(&self.machines).insert(id.clone(), Vm { node, state: MachineState::Running });
        // One that comes late, when nobody wants it any more, has no row, and is soon deleted again.
        let wanted: BTreeSet<String> = self.sky.ledger.facts().machines.keys().cloned().collect();
        let count = locked(&self.machines).keys().filter(|id| wanted.contains(*id)).count();
        if count > self.room {
            world.fail(|| format!("cell {} has {count} machines, and room for {}", self.cell, self.room));
        }
        let (cloud, name, first) = (Arc::downgrade(self), id.clone(), id.clone());
        world.when_dead(
            node,
            Arc::new(move |_: &Arc<World>| {
                if let Some(cloud) = cloud.upgrade() {
                    cloud.died(&name, node);
                }
            }),
        );
        let boot = world.draw_us(BOOT_US.0, BOOT_US.1);
        if world.fault(world.weather().boot) {
            let (cloud, early) = (self.clone(), world.draw_us(0, BOOT_US.1));
            world.after(boot + early, move |world| {
                if cloud.is_running(&id) {
                    world.note("machine lost early", &id);
                    cloud.harm(&id);
                    world.kill(node);
                    cloud.exited(&id, "it was preempted");
                }
            });
        }
        let cloud = Arc::downgrade(self);
        world.after(boot, move |world| {
            if cloud.upgrade().is_some_and(|cloud| cloud.is_running(&first)) {
                world.start(node);
            }
        });
    }

    /// The machine is there, and has not stopped.
    fn is_running(&self, id: &str) -> bool {
        locked(&self.machines).get(id).is_some_and(|vm| vm.state == MachineState::Running)
    }

    /// What a machine does in a boot.
    fn program(self: &Arc<Self>, spec: &MachineSpec) -> super::Program {
        let (cloud, spec, sky) = (Arc::downgrade(self), spec.clone(), self.sky.clone());
        let memory = plants::Disk::default();
        let cell = format!("local:{}", self.cell);
        Arc::new(move |host: Host, node: NodeId| -> BoxFuture<'static, ()> {
            let host = plants::agent(sky.plant, &memory, host);
            let (cloud, spec, cell, sky) = (cloud.clone(), spec.clone(), cell.clone(), sky.clone());
            Box::pin(async move {
                let who = format!("{} in boot {:08x}", spec.id, host.id() as u32);
                let spot = Spot { world: sky.world, ledger: sky.ledger, starts: sky.starts, node, who };
                let runtime = Watched::new(&host, spot);
                let session = Session::new(host.clone(), cell, spec.id.clone(), spec.token.clone());
                session.live(runtime, std::future::pending()).await;
                host.clock.sleep(Duration::from_millis(1)).await;
                if let Some(cloud) = cloud.upgrade() {
                    cloud.exited(&spec.id, "the agent has left");
                }
            })
        })
    }

    /// The process of a machine has died: it boots again, or is lost.
    fn died(self: &Arc<Self>, id: &str, node: NodeId) {
        let world = &self.sky.world;
        self.harm(id);
        if world.draw_us(0, 2) == 0 {
            world.note("machine reboots", id);
            let pause = world.draw_us(REBOOT_US.0, REBOOT_US.1);
            let (cloud, id) = (Arc::downgrade(self), id.to_owned());
            world.after(pause, move |world| {
                if cloud.upgrade().is_some_and(|cloud| cloud.is_running(&id)) {
                    world.start(node);
                }
            });
        } else {
            world.note("machine lost", id);
            self.exited(id, "it was preempted");
        }
    }

    fn exited(&self, id: &str, why: &str) {
        if let Some(vm) = locked(&self.machines).get_mut(id) {
            vm.state = MachineState::Exited(why.to_owned());
        }
        self.changed.notify_one();
    }

    /// Something that happens at the provider after a hop, and is answered after another.
    fn remote<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Arc<World>) -> Result<T, ProviderError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, ProviderError>> {
        let world = &self.sky.world;
        let failed = || Err(ProviderError::Failed("internal error".into()));
        let (mut there, back) = (world.draw_us(HOP_US.0, HOP_US.1), world.draw_us(HOP_US.0, HOP_US.1));
        let mut unheard = false;
        if world.fault(world.weather().provider) {
            match world.draw_us(0, 3) {
                0 => {
                    world.note("provider fails", &self.cell);
                    return Box::pin(async move { failed() });
                }
                1 => {
                    world.note("provider unheard", &self.cell);
                    unheard = true;
                }
                _ => {
                    world.note("provider slow", &self.cell);
                    there = world.draw_us(SLOW_US.0, SLOW_US.1);
                }
            }
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        world.after(there, move |world| {
            let done = act(world);
            world.after(back, move |_| drop(answer.send(if unheard { failed() } else { done })));
        });
        Box::pin(async move { answered.await.unwrap_or(Err(ProviderError::Failed("no answer".into()))) })
    }
}

/// The provider as a cell holds it.
pub struct Provider(pub Arc<Cloud>);

impl MachineProvider for Provider {
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>> {
        let cloud = self.0.clone();
        self.0.remote(move |world| {
            if cloud.sold_out.load(Ordering::Relaxed) {
                world.note("no machine left", &cloud.cell);
                return Err(ProviderError::Exhausted("none left in this region".into()));
            }
            cloud.make(&spec);
            Ok(())
        })
    }

    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>> {
        let (cloud, id) = (self.0.clone(), id.to_owned());
        self.0.remote(move |world| {
            let vm = locked(&cloud.machines).remove(&id);
            if let Some(vm) = vm {
                world.kill(vm.node);
            }
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>> {
        let cloud = self.0.clone();
        self.0.remote(move |_| {
            Ok(locked(&cloud.machines).iter().map(|(id, vm)| (id.clone(), vm.state.clone())).collect())
        })
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        let changed = self.0.changed.clone();
        Box::pin(async move { changed.notified().await })
    }
}
