//! What is not in memory makes no difference: a story of many sessions, judged with room for all and with room for almost
//! none, says the same; and it comes back bit by bit after any stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{json, value::RawValue};

use super::{
    Admission, DedupeConfig, Entry, Ledger, Running,
    core::{self, Places},
    read::{Item, Reader},
    segment::journal_dir,
    tests::settings,
};
use crate::{
    detect::{
        Facts, Policy,
        judge::{Case, Judge, Memory},
        key::key,
        state::{
            shards::{SHARDS, shard_of},
            spilled::{Cellar as _, InMemory},
        },
    },
    event::RefreshEvent,
    record::{Action, Evidence, Finding, Record, Seq, Verdict},
    telemetry::Metrics,
    time::ReceivedAt,
};

const USERS: usize = 24;
const SESSIONS_EACH: usize = 3;
/// Seconds from one event to the next.
const STEP: i64 = 97;

/// Room for one session and one user in a shard.
pub(super) fn tiny() -> Policy {
    let mut policy = Policy::default();
    (policy.detect.sessions_max, policy.detect.users_max) = (1, 1);
    policy
}

/// Names whose keys lie in the first two shards, so that they are in each other's way.
fn crowded(make: impl Fn(u64) -> (String, u64)) -> impl Iterator<Item = String> {
    (0..).map(make).filter(|(_, key)| shard_of(*key) < SHARDS / 2_048).map(|(name, _)| name)
}

#[derive(Clone)]
struct Line {
    user: String,
    name: String,
    tokens: Vec<u64>,
    presented: u64,
}

/// People who refresh in turns: mostly as they should; now and then with an old token, from elsewhere, after a revocation.
#[derive(Clone)]
pub(super) struct Story {
    lines: Vec<Line>,
    dice: u64,
    step: i64,
    from: i64,
}

