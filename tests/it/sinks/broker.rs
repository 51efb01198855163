//! A real broker that speaks Kafka's protocol, and a proxy before it that reads the frames and answers produce requests
//! as a test says.

use std::sync::{Arc, Mutex};

use refresh_audit::{record::Seq, sink::AnySink};
use rskafka::{
    client::{ClientBuilder, partition::UnknownTopicHandling},
    record::RecordAndOffset,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{
    POISON, Receiver, Situation,
    sasl::{Login, Session, Step},
    sink,
};
use crate::{servers::tansu::Tansu, support::app::free_port};

pub const TOPIC: &str = "audit";
pub const PARTITIONS: u32 = 3;

/// <https://kafka.apache.org/protocol#protocol_error_codes>
pub const UNKNOWN_SERVER_ERROR: i16 = -1;
pub const MESSAGE_TOO_LARGE: i16 = 10;
pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
pub const KAFKA_STORAGE_ERROR: i16 = 56;
pub const THROTTLING_QUOTA_EXCEEDED: i16 = 89;

/// What happens to a produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker gets it and answers.
    Passes,
    /// The broker never sees it; every partition in it gets this error.
    Refused(i16),
    /// The broker takes it; the answer says this error for one partition.
    Misreported(i32, i16),
    /// The broker takes it, and says that it throttled it for so many milliseconds.
    Throttled(i32),
    /// Nobody answers.
    Swallowed,
    /// The broker takes it, and the connection ends before the answer.
    CutOff,
}

type Script = dyn Fn(&[u8]) -> Fate + Send + Sync;

/// What every connection of a [`Wire`] shares.
struct Shared {
    script: Mutex<Box<Script>>,
    open: Mutex<bool>,
    /// Where there is one, clients must prove by SASL who they are.
    login: Mutex<Option<Login>>,
}

/// The proxy.
pub struct Wire {
    pub tansu: Tansu,
    pub address: std::net::SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// `None` where the broker is not installed.
    pub async fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), free_port());
        let tansu = Tansu::advertised(server, &address.to_string())?;
        let script: Box<Script> = Box::new(|_| Fate::Passes);
        let shared = Arc::new(Shared { script: Mutex::new(script), open: Mutex::new(true), login: Mutex::default() });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !*of_task.open.lock().unwrap() {
                    continue;
                }
                let shared = Arc::clone(&of_task);
                connections.spawn(async move {
                    let server = TcpStream::connect(server).await.ok()?;
                    pass(client, server, &shared).await
                });
            }
        });
        Some(Self { tansu, address, shared, task })
    }

    /// Judges produce requests, whole frames, from now on.
    pub fn script(&self, script: impl Fn(&[u8]) -> Fate + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// From now on new connections need this, or nothing.
    pub fn login(&self, login: Option<Login>) {
        *self.shared.login.lock().unwrap() = login;
    }

    /// Whether new connections are taken.
    pub fn open(&self, open: bool) {
        *self.shared.open.lock().unwrap() = open;
    }
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Option<()> {
    stream.write_i32(i32::try_from(frame.len()).unwrap()).await.ok()?;
    stream.write_all(frame).await.ok()
}

/// One request and its answer at a time: the sink sends no second one before.
async fn pass(mut client: TcpStream, mut server: TcpStream, shared: &Shared) -> Option<()> {
    let (login, mut session) = (*shared.login.lock().unwrap(), Session::default());
    loop {
        let request = frame(&mut client).await?;
        match session.step(&request, login) {
            Step::Pass => {}
            Step::Answer(answer) => {
                send(&mut client, &answer).await?;
                continue;
            }
            Step::Close => return None,
        }
        let is_produce = request[..2] == [0, 0];
        let fate = if is_produce { (shared.script.lock().unwrap())(&request) } else { Fate::Passes };
        match fate {
            Fate::Swallowed => continue,
            Fate::Refused(code) => {
                send(&mut client, &refusal(&request, code)).await?;
                continue;
            }
            _ => send(&mut server, &request).await?,
        }
        let mut answer = frame(&mut server).await?;
        match fate {
            Fate::CutOff => return None,
            Fate::Misreported(partition, code) => {
                // Behind correlation id, count, topic and count: 30 bytes each, that begin with partition and error.
                let head = 4 + 4 + 2 + TOPIC.len() + 4;
                let mut partitions = answer[head..].chunks_exact_mut(30);
                let mine = partitions.find(|bytes| bytes[..4] == partition.to_be_bytes()).unwrap();
                mine[4..6].copy_from_slice(&code.to_be_bytes());
            }
            Fate::Throttled(millis) => {
                let at = answer.len() - 4;
                answer[at..].copy_from_slice(&millis.to_be_bytes());
            }
            _ => {}
        }
        send(&mut client, &answer).await?;
    }
}

/// An answer to a produce request of version 3 to 7, by hand after the protocol's description.
fn refusal(request: &[u8], code: i16) -> Vec<u8> {
    let int16 = |at: usize| i16::from_be_bytes(request[at..at + 2].try_into().unwrap());
    let int32 = |at: usize| i32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    let (version, correlation) = (int16(2), &request[4..8]);
    // Behind the client's id: transactional id (null), acks, timeout.
    let mut at = 8 + 2 + usize::try_from(int16(8)).unwrap() + 2 + 2 + 4;
    assert_eq!((version, int32(at)), (7, 1), "one topic, in version 7");
    at += 4;
    let name = &request[at..at + 2 + usize::try_from(int16(at)).unwrap()];
    at += name.len();
    let count = int32(at);
    at += 4;
    let mut answer = [correlation, &1_i32.to_be_bytes(), name, &count.to_be_bytes()].concat();
    for _ in 0..count {
        answer.extend_from_slice(&request[at..at + 4]);
        answer.extend_from_slice(&code.to_be_bytes());
        // No offset, time of appending, or start of the log.
        answer.extend_from_slice(&[0xff; 24]);
        at += 8 + usize::try_from(int32(at + 4)).unwrap();
    }
    answer.extend_from_slice(&0_i32.to_be_bytes());
    answer
}

/// Every record of the topic, by partition.
pub async fn stored(address: std::net::SocketAddr) -> Vec<Vec<RecordAndOffset>> {
    let client = ClientBuilder::new(vec![address.to_string()]).build().await.unwrap();
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let partition = i32::try_from(partition).unwrap();
        let partition = client.partition_client(TOPIC, partition, UnknownTopicHandling::Error).await.unwrap();
        let mut records: Vec<RecordAndOffset> = Vec::new();
        loop {
            let next = records.last().map_or(0, |record| record.offset + 1);
            let (some, end) = partition.fetch_records(next, 1..8_000_000, 100).await.unwrap();
            records.extend(some.into_iter().filter(|record| record.offset >= next));
            if records.last().map_or(0, |record| record.offset + 1) >= end {
                break;
            }
        }
        all.push(records);
    }
    all
}

