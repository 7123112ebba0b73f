//! A pod's way out: a veth pair, an address, and address translation on the host.
//!
//! Every pod has a /30 of [`rules::POOL`] of its own: `.1` is the host's end (`cella<slot>`), `.2` the pod's `eth0`.
//! Pods reach nothing of this host, no link-local address (metadata servers), and no other pod. What the kernel
//! holds for a pod dies with its network namespace; the host's rules go with the last pod.

mod netlink;
mod rules;
mod slots;

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use k8s_openapi::api::core::v1::PodSpec;
use nix::sched::{CloneFlags, setns};

use netlink::Netlink;
use slots::{Slot, Slots};

/// Name of the pod's end.
const INSIDE: &str = "eth0";
/// Where hosts with a resolver of their own name the servers behind it.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
const RESOLVER: &str = "/etc/resolv.conf";

/// A pod that is attached. Dropping it gives its address back.
#[derive(Debug)]
pub struct Attached {
    /// The pod's address.
    pub address: Ipv4Addr,
    slot: Option<Slot>,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take()
            && let Err(error) = Slots::open().and_then(|slots| slots.release(slot))
        {
            tracing::warn!(%error, "an address is not given back; the next sweep does it");
        }
    }
}

/// Whether pods can be attached.
///
/// # Errors
/// What is missing, for people.
pub fn available() -> Result<(), &'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can attach pods to the network");
    }
    match rules::tool() {
        Some(_) => Ok(()),
        None => Err("neither nft nor iptables is installed: pods have only their loopback"),
    }
}

/// The network namespace of a process.
///
/// # Errors
/// When the process is gone.
pub fn namespace(pid: i32) -> io::Result<File> {
    File::open(format!("/proc/{pid}/ns/net"))
}

/// Attaches the pod whose supervisor is `pid`. Blocking.
///
/// # Errors
/// When no address is left or the kernel refuses.
pub fn attach(pid: i32, machine: &str) -> io::Result<Attached> {
    let slot = Slots::open()?.take(machine)?;
    let (outside, address, name) = (slot.outside(), slot.inside(), slot.device());
    // From here on the slot is given back whatever happens.
    let attached = Attached { address, slot: Some(slot) };
    let inside = namespace(pid)?;
    let host = Netlink::open()?;
    // Left by a killed agent whose pod's namespace is still being taken down.
    let _ = host.remove(&name);
    host.add_pair(&name, INSIDE, &inside)?;
    // The pod shall not find the host by link-local addresses.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    host.configure(&name, outside)?;
    let configure = move || -> io::Result<()> {
        setns(inside, CloneFlags::CLONE_NEWNET)?;
        // Only the loopback keeps its IPv6: nothing else would be translated.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{INSIDE}/disable_ipv6"), "1");
        let pod = Netlink::open()?;
        pod.configure(INSIDE, address)?;
        pod.default_route(outside)
    };
    // A thread of its own: the namespace cannot be left again.
    let configured = std::thread::spawn(configure).join();
    configured.unwrap_or_else(|_| Err(io::Error::other("the pod's network cannot be configured")))?;
    Ok(attached)
}

/// Removes what killed agents have left.
pub fn sweep() {
    if Path::new(slots::DIR).exists()
        && let Err(error) = Slots::open().and_then(|slots| slots.sweep())
    {
        tracing::warn!(%error, "addresses of dead agents are left");
    }
}

/// Content of the pod's `/etc/resolv.conf`: the host's servers that a pod can reach, or what the Pod says.
pub fn resolver(spec: &PodSpec) -> String {
    let host = fs::read_to_string(RESOLVER).unwrap_or_default();
    let host = match servers(&host).iter().any(|s| !is_loopback(s)) {
        true => host,
        false => fs::read_to_string(UPSTREAM).unwrap_or(host),
    };
    resolver_of(&host, spec)
}

fn servers(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.strip_prefix("nameserver")).map(str::trim).collect()
}

fn is_loopback(server: &str) -> bool {
    server.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn resolver_of(host: &str, spec: &PodSpec) -> String {
    let mut lines: Vec<String> = Vec::new();
    if spec.dns_policy.as_deref() != Some("None") {
        let usable = host.lines().map(str::trim).filter(|line| match line.strip_prefix("nameserver") {
            Some(server) => !is_loopback(server.trim()),
            None => line.starts_with("search") || line.starts_with("options"),
        });
        lines.extend(usable.map(str::to_owned));
    }
    if let Some(config) = &spec.dns_config {
        lines.extend(config.nameservers.iter().flatten().map(|s| format!("nameserver {s}")));
        if let Some(searches) = config.searches.as_ref().filter(|s| !s.is_empty()) {
            lines.retain(|l| !l.starts_with("search"));
            lines.push(format!("search {}", searches.join(" ")));
        }
        let options = config.options.iter().flatten().filter_map(|o| match (&o.name, &o.value) {
            (Some(name), Some(value)) => Some(format!("{name}:{value}")),
            (Some(name), None) => Some(name.clone()),
            (None, _) => None,
        });
        let options: Vec<String> = options.collect();
        if !options.is_empty() {
            lines.push(format!("options {}", options.join(" ")));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests;
