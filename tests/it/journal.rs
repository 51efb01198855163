//! A journal without a ledger: real segments, hand-made, with a `synced` that the test moves.

use std::{fs, io::Write, path::Path, sync::Arc, time::Duration};

use refresh_audit::{
    deliver::{Context, Deliverer, DeliveryConfig, SinkHandle, Status},
    ledger::{
        Consumers, KeyScheme,
        chain::{GENESIS, Hash, seal_line},
        segment::{journal_dir, plain_path},
    },
    record::{AlarmChange, AlarmState, Draft, Kind, Seq},
    sink::Sink,
    telemetry::{Alarms, Metrics},
    time::ReceivedAt,
};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// The journal's id in every test.
pub const ID: &str = "3f9a1c2e";
/// No condition takes longer on any machine that is worth testing on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A data directory with a journal in it, and what a sink's loop needs.
pub struct World {
    pub dir: TempDir,
    prev: Hash,
    next: Seq,
    synced: watch::Sender<Seq>,
    pub context: Context,
}

/// A running loop.
pub struct Running {
    pub handle: SinkHandle,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(journal_dir(dir.path())).unwrap();
        let (synced, follower) = watch::channel(0);
        let metrics = Metrics::new();
        let consumers = Consumers::default();
        // The sinks of a test are all there is.
        consumers.complete();
        let context = Context {
            data_dir: dir.path().to_owned(),
            journal_dir: journal_dir(dir.path()),
            journal_id: ID.into(),
            synced: follower,
            key_scheme: KeyScheme::EventId,
            consumers,
            alarms: Alarms::new(Arc::clone(&metrics)),
            metrics,
        };
        Self { dir, prev: GENESIS, next: 1, synced, context }
    }

    /// The event id of a seq.
    pub fn event_id(seq: Seq) -> String {
        format!("00000000-0000-4000-8000-{seq:012x}")
    }

    /// Appends events and publishes them; the last seq.
    pub fn events(&mut self, count: u64) -> Seq {
        self.user_events(count, 0)
    }

    /// The same of so many users in turns; 0: of nobody.
    pub fn user_events(&mut self, count: u64, users: u64) -> Seq {
        for _ in 0..count {
            let id = Self::event_id(self.next);
            let user =
                self.next.checked_rem(users).map_or_else(String::new, |user| format!(r#","user_id":"user-{user}""#));
            let event = format!(
                r#"{{"id":"{id}","type":"jwt.refresh","occurred_at":"2026-11-22T06:40:00.000Z","outcome":"attempted"{user}}}"#
            );
            let event = RawValue::from_string(event).unwrap();
            let mut draft = Draft::new(ID, "n", self.next, Kind::Event, ReceivedAt::wall());
            draft.source = Some("fusionauth");
            draft.event = Some(&event);
            let line = serde_json::to_vec(&draft).unwrap();
            self.append(line);
        }
        self.publish()
    }

    /// Appends an alarm and publishes it; its seq.
    pub fn alarm(&mut self, name: &str) -> Seq {
        let change = AlarmChange { name: name.into(), subject: None, state: AlarmState::Raised, message: "m".into() };
        let mut draft = Draft::new(ID, "n", self.next, Kind::Alarm, ReceivedAt::wall());
        draft.alarm = Some(&change);
        let line = serde_json::to_vec(&draft).unwrap();
        self.append(line);
        self.publish()
    }

    /// Appends a line whose hash is wrong; its seq.
    pub fn damaged(&mut self) -> Seq {
        let draft = Draft::new(ID, "n", self.next, Kind::Alarm, ReceivedAt::wall());
        let mut line = serde_json::to_vec(&draft).unwrap();
        self.prev = seal_line(&mut line, 0, &self.prev);
        line[20] ^= 1;
        self.write(&line)
    }

    /// From here on in a new segment.
    pub fn new_segment(&self) {
        fs::write(plain_path(&self.context.journal_dir, self.next), "").unwrap();
    }

    fn append(&mut self, mut line: Vec<u8>) {
        self.prev = seal_line(&mut line, 0, &self.prev);
        self.write(&line);
    }

    fn write(&mut self, line: &[u8]) -> Seq {
        let segments = refresh_audit::ledger::segment::list(&self.context.journal_dir).unwrap();
        let path = segments.last().map_or_else(|| plain_path(&self.context.journal_dir, 1), |last| last.path.clone());
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line).unwrap();
        self.next += 1;
        self.next - 1
    }

    /// What is written is synced now.
    pub fn publish(&self) -> Seq {
        self.synced.send_replace(self.next - 1);
        self.next - 1
    }

    /// `sinks/<name>/<file>`.
    pub fn sink_file(&self, name: &str, file: &str) -> std::path::PathBuf {
        self.dir.path().join("sinks").join(name).join(file)
    }

    /// Starts a sink's loop.
    pub fn start<S: Sink + Send + Sync + 'static>(&self, name: &str, config: &str, sink: S) -> Running {
        let config: DeliveryConfig = toml::from_str(config).unwrap();
        let (deliverer, handle) = Deliverer::new(name, config, sink, &self.context).unwrap();
        let (stop, stopped) = watch::channel(false);
        Running { handle, stop, task: tokio::spawn(deliverer.run(stopped)) }
    }
}

impl Running {
    /// Waits until the status is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        eventually(what, || Some(self.handle.status()).filter(&wanted)).await
    }

    /// Waits until nothing is pending.
    pub async fn drained(&self) -> Status {
        self.until("nothing pending", |status| status.pending == 0).await
    }

    /// Says stop, and does not wait for it.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops in order, as the service does.
    pub async fn stop(self) -> Status {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.task).await.expect("stops in time").unwrap();
        self.handle.status()
    }

    /// Stops as a crash does: no last word of any kind.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Waits for a condition, not for a time.
pub async fn eventually<T>(what: &str, probe: impl Fn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = probe() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The six counts add up, each seq once, in the status and in the durable cursor.
pub fn adds_up(status: &Status) {
    let Status { delivered, skipped, parked, dropped, damaged, pending, recorded, start, next, .. } = status;
    assert_eq!(delivered + skipped + parked + dropped + damaged + pending, *recorded, "{status:?}");
    assert_eq!(start + delivered + skipped + parked + dropped + damaged, *next, "{status:?}");
}

/// The JSON of a file under the data directory.
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
