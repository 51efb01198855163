//! Which hosts are this machine: what never leaves it may travel in the clear. And addresses and networks as people write them.
//! Knows no other part, and asks no resolver.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// Bits before the IPv4 address in one that is mapped into IPv6.
const MAPPED_BITS: u8 = 96;

/// An address, or a network of them, in the one canonical form that records have: of IPv4 where it is mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Addresses(IpNet);

impl Addresses {
    /// Whether it is one of them; an address in its canonical form.
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }

    /// All of them.
    pub const fn network(&self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network =
            text.parse().map(|ip: IpAddr| IpNet::from(ip)).or_else(|_| text.parse::<IpNet>()).map_err(|_| {
                let cut: String = text.chars().take(64).collect();
                format!("{cut:?} is no network such as 192.0.2.0/24 or 2001:db8::/32, and no address")
            })?;
        if network.trunc() != network {
            return Err(format!("{network} has bits behind its prefix; write {}", network.trunc()));
        }
        Ok(Self(canonical(network)))
    }
}

fn canonical(network: IpNet) -> IpNet {
    let bits = network.prefix_len().checked_sub(MAPPED_BITS);
    let mapped = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    };
    let v4 = |address: Ipv4Addr| Some(IpNet::V4(Ipv4Net::new(address, bits?).ok()?));
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(_) => mapped(network.network()).and_then(v4).unwrap_or(network),
    }
}

impl TryFrom<String> for Addresses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// One address, with or without brackets and a port, in its canonical form.
pub fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()));
    address.map(|address| address.to_canonical())
}

/// The client's address out of what a server or a proxy says of it: `X-Forwarded-For` as it is, whose first entry is the
/// client, a socket's address, an interface (`%eth0`) behind it.
pub fn client_address(text: &str) -> Option<IpAddr> {
    let first = text.split(',').next()?;
    let Some((before, zone)) = first.split_once('%') else { return address(first) };
    // What follows the bracket belongs to the address again.
    let after = zone.find(']').map_or("", |end| &zone[end..]);
    address(&format!("{before}{after}"))
}

/// Whether a host, as URLs and addresses write it, is this machine and no name that could come to be another.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_told_from_nonsense() {
        let has = |text: &str, address: &str| text.parse::<Addresses>().unwrap().contains(&address.parse().unwrap());
        assert!(has("192.0.2.7", "192.0.2.7") && !has("192.0.2.7", "192.0.2.8"));
        assert!(has("::ffff:192.0.2.0/120", "192.0.2.7") && !has("::ffff:192.0.2.0/120", "192.0.3.7"));
        assert!(has("::/0", "2001:db8::a") && !has("::/0", "192.0.2.7"));
        assert!(has("::ffff:192.0.2.7", "192.0.2.7") && has("192.0.2.0/24", "192.0.2.8"));
        assert!(has("2001:DB8::/32", "2001:db8::a") && !has("2001:db8::/32", "192.0.2.8"));
        for bad in ["", "nonsense", "192.0.2", "192.0.2.0/33", "10.0.0.1/8", "192.0.2.0/"] {
            assert!(bad.parse::<Addresses>().is_err(), "{bad}");
        }
        assert!("10.0.0.1/8".parse::<Addresses>().unwrap_err().contains("write 10.0.0.0/8"));
    }

    #[test]
    fn a_clients_address_is_read_as_servers_and_proxies_write_it() {
        for (text, address) in [
            ("203.0.113.77", Some("203.0.113.77")),
            (" 203.0.113.77:20000 ", Some("203.0.113.77")),
            ("203.0.113.77:5555, 10.0.0.1", Some("203.0.113.77")),
            ("2001:DB8:0::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:443,10.0.0.1", Some("2001:db8::7")),
            ("fe80::7%eth0", Some("fe80::7")),
            ("[fe80::7%25eth0]:443, [::1]", Some("fe80::7")),
            ("::ffff:203.0.113.77", Some("203.0.113.77")),
            ("[::ffff:203.0.113.77]:80", Some("203.0.113.77")),
            ("unknown, 10.0.0.1", None),
            ("", None),
            (",10.0.0.1", None),
            ("203.0.113.77:", None),
            ("203.0.113.77:70000", None),
            ("203.0.113", None),
            ("[2001:db8::7", None),
        ] {
            assert_eq!(client_address(text), address.map(|address| address.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_loopback_is_this_machine() {
        for here in ["localhost", "LocalHost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_this_machine(here), "{here}");
        }
        for elsewhere in [
            "",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::1",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "127.1",
            "xlocalhost",
        ] {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
    }
}
