//! Records as the journal holds them: about 1.6 kB, each of its own. And what comes before a sink gets them: reading the
//! journal, and making messages in each format.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use bytes::Bytes;
use refresh_audit::{
    deliver::{
        DeliveryConfig,
        batch::{Batch, Selection},
    },
    format::Format,
    ledger::{
        KeyScheme,
        chain::{GENESIS, seal_line},
        read::Reader,
        segment::plain_path,
    },
    sink::{Message, Pack, Sink, SinkConfig},
};
use tokio::runtime::Runtime;

use crate::turns::{alone, compare};

/// Records of a turn.
pub const RECORDS: usize = 40_000;
/// Records of a batch, as by default.
pub const BATCH: usize = 500;

/// What runs a sink and its bare client.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A sink of this `type` with these members of its own.
pub fn sink(kind: &str, members: &str, base: &Path) -> refresh_audit::sink::AnySink {
    SinkConfig::parse(kind, toml::Deserializer::parse(members).unwrap()).unwrap().build(base).unwrap()
}

/// Everything, a batch at a time, as a sink's loop does it.
pub fn deliver(runtime: &Runtime, sink: &impl Sink, messages: &[Message]) {
    let mut batches = messages.chunks(BATCH).peekable();
    while let Some(batch) = batches.next() {
        let next = batches.peek().copied().unwrap_or_default();
        runtime.block_on(sink.deliver_and_begin(batch, next)).unwrap();
    }
}

/// One turn's records, made ready for a sink as its batches are.
pub fn messages(sink: &impl Sink) -> Vec<Message> {
    let selection = Selection::of_sink(&DeliveryConfig::default(), sink, KeyScheme::EventId);
    let dir = journal();
    batches(dir.path(), &selection).flat_map(|batch| batch.messages).collect()
}

/// A journal of those records.
fn journal() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<u8> = lines().iter().flat_map(|line| [&line[..], b"\n"].concat()).collect();
    std::fs::write(plain_path(dir.path(), 1), lines).unwrap();
    dir
}

/// As a sink's loop reads them, one after the other.
fn batches<'a>(journal: &Path, selection: &'a Selection) -> impl Iterator<Item = Batch> + use<'a> {
    let mut reader = Reader::new(journal, 1);
    (0..RECORDS / BATCH).map(move |_| {
        let mut batch = Batch::default();
        batch.take(reader.read(RECORDS as u64, BATCH, usize::MAX).unwrap(), selection);
        assert_eq!(batch.messages.len(), BATCH);
        batch
    })
}

/// Lines of the journal, without LF.
fn lines() -> Vec<Bytes> {
    let mut prev = GENESIS;
    let line = |seq| {
        let mut line = record(seq).into_bytes();
        prev = seal_line(&mut line, 0, &prev);
        line.pop();
        line.into()
    };
    (1..=RECORDS as u64).map(line).collect()
}

fn record(seq: u64) -> String {
    let fingerprint = format!("1a2b:{seq:032x}");
    let claims = format!(
        r#"{{"iss":"fixture.invalid","sub":"00000000-0000-0000-0001-{seq:012x}","aud":["00000000-0000-0000-0002-000000000001"],"exp":1795333200,"iat":1795329600,"jti":"00000000-0000-0000-0003-{seq:012x}","sid":"00000000-0000-0000-0004-{seq:012x}","auth_time":1795329000,"authenticationType":"PASSWORD"}}"#
    );
    format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"audit-1","seq":{seq},"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","source":"fusionauth","evidence":{{"channel":"webhook","authenticity":"signed","alg":"RS256","key_id":"fixture","body_sha256":"{seq:064x}"}},"event":{{"id":"00000000-0000-4000-8000-{seq:012x}","type":"jwt.refresh","occurred_at":"2026-11-22T06:39:59.000Z","outcome":"attempted","tenant_id":"00000000-0000-0000-0005-000000000001","application_id":"00000000-0000-0000-0002-000000000001","user_id":"00000000-0000-0000-0001-{seq:012x}","session_id":"00000000-0000-0000-0004-{seq:012x}","ip":"192.0.2.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64) fixture/1.0","device":{{"name":"fixture","type":"BROWSER"}},"location":{{"city":"Nowhere","country":"ZZ","latitude":1.5,"longitude":2.5,"from":"sender"}},"tokens":{{"refresh":{{"presented":{{"fingerprint":"{fingerprint}"}},"issued":{{"fingerprint":"{fingerprint}"}}}},"access":{{"previous":{{"fingerprint":"{fingerprint}"}},"issued":{{"fingerprint":"{fingerprint}","claims":{claims}}}}}}},"rotated":true}},"findings":[{{"rule":"RA000","name":"fixture","severity":"low","reason":"a finding as detectors write it"}}]}}"#
    )
}

/// The bodies of each batch as lines: what sinks of lines write at once.
pub fn batches_of_lines(messages: &[Message]) -> Vec<Vec<u8>> {
    let batch = |batch: &[Message]| batch.iter().flat_map(|message| [&message.body[..], b"\n"].concat()).collect();
    messages.chunks(BATCH).map(batch).collect()
}

/// Sinks that make something of a record before they send any: their `type` and members.
const SINKS: &[(&str, &str)] = &[
    ("syslog", "address = '127.0.0.1:9'\ntransport = 'tcp'"),
    ("splunk_hec", "url = 'http://127.0.0.1'\ntoken_file = 'secret'"),
    ("elasticsearch", "url = 'http://127.0.0.1'\nindex = 'audit'"),
    ("http", "url = 'http://127.0.0.1'\nbody = 'lines'"),
    ("http", "url = 'http://127.0.0.1'\nbody = 'array'"),
    ("http", "url = 'http://127.0.0.1'\npreset = 'datadog'\nheaders = { DD-API-KEY = { file = 'secret' } }"),
    ("http", "url = 'http://127.0.0.1'\npreset = 'loki'"),
    #[cfg(feature = "otlp")]
    ("otlp", "endpoint = 'http://127.0.0.1'"),
];

/// What comes before a sink, which is done while the sink sends: reading a segment, its hashes checked, into batches, for
/// each sink that makes something of a record; and of that, making messages in each format.
pub fn run() {
    let lines = lines();
    let bytes = lines.iter().map(Bytes::len).sum();
    let dir = journal();
    let segment = plain_path(dir.path(), 1);
    let count = || assert_eq!(BufReader::new(File::open(&segment).unwrap()).split(b'\n').count(), RECORDS);
    let json = Selection::new(&DeliveryConfig::default(), None, Pack::Plain, KeyScheme::EventId);
    compare(
        "journal to batches (bare: std's lines of the same file)",
        RECORDS,
        bytes,
        || batches(dir.path(), &json).for_each(drop),
        count,
    );
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("secret"), "00000000-fixture-secret").unwrap();
    for (kind, members) in SINKS {
        let sink = sink(kind, members, base.path());
        let selection = Selection::of_sink(&DeliveryConfig::default(), &sink, KeyScheme::EventId);
        let more = members.lines().nth(1).filter(|_| *kind == "http").unwrap_or_default();
        alone(&format!("journal to batches, {kind} {more}"), RECORDS, bytes, || {
            batches(dir.path(), &selection).for_each(drop)
        });
    }
    for format in Format::TYPES {
        let config: DeliveryConfig = toml::from_str(&format!("format = '{format}'")).unwrap();
        let selection = Selection::new(&config, None, Pack::Plain, KeyScheme::EventId);
        alone(&format!("messages, format {format}"), RECORDS, bytes, || {
            for line in &lines {
                selection.message(&line.clone().into()).unwrap();
            }
        });
    }
}
