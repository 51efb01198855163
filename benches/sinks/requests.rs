//! A receiver of HTTP requests that reads, throws away and answers at once; and the bare client, which sends again what the
//! receiver was sent by a sink.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use reqwest::{Client, header::HeaderMap};
use tokio::runtime::Runtime;

/// One as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// Without those of the connection.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What a path and a body are answered with: a body of JSON.
pub type Answer = fn(&str, &[u8]) -> String;

/// See the head of this file.
pub struct Receiver {
    pub address: SocketAddr,
    kept: Arc<Mutex<Option<Vec<Request>>>>,
}

impl Receiver {
    pub fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self { address: listener.local_addr().unwrap(), kept: Arc::default() };
        let kept = Arc::clone(&receiver.kept);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(stream, &kept, answer));
            }
        });
        receiver
    }

    /// What is sent while `send` runs.
    pub fn requests(&self, send: impl FnOnce()) -> Vec<Request> {
        *self.kept.lock().unwrap() = Some(Vec::new());
        send();
        self.kept.lock().unwrap().take().unwrap()
    }
}

/// Until the connection ends.
fn serve(stream: TcpStream, kept: &Mutex<Option<Vec<Request>>>, answer: Answer) -> Option<()> {
    let mut from = BufReader::with_capacity(256 << 10, stream.try_clone().unwrap());
    let mut to = stream;
    let mut body = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let (mut headers, mut length) = (HeaderMap::new(), 0);
        loop {
            line.clear();
            from.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name {
                "content-length" => length = value.parse().unwrap(),
                "host" | "accept" | "user-agent" => {}
                name => {
                    drop(headers.insert(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap()))
                }
            }
        }
        body.resize(length, 0);
        from.read_exact(&mut body).ok()?;
        let text = answer(&path, &body);
        if let Some(kept) = &mut *kept.lock().unwrap() {
            kept.push(Request { path, headers, body: body.clone().into() });
        }
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        to.write_all([head, text].concat().as_bytes()).ok()?;
    }
}

/// Sends the same requests, one after the other, and reads each answer. With `compress` their bodies, which are not
/// compressed, are compressed on the way, as the sinks do it.
pub fn replay(runtime: &Runtime, client: &Client, address: SocketAddr, requests: &[Request], compress: bool) {
    for Request { path, headers, body } in requests {
        let body = if compress { gzip(body) } else { body.clone() };
        let request = client.post(format!("http://{address}{path}")).headers(headers.clone()).body(body);
        runtime.block_on(async { request.send().await.unwrap().bytes().await.unwrap() });
    }
}

/// The bare client.
pub fn client() -> Client {
    Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// The same with bodies that are not compressed.
pub fn plain(requests: &[Request]) -> Vec<Request> {
    requests.iter().map(|request| Request { body: plain_bytes(&request.body), ..request.clone() }).collect()
}

/// What they were before they were compressed.
pub fn plain_bytes(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain.into()
}
