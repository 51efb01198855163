//! The load generator: requests made and signed beforehand, closed loop over keep-alive connections, one thread per core
//! with its own epoll. Lean, because it shares the cores with what it measures.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::event::{Event, Session, Signer, now_ms};

/// Whole requests, head and body.
pub type Requests = Vec<Box<[u8]>>;

/// Makes unique signed requests, on every core.
pub fn requests(count: usize, signer: &Signer, seed: u64) -> Requests {
    let cores = thread::available_parallelism().unwrap().get();
    let make = |number: usize| {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        (0..count / cores).map(|_| request(&Event::new(&mut rng).body, signer)).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|number| scope.spawn(move || make(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// `sessions` of one application that refresh `times` times, an hour apart, the last time an hour ago: all of them once, then
/// all of them again.
pub fn refreshes(sessions: usize, times: usize, signer: &Signer, seed: u64) -> Requests {
    let mut rng = StdRng::seed_from_u64(seed);
    let hours_ago = |hours: usize| now_ms() - hours as u128 * 3_600_000;
    let first = Session::new(&mut rng, hours_ago(times + 1));
    let mut all: Vec<Session> = (0..sessions)
        .map(|_| {
            let at = hours_ago(times + 1);
            Session::new(&mut rng, at).beside(&first, &mut rng, at)
        })
        .collect();
    let mut requests = Requests::with_capacity(sessions * times);
    for round in 0..times {
        let at = hours_ago(times - round);
        requests.extend(all.iter_mut().map(|session| request(&session.refresh(&mut rng, at).body, signer)));
    }
    requests
}

fn request(body: &[u8], signer: &Signer) -> Box<[u8]> {
    let head = format!(
        "POST /webhooks/fusionauth HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         X-FusionAuth-Signature-JWT: {}\r\nContent-Length: {}\r\n\r\n",
        signer.sign(body),
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// What a run took.
pub struct Run {
    /// Answers.
    pub answers: usize,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// From the first byte written to the last byte read, of every request.
    pub latencies: Vec<Duration>,
}

impl Run {
    /// Answers a second.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

/// Plays `rounds` times all requests over `connections`. Every answer must be a 200.
pub fn play(to: SocketAddr, requests: &Requests, rounds: usize, connections: usize) -> Run {
    let threads = thread::available_parallelism().unwrap().get().min(connections);
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    let latencies: Vec<Duration> = thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| Worker::new(to, requests, rounds, &next, connections / threads).run()))
            .collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    Run { answers: latencies.len(), elapsed: begun.elapsed(), latencies }
}

struct Connection {
    stream: TcpStream,
    /// Index of the request on its way, and how much of it is written.
    request: usize,
    written: usize,
    answer: Vec<u8>,
    begun: Instant,
}

struct Worker<'a> {
    requests: &'a Requests,
    total: usize,
    next: &'a AtomicUsize,
    poll: Poll,
    connections: Vec<Connection>,
    latencies: Vec<Duration>,
}

/// Whether the bytes hold a whole answer; panics when it is not a 200 with a length.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(answer));
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    answer.len() == head + 4 + length.unwrap()
}

impl<'a> Worker<'a> {
    fn new(to: SocketAddr, requests: &'a Requests, rounds: usize, next: &'a AtomicUsize, connections: usize) -> Self {
        let poll = Poll::new().unwrap();
        let connections = (0..connections).map(|number| {
            let stream = std::net::TcpStream::connect(to).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE).unwrap();
            Connection { stream, request: 0, written: 0, answer: Vec::with_capacity(1_024), begun: Instant::now() }
        });
        let connections = connections.collect();
        Self { requests, total: requests.len() * rounds, next, poll, connections, latencies: Vec::new() }
    }

    fn run(mut self) -> Vec<Duration> {
        let mut events = Events::with_capacity(256);
        let mut busy = (0..self.connections.len()).filter(|number| self.begin(*number)).count();
        while busy > 0 {
            self.poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            assert!(!events.is_empty(), "no answer within 30 s");
            for event in &events {
                let number = event.token().0;
                if event.is_writable() {
                    self.write(number);
                }
                if event.is_readable() && self.read(number) && !self.begin(number) {
                    busy -= 1;
                }
            }
        }
        self.latencies
    }

    /// Sends the next request; false when there is none left.
    fn begin(&mut self, number: usize) -> bool {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        if request >= self.total {
            // Nothing is outstanding: a late wake-up writes nothing.
            self.connections[number].written = usize::MAX;
            return false;
        }
        let connection = &mut self.connections[number];
        (connection.request, connection.written) = (request % self.requests.len(), 0);
        connection.answer.clear();
        connection.begun = Instant::now();
        self.write(number);
        true
    }

    fn write(&mut self, number: usize) {
        let connection = &mut self.connections[number];
        let bytes = &self.requests[connection.request];
        while connection.written < bytes.len() {
            match connection.stream.write(&bytes[connection.written..]) {
                Ok(written) => connection.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("write: {error}"),
            }
        }
    }

    /// Reads what is there; whether the answer is whole.
    fn read(&mut self, number: usize) -> bool {
        let connection = &mut self.connections[number];
        let mut buffer = [0; 2_048];
        loop {
            match connection.stream.read(&mut buffer) {
                Ok(0) => panic!("the connection was closed"),
                Ok(read) => connection.answer.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("read: {error}"),
            }
            if is_whole(&connection.answer) {
                self.latencies.push(connection.begun.elapsed());
                return true;
            }
        }
    }
}
