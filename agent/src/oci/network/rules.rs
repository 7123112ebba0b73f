//! The host's rules for all pods: outbound by address translation, nothing else. Set through `nft` or `iptables`,
//! whichever is installed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Addresses of all pods of this host.
pub const POOL: &str = "10.201.0.0/16";
/// First part of every device's name on the host.
pub const DEVICES: &str = "cella";
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const TABLE: &str = "cella";
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// What can set rules.
pub enum Tool {
    /// nftables.
    Nft(PathBuf),
    /// iptables, old or over nftables.
    Iptables(PathBuf),
}

/// What this host has.
pub fn tool() -> Option<Tool> {
    let find = |name: &str| FOLDERS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    find("nft").map(Tool::Nft).or_else(|| find("iptables").map(Tool::Iptables))
}

/// Sets the rules; setting them again changes nothing.
///
/// # Errors
/// What the program said.
pub fn set() -> io::Result<()> {
    match tool() {
        Some(Tool::Nft(nft)) => feed(&nft, &document())?,
        Some(Tool::Iptables(iptables)) => {
            for rule in chains() {
                if call(&iptables, &rule.words("-C")).is_err() {
                    call(&iptables, &rule.words(rule.add))?;
                }
            }
        }
        None => return Err(io::Error::other("neither nft nor iptables is installed")),
    }
    // Pods' packets have to pass through this host, as with every container engine.
    if std::fs::read_to_string(FORWARDING).is_ok_and(|on| on.trim() == "0") {
        std::fs::write(FORWARDING, "1")?;
    }
    Ok(())
}

/// Removes the rules.
///
/// # Errors
/// What the program said.
pub fn clear() -> io::Result<()> {
    match tool() {
        Some(Tool::Nft(nft)) => feed(&nft, &format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")),
        Some(Tool::Iptables(iptables)) => {
            for rule in chains() {
                // A rule that is not there is what is wanted.
                let _ = call(&iptables, &rule.words("-D"));
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// One transaction: the table as it shall be.
fn document() -> String {
    format!(
        "add table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n\
           chain input {{ type filter hook input priority filter; iifname \"{DEVICES}*\" drop; }}\n\
           chain forward {{\n\
             type filter hook forward priority filter;\n\
             iifname \"{DEVICES}*\" ip daddr {{ {POOL}, 169.254.0.0/16 }} drop\n\
             iifname \"{DEVICES}*\" meta nfproto ipv6 drop\n\
             oifname \"{DEVICES}*\" ct state established,related accept\n\
             oifname \"{DEVICES}*\" drop\n\
           }}\n\
           chain out {{\n\
             type nat hook postrouting priority srcnat;\n\
             ip saddr {POOL} oifname != \"{DEVICES}*\" masquerade\n\
           }}\n\
         }}\n"
    )
}

struct Rule {
    table: &'static str,
    chain: &'static str,
    add: &'static str,
    rest: Vec<String>,
}

impl Rule {
    fn words(&self, verb: &str) -> Vec<String> {
        let head = ["-w", "-t", self.table, verb, self.chain].map(str::to_owned);
        head.into_iter().chain(self.rest.iter().cloned()).collect()
    }
}

/// The same for iptables. Inserted ones end up in reverse order.
fn chains() -> Vec<Rule> {
    let any = format!("{DEVICES}+");
    let rule = |table, chain, add, rest: &str| {
        let rest = rest.replace("ANY", &any).replace("POOL", POOL);
        Rule { table, chain, add, rest: rest.split(' ').map(str::to_owned).collect() }
    };
    vec![
        rule("nat", "POSTROUTING", "-A", "-s POOL ! -o ANY -j MASQUERADE"),
        rule("filter", "INPUT", "-I", "-i ANY -j DROP"),
        rule("filter", "FORWARD", "-I", "-i ANY -j ACCEPT"),
        rule("filter", "FORWARD", "-I", "-o ANY -j DROP"),
        rule("filter", "FORWARD", "-I", "-o ANY -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
        rule("filter", "FORWARD", "-I", "-i ANY -d 169.254.0.0/16 -j DROP"),
        rule("filter", "FORWARD", "-I", "-i ANY -d POOL -j DROP"),
    ]
}

fn feed(program: &Path, document: &str) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(document.as_bytes())?;
    }
    said(program, &child.wait_with_output()?)
}

fn call(program: &Path, words: &[String]) -> io::Result<()> {
    said(program, &Command::new(program).args(words).stdin(Stdio::null()).output()?)
}

fn said(program: &Path, output: &std::process::Output) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}", program.display(), text.trim())))
}
