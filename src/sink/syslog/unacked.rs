//! How many bytes of a connection the other side's TCP has not acknowledged yet, asked of the kernel.
//!
//! `SIOCOUTQ` tells the same, but takes an `ioctl`; this asks by a `sock_diag` netlink message (`linux/inet_diag.h`,
//! sock_diag(7)), which finds one socket by its addresses in a few microseconds and needs no privilege.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use tokio::net::TcpStream;

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// `struct inet_diag_req_v2` behind it.
const REQUEST_LEN: usize = 56;
/// Where `idiag_wqueue` is in the answer: header, 4 bytes, 48 of addresses, `expires`, `rqueue`.
const WQUEUE_AT: usize = HEADER_LEN + 4 + 48 + 8;
/// More than one answer takes.
const ANSWER_LEN_MAX: usize = 1024;

/// Asks about one connection.
#[derive(Debug)]
pub(super) struct Unacked {
    netlink: OwnedFd,
    request: [u8; HEADER_LEN + REQUEST_LEN],
}

impl Unacked {
    /// Fails where the kernel has no such interface.
    pub(super) fn new(stream: &TcpStream) -> io::Result<Self> {
        let request = request(stream.local_addr()?, stream.peer_addr()?);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let netlink = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
        let unacked = Self { netlink, request };
        unacked.bytes()?;
        Ok(unacked)
    }

    /// Bytes written and not acknowledged, sent or not; an error once the connection is gone.
    pub(super) fn bytes(&self) -> io::Result<u32> {
        send(&self.netlink, &self.request, SendFlags::empty())?;
        let mut answer = [0; ANSWER_LEN_MAX];
        let (_, len) = recv(&self.netlink, &mut answer[..], RecvFlags::empty())?;
        let answer = &answer[..len.min(ANSWER_LEN_MAX)];
        if number::<2>(answer, 4).map(u16::from_ne_bytes) == Some(ERROR) {
            let errno = number(answer, HEADER_LEN).map_or(0, i32::from_ne_bytes);
            return Err(io::Error::from_raw_os_error(-errno));
        }
        number(answer, WQUEUE_AT).map(u32::from_ne_bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// For exactly one TCP socket in any state.
fn request(local: SocketAddr, peer: SocketAddr) -> [u8; HEADER_LEN + REQUEST_LEN] {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let length = u32::try_from(HEADER_LEN + REQUEST_LEN).unwrap_or(0);
    // IPPROTO_TCP; no extensions.
    let what = [u8::try_from(family.as_raw()).unwrap_or(0), 6, 0, 0];
    let parts: [&[u8]; 12] = [
        &length.to_ne_bytes(),
        &BY_FAMILY.to_ne_bytes(),
        &REQUEST.to_ne_bytes(),
        &[0; 8],
        &what,
        // Every state.
        &[0xff; 4],
        &local.port().to_be_bytes(),
        &peer.port().to_be_bytes(),
        &address(local.ip()),
        &address(peer.ip()),
        // Any interface.
        &[0; 4],
        // INET_DIAG_NOCOOKIE.
        &[0xff; 8],
    ];
    let mut request = [0; HEADER_LEN + REQUEST_LEN];
    for (to, from) in request.iter_mut().zip(parts.concat()) {
        *to = from;
    }
    request
}

fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::{io::AsyncReadExt as _, net::TcpListener, time::sleep};

    use super::*;

    #[tokio::test]
    async fn it_counts_what_the_other_side_did_not_take() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut other, _) = listener.accept().await.unwrap();
            let unacked = Unacked::new(&stream).unwrap();
            assert_eq!(unacked.bytes().unwrap(), 0);
            // Until neither side's buffers take any more.
            let mut written = 0;
            let full = Instant::now() + Duration::from_secs(30);
            while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(300), stream.writable()).await {
                assert!(Instant::now() < full);
                match stream.try_write(&[b'x'; 65_536]) {
                    Ok(len) => written += len,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            let left = unacked.bytes().unwrap() as usize;
            assert!(0 < left && left < written, "{left} of {written}");
            let mut read = vec![0; written];
            other.read_exact(&mut read).await.unwrap();
            while unacked.bytes().unwrap() > 0 {
                sleep(Duration::from_millis(1)).await;
            }
            drop(stream);
            drop(other);
        }
    }
}
