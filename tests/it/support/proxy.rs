//! A TCP proxy on loopback that misbehaves as a test says: late, cut off, half open, byte by byte, truncated.
//!
//! It stands between a client and a server; both are real. What it does changes at any time, for connections there are
//! and to come.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They pass.
    None,
    /// They pass this much later, both ways.
    Delay(Duration),
    /// After so many more bytes from the client, both connections end by RST.
    ResetAfter(usize),
    /// After so many more bytes from the client, both connections end by FIN; the server has a truncated message.
    CutAfter(usize),
    /// The client's bytes are read, acknowledged and thrown away; connections stay open.
    Swallow,
    /// Half open: nothing is read from the client any more, so that its TCP fills up, and nothing is said.
    Freeze,
    /// One byte at a time, with so much time between.
    Drip(Duration),
    /// Connections are accepted and closed at once.
    Refuse,
}

pub struct Proxy {
    pub address: SocketAddr,
    fault: watch::Sender<Fault>,
    /// Connections so far.
    pub connections: Arc<AtomicUsize>,
    /// Of those, the ones that are still there.
    open: Arc<AtomicUsize>,
    /// Bytes from clients that were read so far.
    pub bytes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// A proxy in front of `server`.
    pub async fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (fault, told) = watch::channel(Fault::None);
        let (connections, bytes) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let open = Arc::new(AtomicUsize::new(0));
        let (count, read, there) = (Arc::clone(&connections), Arc::clone(&bytes), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                if *told.borrow() == Fault::Refuse {
                    continue;
                }
                // A server that is not there: the client is closed, as by a balancer without a backend.
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (told, read, there) = (told.clone(), Arc::clone(&read), Arc::clone(&there));
                there.fetch_add(1, Ordering::SeqCst);
                all.spawn(async move {
                    pass(client, server, told, read).await;
                    there.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, fault, connections, open, bytes, task }
    }

    /// From now on; connections there are change, too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections there are.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// How many bytes of clients were read.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, fault: watch::Receiver<Fault>, count: Arc<AtomicUsize>) {
    let end = {
        // Halves that are borrowed say no FIN when they go.
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            end = up(from_client, to_server, fault.clone(), count) => end,
            () = down(from_server, to_client, fault) => End::Close,
        }
    };
    if end == End::Reset {
        for stream in [&client, &server] {
            rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

/// Client to server.
async fn up(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut fault: watch::Receiver<Fault>,
    count: Arc<AtomicUsize>,
) -> End {
    let mut buffer = vec![0; 64 << 10];
    let mut told = Fault::None;
    let mut left = 0;
    loop {
        let now = *fault.borrow_and_update();
        if now != told {
            told = now;
            if let Fault::ResetAfter(bytes) | Fault::CutAfter(bytes) = told {
                left = bytes;
            }
        }
        let most = match told {
            Fault::Freeze => {
                if fault.changed().await.is_err() {
                    return End::Close;
                }
                continue;
            }
            Fault::Refuse => return End::Close,
            Fault::Drip(_) => 1,
            Fault::ResetAfter(_) | Fault::CutAfter(_) => left.clamp(1, buffer.len()),
            _ => buffer.len(),
        };
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read,
            changed = fault.changed() => if changed.is_ok() { continue } else { return End::Close },
        };
        let Ok(read @ 1..) = read else { return End::Close };
        count.fetch_add(read, Ordering::SeqCst);
        match told {
            Fault::Swallow => continue,
            Fault::Delay(time) | Fault::Drip(time) => sleep(time).await,
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return End::Close;
        }
        if let Fault::ResetAfter(_) | Fault::CutAfter(_) = told {
            left = left.saturating_sub(read);
            if left == 0 {
                return if matches!(told, Fault::ResetAfter(_)) { End::Reset } else { End::Close };
            }
        }
    }
}

/// Server to client.
async fn down(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, fault: watch::Receiver<Fault>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let most = if matches!(*fault.borrow(), Fault::Drip(_)) { 1 } else { buffer.len() };
        let Ok(read @ 1..) = from.read(&mut buffer[..most]).await else { return };
        let told = *fault.borrow();
        match told {
            Fault::Freeze => std::future::pending().await,
            Fault::Delay(time) | Fault::Drip(time) => sleep(time).await,
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
