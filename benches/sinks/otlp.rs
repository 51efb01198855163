//! `otlp` over gRPC against a bare gRPC client (tonic) that sends the same bytes, already in protobuf. Over HTTP: see
//! [`crate::http`].

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Response};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use crate::{
    http::otlp_over_http,
    messages::{RECORDS, deliver, messages, runtime, sink},
    requests::plain_bytes,
    turns::compare,
};

const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

type Kept = Arc<Mutex<Option<Vec<Bytes>>>>;

pub fn run() {
    otlp_over_http();
    let kept = Kept::default();
    let address = receiver(Arc::clone(&kept));
    let runtime = runtime();
    for gzip in [false, true] {
        let members = format!("endpoint = 'http://{address}'\nprotocol = 'grpc'\ngzip = {gzip}");
        // The channel is one of a runtime.
        let sink = runtime.block_on(async { sink("otlp", &members, Path::new("/")) });
        let messages = messages(&sink);
        *kept.lock().unwrap() = Some(Vec::new());
        deliver(&runtime, &sink, &messages);
        let bodies = kept.lock().unwrap().take().unwrap();
        let bytes = bodies.iter().map(Bytes::len).sum();
        let bodies: Vec<Bytes> =
            bodies.iter().map(|body| if gzip { plain_bytes(body) } else { body.clone() }).collect();
        let channel = runtime.block_on(Endpoint::from_shared(format!("http://{address}")).unwrap().connect()).unwrap();
        let mut client = Grpc::new(channel);
        if gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let what = if gzip { "otlp, grpc, gzip (bare: compresses the same bytes)" } else { "otlp, grpc" };
        compare(
            what,
            RECORDS,
            bytes,
            || deliver(&runtime, &sink, &messages),
            || {
                for body in &bodies {
                    runtime.block_on(export(&mut client, body.clone()));
                }
            },
        );
    }
}

async fn export(client: &mut Grpc<Channel>, body: Bytes) {
    client.ready().await.unwrap();
    client.unary(Request::new(body), PATH.parse().unwrap(), Raw).await.unwrap();
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Reads calls, throws them away, and answers each with an empty response.
fn receiver(kept: Kept) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
    });
    address
}

async fn serve(stream: tokio::net::TcpStream, kept: Kept) {
    // As large as the service that usually receives makes its windows: no sender waits for us.
    let mut server = h2::server::Builder::new();
    server.initial_window_size(1 << 20).initial_connection_window_size(4 << 20).max_frame_size(1 << 20);
    let mut connection = server.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let kept = Arc::clone(&kept);
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut bytes = BytesMut::new();
            let keep = kept.lock().unwrap().is_some();
            while let Some(Ok(chunk)) = body.data().await {
                let _ = body.flow_control().release_capacity(chunk.len());
                if keep {
                    bytes.put(chunk);
                }
            }
            if let Some(kept) = &mut *kept.lock().unwrap() {
                // Without the flag and the length before the message.
                kept.push(bytes.freeze().slice(5..));
            }
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
            stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())])).unwrap();
        });
    }
}
