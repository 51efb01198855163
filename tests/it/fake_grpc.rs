//! A receiver of OTLP over gRPC on loopback that answers as a test says. On bare HTTP/2, so that it can misbehave.

use std::{
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::GzDecoder;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::support::shared_socket;

/// One call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub compressed: bool,
    pub request: ExportLogsServiceRequest,
    /// The code it was answered with; `None`: not at all.
    pub code: Option<u32>,
}

/// What to do with a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Code 0 and a response.
    Ok(Vec<u8>),
    /// Another code, a message, and `grpc-status-details-bin`.
    Status(u32, &'static str, Vec<u8>),
    /// Say nothing.
    Hang,
    /// Begin an answer, and send a byte of it now and then, without end.
    Drip,
    /// Close the connection without a word.
    Close,
}

type Script = dyn Fn(&Call) -> Answer + Send + Sync;

pub struct FakeGrpc {
    pub address: SocketAddr,
    /// Bound and never listening: see `FakeHttp`.
    _reserved: TcpSocket,
    calls: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<Box<Script>>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakeGrpc {
    /// An address that nobody listens at yet.
    pub fn new() -> Self {
        let reserved = shared_socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self {
            address: reserved.local_addr().unwrap(),
            _reserved: reserved,
            calls: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(|_| Answer::Ok(Vec::new())))),
            server: Mutex::default(),
        }
    }

    /// From now on calls are answered like this.
    pub fn script(&self, script: impl Fn(&Call) -> Answer + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// Listens.
    pub fn up(&self) {
        let listener = shared_socket(self.address).listen(64).unwrap();
        let (calls, script) = (Arc::clone(&self.calls), Arc::clone(&self.script));
        let server = tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, Arc::clone(&calls), Arc::clone(&script)));
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

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, calls: Arc<Mutex<Vec<Call>>>, script: Arc<Mutex<Box<Script>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut hanging = Vec::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        let mut bytes = BytesMut::new();
        // The connection has to be driven for its streams to move.
        let reading = async {
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                bytes.put(chunk);
            }
        };
        tokio::select! {
            () = reading => {}
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        }
        let mut call = read(head, &bytes);
        let answer = (script.lock().unwrap())(&call);
        call.code = match &answer {
            Answer::Ok(_) => Some(0),
            Answer::Status(code, ..) => Some(*code),
            Answer::Hang | Answer::Drip | Answer::Close => None,
        };
        calls.lock().unwrap().push(call);
        match answer {
            Answer::Ok(response) => reply(respond, &response, (0, "", Vec::new())),
            Answer::Status(code, message, details) => reply(respond, &[], (code, message, details)),
            Answer::Hang => hanging.push(respond),
            Answer::Drip => drop(tokio::spawn(drip(respond))),
            Answer::Close => return,
        }
    }
}

/// Ends with its connection.
async fn drip(mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false)?;
    // A message of 1,000,000 bytes is announced: hours of it.
    stream.send_data(Bytes::from_static(&[0, 0, 0x0f, 0x42, 0x40]), false)?;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        stream.send_data(Bytes::from_static(&[0]), false)?;
    }
}

fn read(head: http::request::Parts, bytes: &[u8]) -> Call {
    // A flag, the length in 4 bytes, the message (gRPC over HTTP/2, "Length-Prefixed-Message").
    let (prefix, message) = bytes.split_at(5);
    assert_eq!(u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize, message.len());
    let compressed = prefix[0] == 1;
    assert_eq!(compressed, head.headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip"));
    let mut plain = Vec::new();
    if compressed {
        GzDecoder::new(message).read_to_end(&mut plain).unwrap();
    } else {
        plain.extend_from_slice(message);
    }
    let request = ExportLogsServiceRequest::decode(&*plain).unwrap();
    Call { path: head.uri.path().to_owned(), headers: head.headers, compressed, request, code: None }
}

fn reply(mut respond: SendResponse<Bytes>, message: &[u8], (code, text, details): (u32, &str, Vec<u8>)) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", HeaderValue::from_str(text).unwrap());
    if !details.is_empty() {
        use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
        trailers.insert("grpc-status-details-bin", STANDARD_NO_PAD.encode(details).parse().unwrap());
    }
    if code == 0 {
        let _ = stream.send_data(framed.freeze(), false);
    }
    let _ = stream.send_trailers(trailers);
}