impl Story {
    pub(super) fn new() -> Self {
        let tenant = key(&["t", ""]).to_string();
        let mut users = crowded(|n| (format!("u{n}"), key(&["u", "", &format!("u{n}")])));
        let mut sessions = crowded(|n| (format!("s{n}"), key(&["s", &tenant, &format!("s{n}")])));
        let mut lines = Vec::new();
        for _ in 0..USERS {
            let user = users.next().unwrap();
            let line = |name| Line { user: user.clone(), name, tokens: Vec::new(), presented: 0 };
            lines.extend(sessions.by_ref().take(SESSIONS_EACH).map(line));
        }
        let now = ReceivedAt::wall().micros() / 1_000_000;
        Self { lines, dice: 20_261_126, step: 0, from: now - 6 * 86_400 }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    pub(super) fn next(&mut self) -> RefreshEvent {
        self.step += 1;
        let (at, step) = (self.from + self.step * STEP, u64::try_from(self.step).unwrap());
        let line = usize::try_from(self.roll(self.lines.len() as u64)).unwrap();
        let (what, back) = (self.roll(40), usize::try_from(self.roll(12)).unwrap());
        let host = if self.roll(25) == 0 { 200 + step % 50 } else { line as u64 };
        let line = &mut self.lines[line];
        let fingerprint = |token: u64| json!({ "fingerprint": format!("1a2b:{token:016x}{token:016x}") });
        let occurred = ReceivedAt::from_micros(at * 1_000_000).to_string();
        let mut event = json!({
            "id": format!("e{step}"), "type": "jwt.refresh", "occurred_at": format!("{}Z", &occurred[..23]),
            "outcome": "attempted", "application_id": "a", "user_id": line.user, "session_id": line.name,
            "ip": format!("10.{host}.0.1"), "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
        });
        if what == 0 && line.presented != 0 {
            event["type"] = json!("jwt.refresh-token.revoke");
            event["tokens"] = json!({ "refresh": { "presented": fingerprint(line.presented) } });
        } else {
            let parent = match what {
                1 | 2 => line.tokens.iter().rev().nth(back),
                _ => line.tokens.last(),
            };
            let token = step << 20;
            if line.presented == 0 || what == 3 {
                line.presented = token + 1;
            }
            let claims = json!({ "iat": at, "exp": at + 3_600, "sid": line.name });
            let mut access =
                json!({ "issued": { "fingerprint": fingerprint(token)["fingerprint"], "claims": claims } });
            if let Some(parent) = parent {
                access["previous"] = fingerprint(*parent);
            }
            event["tokens"] = json!({ "access": access, "refresh": { "presented": fingerprint(line.presented) } });
            line.tokens.push(token);
        }
        serde_json::from_value(event).unwrap()
    }
}

type Said = (Vec<Finding>, Option<Verdict>);

/// What is said of each event where there is room for so many.
fn said(policy: &Policy, events: &[RefreshEvent]) -> (Vec<Said>, usize) {
    let (mut judge, mut cellar) = (Judge::new(policy, Memory::default()), InMemory::default());
    let mut gone = 0;
    let mut one = |(seq, event): (Seq, &RefreshEvent)| {
        let (facts, evidence) = (Facts::of(event), Evidence::default());
        let at = ReceivedAt::from_micros(event.occurred_at.millis() * 1_000);
        let case = Case { event, facts: &facts, evidence: &evidence, at, seq };
        let guests = judge.fetch(case, &mut cellar);
        let ruling = judge.event(case, guests, &|| false);
        judge.take_unwritten();
        judge.take_spilled().for_each(|entry| {
            gone += 1;
            cellar.put(entry);
        });
        (ruling.findings, ruling.verdict)
    };
    let said = (1..).zip(events).map(&mut one).collect();
    (said, gone)
}

fn rules(said: &[Said]) -> BTreeSet<&str> {
    said.iter().flat_map(|(findings, _)| findings.iter().map(|finding| finding.rule.as_str())).collect()
}

#[test]
fn with_room_for_almost_none_the_same_is_found() {
    let mut story = Story::new();
    let events: Vec<RefreshEvent> = (0..4_000).map(|_| story.next()).collect();
    let (with_room, none) = said(&Policy::default(), &events);
    let (without, gone) = said(&tiny(), &events);
    assert!(none == 0 && gone > 4_000, "{none} and {gone} went out");
    let found = rules(&with_room);
    for rule in ["RA101", "RA102", "RA106"] {
        assert!(found.contains(rule), "{found:?}");
    }
    for (number, (one, other)) in with_room.iter().zip(&without).enumerate() {
        assert_eq!(one, other, "event {number}");
    }
    // Where what goes out is forgotten, it is not the same: the story would show it.
    let mut forgets = tiny();
    forgets.detect.spilled_max = 0;
    assert_ne!(said(&forgets, &events).0, with_room);
}

pub(super) fn start(dir: &Path) -> (Ledger, Running, std::sync::Arc<Metrics>) {
    let mut settings = settings(dir);
    settings.policy = tiny();
    settings.dedupe = DedupeConfig { window: crate::units::Span::from_days(30) };
    let metrics = std::sync::Arc::clone(&settings.metrics);
    let (ledger, running) = Ledger::start(settings).unwrap();
    (ledger, running, metrics)
}

fn entry(event: RefreshEvent) -> Entry {
    Entry {
        source: "fusionauth".into(),
        evidence: Evidence::default(),
        event_json: RawValue::from_string(serde_json::to_string(&event).unwrap()).unwrap(),
        facts: Some(Box::new(Facts::of(&event))),
        event: Box::new(event),
        body_sha256: [1; 32],
    }
}

/// Sends events, several at a time.
pub(super) async fn send(ledger: &Ledger, story: &mut Story, count: usize) {
    for _ in 0..count / 8 {
        let eight: Vec<_> = (0..8).map(|_| entry(story.next())).collect();
        let sent = eight.into_iter().map(|entry| ledger.admit(entry));
        for admission in futures_util::future::join_all(sent).await {
            assert!(matches!(admission, Admission::Accepted { .. }), "{admission:?}");
        }
    }
}

pub(super) fn records(dir: &Path) -> Vec<Record> {
    let mut reader = Reader::new(&journal_dir(dir), 1);
    let mut records: Vec<Record> = Vec::new();
    loop {
        let items = reader.read(Seq::MAX, 1_000, 1 << 20).unwrap();
        if items.is_empty() {
            return records;
        }
        records.extend(items.into_iter().map(|item| match item {
            Item::Line { text, .. } => serde_json::from_slice(&text).unwrap(),
            other => panic!("{other:?}"),
        }));
    }
}

/// The records as somebody with room for everything judges them; those whose findings are other ones.
fn other_ones(records: &[Record]) -> BTreeMap<Seq, (Vec<Finding>, Vec<Finding>)> {
    let (mut judge, mut cellar) = (Judge::new(&Policy::default(), Memory::default()), InMemory::default());
    let mut others = BTreeMap::new();
    for record in records {
        let Some(event) = &record.event else { continue };
        let (facts, evidence) = (Facts::of(event), record.evidence.clone().unwrap_or_default());
        let case = Case { event, facts: &facts, evidence: &evidence, at: record.received_at, seq: record.seq };
        let guests = judge.fetch(case, &mut cellar);
        let answered = record.verdict.as_ref().map_or(Action::Allow, |verdict| verdict.action);
        let ruling = judge.again(case, guests, answered);
        judge.take_unwritten();
        if (&ruling.findings, &ruling.verdict) != (&record.findings, &record.verdict) {
            others.insert(record.seq, (record.findings.clone(), ruling.findings));
        }
    }
    others
}

/// All files as they are at one instant, as a kill leaves them: a copy during which one of them changed is made again.
pub(super) fn copy(from: &Path, to: &Path) {
    loop {
        let before = listing(from);
        let _ = fs::remove_dir_all(to);
        copy_each(from, to);
        if listing(from) == before {
            return;
        }
    }
}

fn copy_each(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        // What is half-made may be gone by now.
        if path.is_dir() { copy_each(&path, &to) } else { drop(fs::copy(path, to)) }
    }
}

