//! Labels of a network that rules know.

/// Data centres.
pub const HOSTING: u16 = 1;
/// VPN services.
pub const VPN: u16 = 2;
/// Tor exits.
pub const TOR: u16 = 4;
/// Open and residential proxies.
pub const PROXY: u16 = 8;
/// Mobile carriers, whose addresses and places mean little.
pub const MOBILE: u16 = 16;
/// Relays and satellites, whose places mean little: Apple's Private Relay, Starlink, aircraft.
pub const ROAMING: u16 = 32;
/// The operator's own: offices.
pub const OFFICE: u16 = 64;
/// Refused by the operator.
pub const BLOCKED: u16 = 128;
/// The address is one of IPv6.
pub const IPV6: u16 = 256;
/// Its autonomous system is known.
pub const NUMBERED: u16 = 512;

/// Whose place says nothing about where the person is.
pub const NOWHERE: u16 = HOSTING | VPN | TOR | PROXY | MOBILE | ROAMING;
/// Who hides behind another address.
pub const ANONYMISER: u16 = VPN | TOR | PROXY;

/// Whose addresses come and go with a person on the move: a telephone's, a relay's, an aircraft's.
pub fn moves(labels: u16) -> bool {
    labels & (MOBILE | ROAMING) != 0
}

pub(super) fn of(name: &str) -> u16 {
    match name {
        "hosting" | "datacenter" | "data_center" | "cloud" => HOSTING,
        "vpn" => VPN,
        "tor" => TOR,
        "proxy" | "residential_proxy" | "anonymous" => PROXY,
        "mobile" | "cellular" | "cgnat" => MOBILE,
        "relay" | "private_relay" | "satellite" | "inflight" => ROAMING,
        "office" | "corporate" => OFFICE,
        "blocked" => BLOCKED,
        _ => 0,
    }
}
