//! The other side of an HTTP sink: takes everything, remembers every id.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A listener on a free loopback port; lives as long as the test process.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What came.
#[derive(Default)]
pub struct Seen {
    /// How often each `webhook-id` came.
    pub count_by_id: HashMap<String, u64>,
    /// Every byte of every request, where asked for.
    pub raw: Option<Vec<u8>>,
}

impl Receiver {
    /// Listens. `keep_raw`: keep every byte.
    pub fn start(keep_raw: bool) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), keep_raw)
    }

    /// Listens there.
    pub fn at(address: SocketAddr, keep_raw: bool) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen { raw: keep_raw.then(Vec::new), ..Seen::default() }));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                // The sender is killed at random: a broken connection is normal.
                thread::spawn(move || serve(stream, &seen).ok());
            }
        });
        Self { address, seen }
    }

    /// The `http` sink that sends to it. Signed, because an unsigned request has no `webhook-id`.
    pub fn sink(&self) -> String {
        Self::sink_to(self.address)
    }

    /// The same, whoever listens there.
    pub fn sink_to(address: SocketAddr) -> String {
        format!(
            "[[sinks]]\nname = \"hook\"\ntype = \"http\"\nurl = \"http://{address}/hook\"\n\
             sign = {{ secret_file = \"sink.key\" }}\n"
        )
    }

    /// Looks at what came.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Seen>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut id, mut len) = (Vec::new(), String::new(), 0);
        loop {
            let start = head.len();
            if stream.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&head[start..]).trim_end().to_owned();
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => value.clone_into(&mut id),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    len = value.parse().map_err(|_| io::ErrorKind::InvalidData)?;
                }
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; len];
        stream.read_exact(&mut body)?;
        {
            let mut seen = seen.lock().unwrap();
            *seen.count_by_id.entry(id).or_default() += 1;
            if let Some(raw) = &mut seen.raw {
                raw.extend_from_slice(&head);
                raw.extend_from_slice(&body);
            }
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
