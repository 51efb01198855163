//! One way to the other side: a TCP or TLS connection, or a UDP socket. Knows bytes, not records.
//!
//! Syslog over TCP answers nothing. What can be known is asked for: whether the other side has closed, before each write
//! and after it, and how much its TCP has acknowledged.

use std::{future::poll_fn, io, net::SocketAddr, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Buf as _;
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use rustls::{ClientConfig, ProtocolVersion, client::Resumption, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UdpSocket, lookup_host},
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{ahead::Ahead, counted::Counted, unacked::Unacked};

/// Connecting takes a few round trips; a host that is down should show sooner than a slow one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// With TLS 1.3 a client is done before the server has looked at its certificate. A server that takes it says so by a
/// session ticket, or says nothing: then this long is waited for a refusal.
const JUDGED_WITHIN: Duration = Duration::from_secs(1);
/// A server that refuses us (its list of senders, its number of connections) closes soon after it accepted. Waited after
/// the first batch of a connection.
pub(super) const SETTLE: Duration = Duration::from_millis(100);
/// For so long it is asked again at once whether everything is acknowledged: the time to this machine and to the next, and
/// less than the runtime's shortest sleep. Then after waits from the next to the one after it.
const ACK_ASKED_AT_ONCE: Duration = Duration::from_millis(1);
const ACK_POLL_MIN: Duration = Duration::from_millis(1);
const ACK_POLL_MAX: Duration = Duration::from_millis(50);
/// What came in is read in so many pieces of at most this length; who says more is no syslog server.
const READS_MAX: u32 = 64;
const READ_BYTES: usize = 4 << 10;
/// For bytes that the kernel has already, but tokio may not have heard of.
const READ_TIME: Duration = Duration::from_millis(10);
/// For the last words of a connection that is closed in order.
pub(super) const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Where to.
pub(super) enum Target {
    Udp { address: String },
    Tcp { address: String },
    Tls { address: String, config: Arc<ClientConfig>, name: ServerName<'static> },
}

/// See the head of this file.
pub(super) struct Link {
    stream: Stream,
    /// `None` where the kernel cannot be asked, and for UDP.
    unacked: Option<Unacked>,
    /// Nothing has been delivered by it so far.
    pub(super) fresh: bool,
}

enum Stream {
    Udp(UdpSocket),
    Tcp(Counted),
    Tls(Box<TlsStream<Counted>>),
}

impl Target {
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Udp { address } | Self::Tcp { address } | Self::Tls { address, .. } => address,
        }
    }

    /// Connects, with TLS until the other side has accepted our certificate.
    pub(super) async fn connect(&self) -> io::Result<Link> {
        let connected = timeout(CONNECT_TIMEOUT, self.stream()).await;
        let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let unacked = stream.tcp().and_then(|tcp| match Unacked::new(tcp) {
            Ok(unacked) => Some(unacked),
            Err(error) => {
                tracing::warn!(%error, "the kernel does not tell what TCP has acknowledged: only the last records are sent again after a broken connection");
                None
            }
        });
        Ok(Link { stream, unacked, fresh: true })
    }

    async fn stream(&self) -> io::Result<Stream> {
        match self {
            Self::Udp { address } => {
                let to = lookup_host(address).await?.next().ok_or(io::ErrorKind::NotFound)?;
                let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(to).await?;
                Ok(Stream::Udp(socket))
            }
            Self::Tcp { address } => tcp(address).await.map(Stream::Tcp),
            Self::Tls { address, config, name } => {
                let tcp = tcp(address).await?;
                // A session is never resumed: servers that ask for certificates and name no session id context (rsyslog
                // does not) refuse that, and connections are rare. A memory of its own rather than none, so that servers
                // still send the ticket that `judged` waits for.
                let mut config = ClientConfig::clone(config);
                config.resumption = Resumption::in_memory_sessions(1);
                let mut stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), tcp).await?;
                judged(&mut stream).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
        }
    }
}

async fn tcp(address: &str) -> io::Result<Counted> {
    let stream = TcpStream::connect(address).await?;
    // The end of a batch does not wait for the acknowledgement of what is before it.
    stream.set_nodelay(true)?;
    Ok(Counted { tcp: stream, written: 0 })
}

/// Waits for a word on our certificate; see [`JUDGED_WITHIN`].
async fn judged(stream: &mut TlsStream<Counted>) -> io::Result<()> {
    if stream.get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(());
    }
    let mut bytes = [0; READ_BYTES];
    let word = poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(closed())),
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending if stream.get_ref().1.tls13_tickets_received() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    });
    timeout(JUDGED_WITHIN, word).await.unwrap_or(Ok(()))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the other side closed the connection")
}

