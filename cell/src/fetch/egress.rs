//! Which addresses a request of a tenant may go to: public ones, and those that the operator has allowed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Egress {
    /// Addresses that are let out although they are not public.
    pub allow: Vec<Allowed>,
    /// Names that lead to the address that the operator has given, whatever kind it is, and are looked up nowhere.
    pub pins: BTreeMap<String, IpAddr>,
}

/// A range of addresses, and perhaps one port: `127.0.0.1:3000`, `10.1.0.0/16`, `10.1.0.0/16:443`, `[::1]:80`, `fd00::/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowed {
    net: IpAddr,
    bits: u8,
    port: Option<u16>,
}

/// What is wrong with a range.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is no range of addresses: write ADDRESS, ADDRESS/BITS, or either with :PORT, IPv6 in brackets then"
)]
pub struct NotARange(String);

impl FromStr for Allowed {
    type Err = NotARange;

    fn from_str(text: &str) -> Result<Self, NotARange> {
        let no = || NotARange(text.to_owned());
        // The port is behind the last colon, unless that colon is one of an IPv6 address.
        let (range, port) = match text.rsplit_once(':') {
            Some((range, port)) if !range.contains(':') || range.ends_with(']') || range.contains("]/") => {
                (range, Some(port.parse().map_err(|_| no())?))
            }
            _ => (text, None),
        };
        let (address, bits) = match range.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| no())?)),
            None => (range, None),
        };
        let net: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| no())?;
        let most = if net.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most { Err(no()) } else { Ok(Self { net, bits, port }) }
    }
}

impl std::fmt::Display for Allowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.net, self.port) {
            (IpAddr::V6(net), Some(port)) => write!(f, "[{net}]/{}:{port}", self.bits),
            (net, Some(port)) => write!(f, "{net}/{}:{port}", self.bits),
            (net, None) => write!(f, "{net}/{}", self.bits),
        }
    }
}

impl Allowed {
    fn holds(&self, address: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == address.port()) && within(address.ip(), self.net, self.bits)
    }
}

impl Egress {
    /// Whether a connection to `address` may be made.
    ///
    /// # Errors
    /// What kind of address it is.
    pub fn check(&self, address: SocketAddr) -> Result<(), &'static str> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        match class(address.ip()) {
            Some(class) if !self.allow.iter().any(|allowed| allowed.holds(address)) => Err(class),
            _ => Ok(()),
        }
    }
}

fn within(address: IpAddr, net: IpAddr, bits: u8) -> bool {
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

/// Ranges of IPv4 that are nobody's on the internet.
const V4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "an unspecified"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a private"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback"),
    // The metadata servers of clouds are among these.
    (Ipv4Addr::new(169, 254, 0, 0), 16, "a link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a reserved"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a private"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a reserved"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a reserved"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved"),
];

/// The same of IPv6, inside and outside of what is given out at all (`2000::/3`).
const V6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "an unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "a reserved"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "a reserved"),
];

/// What an address is if it is not a public one.
fn class(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => v4_class(v4),
        IpAddr::V6(v6) => {
            // Translators and tunnels lead to the IPv4 address inside.
            let [a, b, c, _, _, _, g, h] = v6.segments();
            let inside = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
                return v4_class(inside(g, h));
            }
            if a == 0x2002 {
                return v4_class(inside(b, c));
            }
            let known = V6.iter().find(|(net, bits, _)| within(address, IpAddr::V6(*net), *bits));
            known.map(|(.., class)| *class).or((a & 0xe000 != 0x2000).then_some("a reserved"))
        }
    }
}

fn v4_class(address: Ipv4Addr) -> Option<&'static str> {
    let known = V4.iter().find(|(net, bits, _)| within(IpAddr::V4(address), IpAddr::V4(*net), *bits));
    known.map(|(.., class)| *class)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], address: &str) -> Result<(), &'static str> {
        let allow = allow.iter().map(|a| a.parse().unwrap()).collect();
        Egress { allow, ..Egress::default() }.check(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_let_out() {
        for (address, class) in [
            ("127.0.0.1:80", "a loopback"),
            ("127.9.9.9:80", "a loopback"),
            ("0.0.0.0:80", "an unspecified"),
            ("10.1.2.3:80", "a private"),
            ("100.100.0.1:80", "a private"),
            ("172.31.255.255:80", "a private"),
            ("192.168.0.1:80", "a private"),
            ("169.254.169.254:80", "a link-local"),
            ("224.0.0.1:80", "a multicast"),
            ("255.255.255.255:80", "a reserved"),
            ("[::1]:80", "a loopback"),
            ("[::]:80", "an unspecified"),
            ("[::ffff:127.0.0.1]:80", "a loopback"),
            ("[::ffff:a9fe:a9fe]:80", "a link-local"),
            ("[::127.0.0.1]:80", "a reserved"),
            ("[64:ff9b::a9fe:a9fe]:80", "a link-local"),
            ("[64:ff9b:1::1]:80", "a reserved"),
            ("[2002:a00:1::1]:80", "a private"),
            ("[2001::1]:80", "a reserved"),
            ("[2001:db8::1]:80", "a reserved"),
            ("[fd00:ec2::254]:80", "a private"),
            ("[fd20:ce::254]:80", "a private"),
            ("[fe80::1]:80", "a link-local"),
            ("[fec0::1]:80", "a reserved"),
            ("[ff02::1]:80", "a multicast"),
        ] {
            assert_eq!(check(&[], address), Err(class), "{address}");
        }
        for address in
            ["1.1.1.1:443", "172.32.0.1:80", "100.128.0.1:80", "[2606:4700::1]:443", "[2002:808:808::1]:80"]
        {
            assert_eq!(check(&[], address), Ok(()), "{address}");
        }
    }

    #[test]
    fn what_the_operator_allows_is_let_out_and_nothing_beside_it() {
        let allow = ["127.0.0.1:3000", "10.1.0.0/16", "10.2.0.0/16:443", "[::1]:80", "fd00::/8", "0.0.0.0/8"];
        for address in [
            "127.0.0.1:3000",
            "[::ffff:127.0.0.1]:3000",
            "10.1.9.9:1",
            "10.2.1.1:443",
            "[::1]:80",
            "[fd12::1]:9",
        ] {
            assert_eq!(check(&allow, address), Ok(()), "{address}");
        }
        for address in
            ["127.0.0.1:3001", "127.0.0.2:3000", "10.2.1.1:80", "10.3.0.1:443", "[::1]:81", "[fc00::1]:9"]
        {
            assert!(check(&allow, address).is_err(), "{address}");
        }
        for wrong in
            ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", "10.0.0.0/33", "10.0.0.0/x", "[::1]/129:80"]
        {
            assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
        }
        assert_eq!(check(&["[fd00::]/8:443"], "[fd00::1]:443"), Ok(()));
    }
}
