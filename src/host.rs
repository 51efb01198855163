//! Which hosts are this machine: what never leaves it may travel in the clear. And addresses and networks as people write them.
//! Knows no other part, and asks no resolver.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::Deserialize;

/// An address, or a network of them, in the one canonical form that records have: of IPv4 where it is mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Addresses(IpNet);

impl Addresses {
    /// Whether it is one of them.
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse().map(|ip: IpAddr| IpNet::from(ip.to_canonical()));
        let network = address.or_else(|_| text.parse::<IpNet>());
        let network = network.map_err(|_| "not an address or a network such as 203.0.113.0/24".to_owned())?;
        if network.trunc() != network {
            return Err(format!("{network} has bits behind its prefix: write {} for all of it", network.trunc()));
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for Addresses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
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
        assert!(has("::ffff:192.0.2.7", "192.0.2.7") && has("192.0.2.0/24", "192.0.2.8"));
        assert!(has("2001:DB8::/32", "2001:db8::a") && !has("2001:db8::/32", "192.0.2.8"));
        for bad in ["", "nonsense", "192.0.2", "192.0.2.0/33", "10.0.0.1/8", "192.0.2.0/"] {
            assert!(bad.parse::<Addresses>().is_err(), "{bad}");
        }
        assert!("10.0.0.1/8".parse::<Addresses>().unwrap_err().contains("write 10.0.0.0/8"));
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