impl Stream {
    fn counted(&self) -> Option<&Counted> {
        match self {
            Self::Udp(_) => None,
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        self.counted().map(|counted| &counted.tcp)
    }
}

impl Link {
    /// Fails where the other side has closed, as far as that has come here.
    pub(super) async fn alive(&mut self) -> io::Result<()> {
        for _ in 0..READS_MAX {
            let Some(tcp) = self.stream.tcp() else { return self.no_error() };
            // Asked of the kernel itself: what the runtime knows of it may be older.
            match recv(tcp, &mut [0_u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
                Ok((_, 0)) => return Err(closed()),
                Ok(_) => self.take().await?,
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the other side talks back without end: no syslog server"))
    }

    /// Takes what has come in: TLS's own messages, or words that mean nothing here.
    async fn take(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        let read = match &mut self.stream {
            Stream::Udp(_) => return Ok(()),
            Stream::Tcp(stream) => timeout(READ_TIME, stream.read(&mut bytes)).await,
            Stream::Tls(stream) => timeout(READ_TIME, stream.read(&mut bytes)).await,
        };
        match read {
            Ok(Ok(0)) => Err(closed()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// What ICMP said of earlier datagrams.
    fn no_error(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Udp(socket) => socket.take_error()?.map_or(Ok(()), Err),
            Stream::Tcp(_) | Stream::Tls(_) => Ok(()),
        }
    }

    /// Hands a piece to the kernel. After an error the link is of no use: half a message may be out.
    pub(super) async fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Udp(socket) => socket.send(piece).await.map(drop),
            Stream::Tcp(stream) => stream.write_all(piece).await,
            Stream::Tls(stream) => {
                stream.write_all(piece).await?;
                stream.flush().await
            }
        }
    }

    /// Bytes that were handed to the kernel's TCP.
    pub(super) fn sent(&self) -> u64 {
        self.stream.counted().map_or(0, |counted| counted.written)
    }

    /// Of those, how many the other side's TCP has; all of them where that cannot be known.
    fn acked(&self) -> io::Result<u64> {
        let unacked = self.unacked.as_ref().map_or(Ok(0), Unacked::bytes)?;
        Ok(self.sent().saturating_sub(unacked.into()))
    }

    /// Hands some of what comes next to the kernel, or the last that TLS has of it. May be broken off at any time.
    pub(super) async fn send_some(&mut self, ahead: &mut Ahead) -> io::Result<()> {
        let Some(piece) = ahead.rest.front_mut() else {
            if let Stream::Tls(stream) = &mut self.stream {
                stream.flush().await?;
            }
            ahead.end = Some(self.sent());
            return Ok(());
        };
        let len = match &mut self.stream {
            Stream::Udp(_) => return Ok(()),
            Stream::Tcp(stream) => stream.write(piece).await?,
            Stream::Tls(stream) => stream.write(piece).await?,
        };
        ahead.begun = true;
        piece.advance(len);
        if piece.is_empty() {
            ahead.rest.pop_front();
        }
        Ok(())
    }

    /// Waits until the other side's TCP has everything up to `end` (see [`Link::sent`]), where that can be known, and looks
    /// once more whether it is there. Sends of `ahead` what there is room and time for.
    pub(super) async fn taken(&mut self, end: u64, ahead: &mut Ahead) -> io::Result<bool> {
        let (begun, mut wait) = (Instant::now(), ACK_POLL_MIN);
        while self.acked()? < end {
            if !self.fresh && ahead.end.is_none() {
                match timeout(wait, self.send_some(ahead)).await {
                    Ok(sent) => sent?,
                    Err(_) => wait = (wait * 2).min(ACK_POLL_MAX),
                }
            } else if begun.elapsed() < ACK_ASKED_AT_ONCE {
                yield_now().await;
            } else {
                sleep(wait).await;
                wait = (wait * 2).min(ACK_POLL_MAX);
            }
        }
        if self.fresh {
            sleep(SETTLE).await;
        }
        self.alive().await?;
        self.fresh = false;
        Ok(self.unacked.is_some())
    }

    /// Closes it in order.
    pub(super) async fn close(self) {
        let farewell = async {
            match self.stream {
                Stream::Udp(_) => Ok(()),
                Stream::Tcp(mut stream) => stream.shutdown().await,
                Stream::Tls(mut stream) => stream.shutdown().await,
            }
        };
        let _ = timeout(CLOSE_TIME, farewell).await;
    }
}
