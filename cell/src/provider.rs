//! Where machines come from. The only seam that can spend money: called by the machines loop alone.

use std::collections::BTreeMap;

use base::host::BoxFuture;

pub mod hosted;
pub mod local;
pub mod sim;
pub mod volumes;

/// A machine to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Its id and its name at the provider: asking again for the same one changes nothing.
    pub id: String,
    /// What its agent must show to the cell.
    pub token: String,
    /// Milli-CPUs.
    pub millicpu: u64,
    /// Bytes of memory.
    pub memory: u64,
}

/// What the provider says of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MachineState {
    /// It is there, perhaps still booting.
    Running,
    /// It has stopped by itself, for this reason.
    Exited(String),
}

/// Why the provider did not do it. All are worth trying again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProviderError {
    /// It has none left.
    #[error("the provider has no room: {0}")]
    Exhausted(String),
    /// Anything else.
    #[error("the provider failed: {0}")]
    Failed(String),
}

/// A provider of single-use machines.
pub trait MachineProvider: Send + Sync {
    /// Makes a machine, or finds that it is there.
    fn create(&self, spec: MachineSpec) -> BoxFuture<'_, Result<(), ProviderError>>;
    /// Ends when the machine surely runs no more, or was never there.
    fn delete(&self, id: &str) -> BoxFuture<'_, Result<(), ProviderError>>;
    /// All machines of this cell.
    fn list(&self) -> BoxFuture<'_, Result<BTreeMap<String, MachineState>, ProviderError>>;
    /// Ends when a machine has stopped by itself since the last call; a hint.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// Shows no token.
impl std::fmt::Debug for MachineSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineSpec").field("id", &self.id).finish_non_exhaustive()
    }
}
