//! A syslog server on loopback (TCP, TLS or UDP) that does as a test says. Frames are cut here a second time, after
//! RFC 6587; messages are read by another implementation of RFC 5424.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use syslog_rfc5424::{SyslogMessage, parse_message};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::support::app::free_port;

/// What it does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads everything.
    Reads,
    /// Accepts, and never reads: what fits in its small buffer is acknowledged, the rest not.
    Hangs,
    /// Reads a byte now and then.
    Drips,
    /// Reads so many bytes of each connection and closes it, with more unread: by RST.
    BreaksOff(usize),
    /// Closes at once, as a server that has no room for us does.
    Closes,
}

/// How it is spoken to.
#[derive(Clone)]
pub enum Wire {
    Udp,
    /// Length first.
    Octet,
    /// A line each.
    Lf,
    /// Length first, inside TLS.
    Tls(TlsAcceptor),
}

pub struct FakeSyslog {
    pub address: SocketAddr,
    wire: Wire,
    mode: Arc<Mutex<Mode>>,
    messages: Arc<Mutex<Vec<String>>>,
    /// What was left of connections that ended within a frame.
    torn: Arc<Mutex<Vec<Vec<u8>>>>,
    server: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// So small that a batch does not fit: what the kernel makes of less.
const BUFFER_BYTES: usize = 2_304;
const DRIP_EVERY: Duration = Duration::from_millis(20);

impl FakeSyslog {
    /// An address that nobody listens at yet, and that no connection of another test gets as its own side while it is down.
    pub fn new(wire: Wire) -> Self {
        let address = free_port();
        let mode = Arc::new(Mutex::new(Mode::Reads));
        Self { address, wire, mode, messages: Arc::default(), torn: Arc::default(), server: Mutex::default() }
    }

    /// For connections to come.
    pub fn mode(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// Listens.
    pub fn up(&self) {
        let (messages, torn, mode) = (Arc::clone(&self.messages), Arc::clone(&self.torn), Arc::clone(&self.mode));
        let (stop, mut stopped) = oneshot::channel();
        let server = if matches!(self.wire, Wire::Udp) {
            let socket = std::net::UdpSocket::bind(self.address).unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = UdpSocket::from_std(socket).unwrap();
            tokio::spawn(async move {
                let mut datagram = vec![0; 65_536];
                loop {
                    let read = tokio::select! {
                        read = socket.recv(&mut datagram) => read.unwrap(),
                        _ = &mut stopped => return,
                    };
                    messages.lock().unwrap().push(String::from_utf8(datagram[..read].to_vec()).unwrap());
                }
            })
        } else {
            let (listener, wire) = (self.listener(), self.wire.clone());
            tokio::spawn(async move {
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap(),
                        _ = &mut stopped => break,
                    };
                    let mode = *mode.lock().unwrap();
                    let (messages, torn) = (Arc::clone(&messages), Arc::clone(&torn));
                    connections.spawn(serve(stream, wire.clone(), mode, messages, torn));
                }
                drop(listener);
                connections.shutdown().await;
            })
        };
        *self.server.lock().unwrap() = Some((stop, server));
    }

    fn listener(&self) -> TcpListener {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        if matches!(*self.mode.lock().unwrap(), Mode::Hangs | Mode::Drips) {
            socket.set_recv_buffer_size(u32::try_from(BUFFER_BYTES).unwrap()).unwrap();
        }
        socket.bind(self.address).unwrap();
        socket.listen(16).unwrap()
    }

    /// Listens no more, and has closed every connection when it returns.
    pub async fn down(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some((stop, server)) = server {
            drop(stop);
            server.await.unwrap();
        }
    }

    /// Every whole message so far, as text.
    pub fn texts(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// Every whole message so far.
    pub fn messages(&self) -> Vec<SyslogMessage> {
        self.texts().iter().map(|text| parse_message(text).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
    }

    /// Beginnings of messages whose end never came.
    pub fn torn(&self) -> usize {
        self.torn.lock().unwrap().len()
    }
}

async fn serve(
    stream: TcpStream,
    wire: Wire,
    mode: Mode,
    messages: Arc<Mutex<Vec<String>>>,
    torn: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let lf = matches!(wire, Wire::Lf);
    let sink = |rest: &mut Vec<u8>| {
        while let Some(message) = cut(rest, lf) {
            messages.lock().unwrap().push(String::from_utf8(message).unwrap());
        }
    };
    if mode == Mode::Closes {
        return;
    }
    let mut rest = Vec::new();
    match wire {
        Wire::Tls(acceptor) => {
            if mode == Mode::Hangs {
                return std::future::pending().await;
            }
            let Ok(stream) = acceptor.accept(stream).await else { return };
            read(stream, mode, &mut rest, sink).await;
        }
        _ => read(stream, mode, &mut rest, sink).await,
    }
    if !rest.is_empty() {
        torn.lock().unwrap().push(rest);
    }
}

async fn read<T: AsyncRead + Unpin>(mut stream: T, mode: Mode, rest: &mut Vec<u8>, mut sink: impl FnMut(&mut Vec<u8>)) {
    let mut buffer = vec![0; 65_536];
    let mut total = 0;
    loop {
        let most = match mode {
            Mode::Hangs => std::future::pending().await,
            Mode::Drips => {
                sleep(DRIP_EVERY).await;
                1
            }
            Mode::BreaksOff(after) if total >= after => return,
            Mode::BreaksOff(after) => after - total,
            _ => buffer.len(),
        };
        let Ok(read @ 1..) = stream.read(&mut buffer[..most]).await else { return };
        total += read;
        rest.extend_from_slice(&buffer[..read]);
        sink(rest);
    }
}

/// The first whole message of what came in; panics where the framing is wrong.
fn cut(rest: &mut Vec<u8>, lf: bool) -> Option<Vec<u8>> {
    let (head, end, next) = if lf {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        (0, end, end + 1)
    } else {
        let space = rest.iter().position(|byte| *byte == b' ')?;
        let length = std::str::from_utf8(&rest[..space]).unwrap();
        assert!(!length.starts_with('0'), "MSG-LEN begins with a digit that is not 0: {length}");
        let end = space + 1 + length.parse::<usize>().unwrap_or_else(|_| panic!("MSG-LEN {length:?}"));
        (space + 1, end, end)
    };
    if rest.len() < next {
        return None;
    }
    let message = rest[head..end].to_vec();
    rest.drain(..next);
    Some(message)
}