/// Files of journal and state, their lengths and when they were written.
fn listing(dir: &Path) -> std::collections::BTreeMap<std::path::PathBuf, (u64, std::time::SystemTime)> {
    let mut found = std::collections::BTreeMap::new();
    for path in ["journal", "state"].iter().filter_map(|name| fs::read_dir(dir.join(name)).ok()).flatten() {
        let path = path.unwrap().path();
        let about = fs::metadata(&path)
            .map_or((0, std::time::SystemTime::UNIX_EPOCH), |about| (about.len(), about.modified().unwrap()));
        found.insert(path, about);
    }
    found
}

/// What is remembered after a start with these files, how much was lost, and how many files the newest copy needs.
pub(super) fn remembered(dir: &Path) -> (Vec<u8>, usize) {
    let meta = super::Meta::read(&journal_dir(dir)).unwrap();
    let places = Places {
        data_dir: dir.to_owned(),
        journal: meta.journal,
        window: std::time::Duration::from_secs(86_400),
        segment_bytes: 64 << 10,
        policy: tiny(),
    };
    let (core, found, _) = core::load(&places, ReceivedAt::wall()).unwrap();
    (postcard::to_stdvec(&core.judge.memory()).unwrap(), found.lost)
}

/// The same where only the journal is left.
pub(super) fn relearned(dir: &Path) -> Vec<u8> {
    let other = tempfile::tempdir().unwrap();
    copy(dir, other.path());
    fs::remove_dir_all(other.path().join("state")).unwrap();
    fs::create_dir(other.path().join("state")).unwrap();
    remembered(other.path()).0
}

pub(super) fn files(dir: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir.join("state")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    files.sort();
    files
}

#[tokio::test]
async fn it_comes_back_bit_by_bit_after_any_stop() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut story = Story::new();
    for life in 0..3 {
        let (ledger, running, metrics) = start(dir.path());
        send(&ledger, &mut story, 400).await;
        // As after kill -9: the files as they are.
        let at = killed.path().join(life.to_string());
        copy(dir.path(), &at);
        assert_eq!(remembered(&at), (relearned(&at), 0), "killed in life {life}");
        send(&ledger, &mut story, 80).await;
        running.stop();
        assert!(metrics.state.fetched.get() > 300 && metrics.state.cold.get() == 0);
        assert_eq!(remembered(dir.path()), (relearned(dir.path()), 0), "stopped after life {life}");
    }
    let records = records(dir.path());
    assert_eq!(other_ones(&records), BTreeMap::new());
    // With the newest copy damaged, the one before finds what belongs to it.
    let copies = files(dir.path(), "detect-");
    assert_eq!(copies.len(), 2);
    fs::write(&copies[1], b"damaged").unwrap();
    assert_eq!(remembered(dir.path()), (relearned(dir.path()), 0));
}

#[tokio::test]
async fn an_id_that_comes_twice_while_its_session_is_fetched_is_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::new();
    let (ledger, running, metrics) = start(dir.path());
    send(&ledger, &mut story, 200).await;
    let before = metrics.state.fetched.get();
    for _ in 0..50 {
        let event = story.next();
        let both = (ledger.admit(entry(event.clone())), ledger.admit(entry(event)));
        let (Admission::Accepted { seq }, twice) = futures_util::future::join(both.0, both.1).await else { panic!() };
        assert_eq!(twice, Admission::Duplicate { seq, denied: false });
    }
    assert!(metrics.state.fetched.get() > before + 50);
    running.stop();
}