pub fn seq(record: &RecordAndOffset) -> Seq {
    String::from_utf8(record.record.headers["seq"].clone()).unwrap().parse().unwrap()
}

pub struct KafkaReceiver(Wire);

impl KafkaReceiver {
    pub async fn new() -> Option<Self> {
        let wire = Wire::start().await?;
        wire.tansu.create_topic(TOPIC, PARTITIONS);
        Some(Self(wire))
    }
}

impl Receiver for KafkaReceiver {
    fn sink(&self) -> AnySink {
        let address = self.0.address;
        sink("kafka", &format!("brokers = ['{address}']\ntopic = '{TOPIC}'\ntimeout = '500ms'\ncompression = 'none'"))
    }

    async fn begin(&self, situation: Situation) -> bool {
        let wire = &self.0;
        let poison = format!("\"seq\":{POISON},").into_bytes();
        let holds = move |frame: &[u8]| frame.windows(poison.len()).any(|bytes| bytes == poison);
        match situation {
            Situation::Accepts | Situation::WeCrash => {}
            Situation::Throttles => wire.script(|_| Fate::Refused(THROTTLING_QUOTA_EXCEEDED)),
            Situation::Poison => {
                wire.script(move |frame| if holds(frame) { Fate::Refused(MESSAGE_TOO_LARGE) } else { Fate::Passes });
            }
            Situation::Hangs => wire.script(|_| Fate::Swallowed),
            Situation::Down => wire.open(false),
            Situation::BreaksOff => wire.script(|_| Fate::CutOff),
            Situation::Full => wire.script(|_| Fate::Refused(KAFKA_STORAGE_ERROR)),
            Situation::Fails => wire.script(|_| Fate::Refused(UNKNOWN_SERVER_ERROR)),
            Situation::Drips => return false,
        }
        true
    }

    async fn end(&self) {
        let arrived = self.arrived_while_open().await;
        if !arrived.contains(&(POISON + 1)) || arrived.contains(&POISON) {
            self.0.script(|_| Fate::Passes);
        }
        self.0.open(true);
    }

    async fn arrived(&self) -> Vec<Seq> {
        self.arrived_while_open().await
    }

    fn refusal(&self) -> &'static str {
        "MessageTooLarge"
    }
}

impl KafkaReceiver {
    async fn arrived_while_open(&self) -> Vec<Seq> {
        self.0.open(true);
        // Records about no user share a partition.
        stored(self.0.address).await.iter().flatten().map(seq).collect()
    }
}
