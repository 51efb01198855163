//! An HTTP/1.1 server on loopback that answers as a test says. By hand, so that it can misbehave on the wire.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpSocket,
    task::{JoinHandle, JoinSet},
};

use crate::support::shared_socket;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Decompressed, as text as far as it is any.
    pub body: String,
    /// Decompressed.
    pub bytes: Vec<u8>,
    pub at: Instant,
    /// The status it was answered with; 0 = none.
    pub status: u16,
    /// Which connection, counted from 0.
    pub connection: usize,
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answer; headers as lines with CRLF.
    Status(u16, &'static str, &'static str),
    /// The same with any bytes.
    Bytes(u16, &'static str, Vec<u8>),
    /// The same, broken off behind the bytes that there are.
    Cut(u16, &'static str, Vec<u8>),
    /// Say nothing, keep the connection.
    Hang,
    /// One byte of an answer that never ends, now and then.
    Drip,
    /// Close the connection without a word.
    Close,
}

impl Reply {
    pub const OK: Self = Self::Status(200, "", "ok");
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// Between two bytes of [`Reply::Drip`].
const DRIP_EVERY: Duration = Duration::from_millis(20);

pub struct FakeHttp {
    pub address: SocketAddr,
    /// Bound and never listening: while the server is down nobody else gets the port, and connecting to it is refused.
    _reserved: TcpSocket,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Box<Script>>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakeHttp {
    /// An address that nobody listens at yet; everything is accepted once it is [`FakeHttp::up`].
    pub async fn new() -> Self {
        let reserved = shared_socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self {
            address: reserved.local_addr().unwrap(),
            _reserved: reserved,
            requests: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(|_| Reply::OK))),
            server: Mutex::default(),
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/ingest?token=in-the-query", self.address)
    }

    /// From now on requests are answered like this.
    pub fn script(&self, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Listens.
    pub fn up(&self) {
        let listener = shared_socket(self.address).listen(64).unwrap();
        let (requests, script) = (Arc::clone(&self.requests), Arc::clone(&self.script));
        let server = tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, connection, Arc::clone(&requests), Arc::clone(&script)));
            }
        });
        *self.server.lock().unwrap() = Some(server);
    }

    /// Listens no more and drops every connection.
    pub async fn down(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Those that were answered 2xx.
    pub fn accepted(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| (200..300).contains(&request.status)).collect()
    }
}

/// Serves one connection until it ends.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    connection: usize,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Box<Script>>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read(&mut stream, connection).await {
        let reply = (script.lock().unwrap())(&request);
        if let Reply::Status(status, ..) | Reply::Bytes(status, ..) | Reply::Cut(status, ..) = reply {
            request.status = status;
        }
        requests.lock().unwrap().push(request);
        if answer(&mut stream, reply).await.is_none() {
            return;
        }
    }
}

async fn read<T: AsyncRead + Unpin>(stream: &mut BufReader<T>, connection: usize) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let (first, rest) = lines.split_first()?;
    let split = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = rest.iter().filter_map(split).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let bytes = match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
            plain
        }
        None => body,
        other => panic!("unexpected encoding {other:?}"),
    };
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Some(Request { method, target, headers, body, bytes, at: Instant::now(), status: 0, connection })
}

async fn answer<T: AsyncWrite + Unpin>(stream: &mut T, reply: Reply) -> Option<()> {
    match reply {
        Reply::Status(status, headers, body) => {
            let text = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await.ok()
        }
        Reply::Bytes(status, headers, body) => {
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()
        }
        Reply::Cut(status, headers, body) => {
            let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}\r\n", body.len() + 1);
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok()?;
            None
        }
        Reply::Hang => std::future::pending().await,
        Reply::Drip => loop {
            for byte in b"HTTP/1.1 200 OK\r\nx-drip: ".iter().chain(std::iter::repeat_n(&b'x', 10_000)) {
                stream.write_all(&[*byte]).await.ok()?;
                tokio::time::sleep(DRIP_EVERY).await;
            }
        },
        Reply::Close => None,
    }
}
