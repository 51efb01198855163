//! `syslog` over TCP, TLS and UDP against a bare socket. The receiver reads and throws away; over TCP and TLS a turn ends
//! when it has read everything.

use std::{
    cell::Cell,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{io::AsyncWriteExt as _, runtime::Runtime};

use crate::{
    messages::{BATCH, RECORDS, deliver, messages, runtime, sink},
    turns::compare,
};

/// What came, and what of it is kept.
#[derive(Default)]
pub struct Read {
    total: Mutex<(usize, Option<Vec<u8>>)>,
    more: Condvar,
}

impl Read {
    fn add(&self, bytes: &[u8]) {
        let mut total = self.total.lock().unwrap();
        total.0 += bytes.len();
        if let Some(kept) = &mut total.1 {
            kept.extend_from_slice(bytes);
        }
        self.more.notify_all();
    }

    fn wait(&self, until: usize) {
        let total = self.total.lock().unwrap();
        drop(self.more.wait_while(total, |total| total.0 < until).unwrap());
    }
}

pub fn run() {
    let dir = tempfile::tempdir().unwrap();
    let tls = certificates(dir.path());
    let runtime = runtime();
    for (what, server) in [("syslog, tcp", None), ("syslog, tls", Some(tls))] {
        let ca = server.is_some().then(|| dir.path().join("ca.crt"));
        let (address, read) = receiver(server);
        let transport =
            ca.as_ref().map_or("transport = 'tcp'".to_owned(), |ca| format!("ca_file = '{}'", ca.display()));
        let sink = sink("syslog", &format!("address = '{address}'\n{transport}"), Path::new("/"));
        let messages = messages(&sink);
        // The very bytes, as the receiver had them.
        read.total.lock().unwrap().1 = Some(Vec::new());
        deliver(&runtime, &sink, &messages);
        // What TCP has acknowledged is not yet read.
        thread::sleep(Duration::from_millis(300));
        let bytes = Bytes::from(read.total.lock().unwrap().1.take().unwrap());
        let seen = Cell::new(bytes.len());
        let all_read = || {
            seen.set(seen.get() + bytes.len());
            read.wait(seen.get());
        };
        let mut bare = bare(&runtime, address, ca.as_deref());
        let ours = || {
            deliver(&runtime, &sink, &messages);
            all_read();
        };
        compare(what, RECORDS, bytes.len(), ours, || {
            for part in bytes.chunks(bytes.len().div_ceil(RECORDS / BATCH)) {
                runtime.block_on(async {
                    bare.write_all(part).await.unwrap();
                    bare.flush().await.unwrap();
                });
            }
            all_read();
        });
    }
    datagrams(&runtime);
}

/// Nothing says what arrived: both only send, and the receiver loses what it cannot take.
fn datagrams(runtime: &Runtime) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let kept = Arc::new(Mutex::new(0));
    let count = Arc::clone(&kept);
    thread::spawn(move || {
        let mut datagram = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut datagram) {
            *count.lock().unwrap() = length;
        }
    });
    let sink = sink("syslog", &format!("address = '{address}'\ntransport = 'udp'"), Path::new("/"));
    let messages = messages(&sink);
    deliver(runtime, &sink, &messages[..1]);
    while *kept.lock().unwrap() == 0 {
        thread::yield_now();
    }
    let length = *kept.lock().unwrap();
    let bare = runtime.block_on(async {
        let bare = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        bare.connect(address).await.unwrap();
        bare
    });
    let datagram = vec![b'x'; length];
    compare(
        "syslog, udp",
        RECORDS,
        RECORDS * length,
        || deliver(runtime, &sink, &messages),
        || {
            for _ in 0..RECORDS / BATCH {
                runtime.block_on(async {
                    for _ in 0..BATCH {
                        bare.send(&datagram).await.unwrap();
                    }
                });
            }
        },
    );
}

/// Reads and throws away.
pub fn receiver(tls: Option<Arc<ServerConfig>>) -> (SocketAddr, Arc<Read>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let read = Arc::new(Read::default());
    let all = Arc::clone(&read);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, tls, read) = (stream.unwrap(), tls.clone(), Arc::clone(&all));
            thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                let mut secure;
                let stream: &mut dyn std::io::Read = match tls {
                    Some(config) => {
                        secure = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                        &mut secure
                    }
                    None => &mut stream,
                };
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    read.add(&buffer[..length]);
                }
            });
        }
    });
    (address, read)
}

fn bare(runtime: &Runtime, address: SocketAddr, ca: Option<&Path>) -> Box<dyn tokio::io::AsyncWrite + Unpin> {
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let Some(ca) = ca else { return Box::new(stream) as Box<dyn tokio::io::AsyncWrite + Unpin> };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Box::new(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
    })
}

fn certificates(dir: &Path) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(dir.join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}
