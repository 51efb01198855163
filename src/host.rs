//! Which hosts are this machine: what never leaves it may travel in the clear. Knows no other part, and asks no resolver.

use std::net::IpAddr;

/// Whether a host, as URLs and addresses write it, is this machine and no name that could come to be another.
pub fn is_this_machine(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

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
