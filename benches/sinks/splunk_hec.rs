//! `splunk_hec` against a bare HTTP client (reqwest) that posts the same bodies and asks for the same acknowledgements. The
//! receiver reads, throws away, and acknowledges at once.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use refresh_audit::sink::{Sink as _, SinkConfig};

use crate::{
    messages::{BATCH, RECORDS, messages},
    turns::compare,
};

type Kept = Arc<Mutex<Option<Vec<Vec<u8>>>>>;

pub fn run() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "00000000-fixture-token").unwrap();
    let kept = Kept::default();
    let address = receiver(Arc::clone(&kept));
    let messages = messages();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for gzip in [false, true] {
        let members = format!("url = 'http://{address}'\ntoken_file = 'token'\ngzip = {gzip}");
        let sink = SinkConfig::parse("splunk_hec", toml::Deserializer::parse(&members).unwrap()).unwrap();
        let sink = sink.build(dir.path()).unwrap();
        let deliver = || {
            for batch in messages.chunks(BATCH) {
                runtime.block_on(sink.deliver(batch)).unwrap();
            }
        };
        *kept.lock().unwrap() = Some(Vec::new());
        deliver();
        let bodies = kept.lock().unwrap().take().unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let post = |path: &str, body: Vec<u8>| {
            let request = client.post(format!("http://{address}/services/collector/{path}")).body(body);
            let request = request.header("authorization", "Splunk 00000000-fixture-token");
            let request = request.header("content-type", "application/json");
            runtime.block_on(async { request.send().await.unwrap().bytes().await.unwrap() })
        };
        let what = if gzip { "splunk_hec, gzip (the bare client has it compressed)" } else { "splunk_hec" };
        compare(what, RECORDS, bodies.iter().map(Vec::len).sum(), deliver, || {
            for body in &bodies {
                post("event", body.clone());
                post("ack?channel=x", b"{\"acks\":[0]}".to_vec());
            }
        });
    }
}

fn receiver(kept: Kept) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, kept) = (stream.unwrap(), Arc::clone(&kept));
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream, &kept));
        }
    });
    address
}

fn serve(stream: TcpStream, kept: &Kept) -> Option<()> {
    let mut from = BufReader::with_capacity(256 << 10, stream.try_clone().unwrap());
    let mut to = stream;
    loop {
        let mut first = String::new();
        from.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        let answer = if first.contains("/ack") {
            "{\"acks\":{\"0\":true}}"
        } else {
            if let Some(kept) = &mut *kept.lock().unwrap() {
                kept.push(body);
            }
            "{\"text\":\"Success\",\"code\":0,\"ackId\":0}"
        };
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        to.write_all(text.as_bytes()).ok()?;
    }
}
