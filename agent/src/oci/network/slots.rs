//! Which pod has which address. One file per slot, locked by its agent for as long as it lives, so that the kernel
//! tells which ones are free; one more lock for whoever changes anything.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::netlink::Netlink;
use super::rules;

/// Of this host, not of one installation: addresses are the host's.
pub const DIR: &str = "/run/cella/network";
/// A /16 holds this many /30.
const SLOTS: u32 = 1 << 14;
const FIRST: u32 = u32::from_be_bytes([10, 201, 0, 0]);
/// Present while the rules are set.
const RULES: &str = "rules";

/// All slots, locked.
pub struct Slots {
    _lock: Flock<File>,
}

/// One pod's addresses.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    path: PathBuf,
    _held: Flock<File>,
}

fn locked(path: &Path, how: FlockArg) -> io::Result<Flock<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    Flock::lock(file, how).map_err(|(_, error)| error.into())
}

impl Slots {
    /// Waits for whoever has them.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open() -> io::Result<Self> {
        fs::create_dir_all(DIR)?;
        Ok(Self { _lock: locked(&Path::new(DIR).join("lock"), FlockArg::LockExclusive)? })
    }

    /// Takes a free slot, and sees to it that the host's rules are set.
    ///
    /// # Errors
    /// When there is none, or the rules cannot be set.
    pub fn take(&self, machine: &str) -> io::Result<Slot> {
        // The host's rules stay while somebody uses them; at other times somebody may have changed them.
        let marker = Path::new(DIR).join(RULES);
        if !marker.exists() || !self.in_use()? {
            rules::set()?;
            fs::write(&marker, "")?;
        }
        // Not the lowest free one: its last device may still be on its way out, and removing it takes long.
        let first =
            machine.bytes().fold(std::process::id(), |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
        for number in (0..SLOTS).map(|n| first.wrapping_add(n) % SLOTS) {
            let path = Path::new(DIR).join(number.to_string());
            if let Ok(mut held) = locked(&path, FlockArg::LockExclusiveNonblock) {
                held.set_len(0)?;
                held.write_all(machine.as_bytes())?;
                return Ok(Slot { number, path, _held: held });
            }
        }
        Err(io::Error::other("every address for pods is in use"))
    }

    /// Gives a slot back; the last one takes the rules along.
    ///
    /// # Errors
    /// When the rules cannot be removed.
    pub fn release(&self, slot: Slot) -> io::Result<()> {
        // Its device goes with the pod's namespace.
        let _ = fs::remove_file(&slot.path);
        drop(slot);
        self.clear_unless_used()
    }

    /// Gives the slots of dead agents back.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sweep(&self) -> io::Result<()> {
        for (number, path) in numbered()? {
            if let Ok(held) = locked(&path, FlockArg::LockExclusiveNonblock) {
                Slot { number, path, _held: held }.clear();
            }
        }
        self.clear_unless_used()
    }

    fn in_use(&self) -> io::Result<bool> {
        Ok(numbered()?.iter().any(|(_, path)| locked(path, FlockArg::LockExclusiveNonblock).is_err()))
    }

    fn clear_unless_used(&self) -> io::Result<()> {
        let marker = Path::new(DIR).join(RULES);
        if marker.exists() && !self.in_use()? {
            rules::clear()?;
            fs::remove_file(&marker)?;
        }
        Ok(())
    }
}

fn numbered() -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = fs::read_dir(DIR)?.filter_map(Result::ok);
    Ok(entries.filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path()))).collect())
}

impl Slot {
    /// The host's address.
    pub fn outside(&self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.number * 4 + 1)
    }

    /// The pod's address.
    pub fn inside(&self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + self.number * 4 + 2)
    }

    /// Name of the host's device.
    pub fn device(&self) -> String {
        format!("{}{}", rules::DEVICES, self.number)
    }

    fn clear(&self) {
        let _ = Netlink::open().and_then(|netlink| netlink.remove(&self.device()));
        let _ = fs::remove_file(&self.path);
    }
}
