//! The way in: prove, decode, filter, enrich, record. One function, one outcome per request, each counted.
//!
//! Knows sources, the scope, enrichment, privacy and the ledger's handle; nothing of HTTP beyond the raw request. Whatever
//! goes wrong here is logged once, here, without a value from the body.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::value::to_raw_value;
use sha2::{Digest, Sha256};

use crate::{
    detect::Facts,
    enrich::Enricher,
    event::RefreshEvent,
    ledger::{Admission, Entry, Ledger, Unavailable},
    privacy,
    record::{Evidence, Seq},
    scope::Scope,
    secret::Fingerprinter,
    source::{AnySource, Authentic, Decoded, RawRequest, Source, SourceError},
    telemetry::{Alarm, Alarms, Metrics, RequestOutcome},
};

mod heard;

use heard::{Heard, Kept};

/// When a sender should come again after a full queue, a missed deadline or a failed disk.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A source whose service was away could not be heard, and has this long (or a tenth of what is normal for it) before it is
/// called silent: what it sends all the time comes first.
const LISTENED_MIN: Duration = Duration::from_secs(60);
/// Refusals logged per source and second; the rest is counted only, so that nobody fills the log.
const REFUSALS_LOGGED_PER_SEC: u64 = 5;

/// What to do when the journal cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStorageFailure {
    /// Answer 503: nothing is lost silently, but with a transactional webhook users cannot refresh.
    #[default]
    FailClosed,
    /// Answer 200 and lose the record; counted and alarmed.
    FailOpen,
}

/// One configured source.
pub struct Slot {
    /// Its name in the path and in records.
    pub name: Arc<str>,
    source: AnySource,
    heard: Heard,
    refusals: AtomicU64,
    refusals_second: AtomicU64,
}

/// What the way in needs.
pub struct Intake {
    sources: BTreeMap<String, Slot>,
    scope: Scope,
    enricher: Enricher,
    privacy: privacy::Config,
    fingerprints: Fingerprinter,
    on_storage_failure: OnStorageFailure,
    detects: bool,
    /// Whether events went unrecorded since the last one that was.
    unrecorded: AtomicBool,
    ledger: OnceLock<Ledger>,
    alarms: Alarms,
    metrics: Arc<Metrics>,
    started: Instant,
    kept: Kept,
    opened: OnceLock<Instant>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Recorded, on disk.
    Accepted(Seq),
    /// Recorded, on disk, and refused by the gate.
    Denied(Seq),
    /// Recorded before.
    Duplicate(Seq),
    /// Outside the scope.
    Filtered,
    /// Authentic, of a type that is not taken.
    Ignored,
    /// Answered though not recorded (`fail_open`).
    Unrecorded,
    /// The sender did not prove itself.
    Unauthenticated,
    /// Authentic, but not a readable event: which member, and what is wrong with it.
    Unreadable(String),
    /// Nothing can be said now.
    Unavailable(&'static str, Duration),
    /// Nothing can be said now, not even of who asks.
    Unverified(&'static str, Duration),
}

impl Outcome {
    fn label(&self) -> RequestOutcome {
        match self {
            Self::Accepted(_) => RequestOutcome::Accepted,
            Self::Denied(_) => RequestOutcome::Denied,
            Self::Duplicate(_) => RequestOutcome::Duplicate,
            Self::Filtered => RequestOutcome::Filtered,
            Self::Ignored => RequestOutcome::Ignored,
            Self::Unrecorded => RequestOutcome::Unrecorded,
            Self::Unauthenticated | Self::Unreadable(_) => RequestOutcome::Refused,
            Self::Unavailable(..) | Self::Unverified(..) => RequestOutcome::Unavailable,
        }
    }
}

/// The parts of an [`Intake`].
pub struct Parts {
    /// Sources by name.
    pub sources: Vec<(String, AnySource)>,
    /// `[scope]`.
    pub scope: Scope,
    /// Fills in what local files know.
    pub enricher: Enricher,
    /// `[privacy]`.
    pub privacy: privacy::Config,
    /// Makes fingerprints.
    pub fingerprints: Fingerprinter,
    /// `server.on_storage_failure`.
    pub on_storage_failure: OnStorageFailure,
    /// `detect.enabled`.
    pub detects: bool,
    /// Where trouble goes.
    pub alarms: Alarms,
    /// Where numbers go.
    pub metrics: Arc<Metrics>,
    /// Where it is kept when each source was last heard.
    pub heard_file: PathBuf,
}

impl Intake {
    /// Takes nothing before [`Intake::open`]. Blocking: reads a small file.
    pub fn new(parts: Parts) -> Self {
        let started = Instant::now();
        let slot = |(name, source): (String, AnySource)| {
            let slot = Slot {
                name: name.as_str().into(),
                source,
                heard: Heard::new(started),
                refusals: AtomicU64::new(0),
                refusals_second: AtomicU64::new(0),
            };
            (name, slot)
        };
        let sources: BTreeMap<String, Slot> = parts.sources.into_iter().map(slot).collect();
        sources.values().for_each(|slot| parts.metrics.foresee(&slot.name, &RequestOutcome::ALL));
        parts.metrics.foresee(&Arc::from("unknown"), &[RequestOutcome::Refused]);
        let kept = Kept::new(parts.heard_file);
        kept.recall(heard(&sources));
        Self {
            sources,
            scope: parts.scope,
            enricher: parts.enricher,
            privacy: parts.privacy,
            fingerprints: parts.fingerprints,
            on_storage_failure: parts.on_storage_failure,
            detects: parts.detects,
            // Raised before a restart: the first recorded event clears it.
            unrecorded: AtomicBool::new(true),
            ledger: OnceLock::new(),
            alarms: parts.alarms,
            metrics: parts.metrics,
            started,
            kept,
            opened: OnceLock::new(),
        }
    }

    /// The ledger is ready.
    pub fn open(&self, ledger: Ledger) {
        let _ = self.opened.set(Instant::now());
        let _ = self.ledger.set(ledger);
    }

    /// Keeps for the next start when each source was last heard. Blocking.
    pub fn keep_heard(&self) -> io::Result<()> {
        self.kept.write(heard(&self.sources))
    }

    /// The source of a path.
    pub fn source(&self, name: &str) -> Option<&Slot> {
        self.sources.get(name)
    }

    /// Counts a request that ended before it reached a source's checks.
    pub fn count(&self, source: Option<&Slot>, outcome: RequestOutcome) {
        let name = source.map_or_else(|| Arc::from("unknown"), |slot| Arc::clone(&slot.name));
        self.metrics.count(&name, outcome);
    }

    /// Takes one request through to its end, within its deadline.
    pub async fn receive(&self, slot: &Slot, request: RawRequest<'_>) -> Outcome {
        let arrived = request.arrived;
        let deadline = tokio::time::Instant::from_std(request.deadline);
        let taken = tokio::time::timeout_at(deadline, self.take(slot, &request)).await;
        let outcome = taken.unwrap_or_else(|_| {
            self.log_refusal(
                (slot, &request),
                "the answer would have come too late (server.ack_deadline)",
                "see sync times in /metrics",
            );
            Outcome::Unavailable("deadline passed", RETRY_AFTER)
        });
        self.metrics.ack_seconds.observe(arrived.elapsed().as_secs_f64());
        self.metrics.count(&slot.name, outcome.label());
        outcome
    }

    async fn take(&self, slot: &Slot, request: &RawRequest<'_>) -> Outcome {
        let Some(ledger) = self.ledger.get() else { return Outcome::Unverified("starting", RETRY_AFTER) };
        let decoded = match self.read(slot, request).await {
            Ok(decoded) => decoded,
            Err(error) => return self.refuse((slot, request), error),
        };
        let (mut evidence, decoded) = decoded;
        let body_sha256 = body_hash(&evidence, request.body);
        evidence.body_sha256.get_or_insert_with(|| hex::encode(body_sha256));
        let mut outcome = Outcome::Ignored;
        for decoded in decoded {
            let next = match decoded {
                Decoded::Ignored { kind } => {
                    tracing::debug!(source = %slot.name, kind, "a delivery of a type that is not taken");
                    Outcome::Ignored
                }
                Decoded::Event(event) => self.admit(slot, ledger, (evidence.clone(), body_sha256), event).await,
            };
            // Of several events in one delivery, the sender must come again if any of them is not safe.
            if !matches!(outcome, Outcome::Unavailable(..)) {
                outcome = next;
            }
        }
        outcome
    }

    async fn read(&self, slot: &Slot, request: &RawRequest<'_>) -> Result<(Evidence, Vec<Decoded>), SourceError> {
        let body: Authentic<'_> = slot.source.authenticate(request).await?;
        slot.heard.now();
        let decoded = slot.source.decode(&body, &self.fingerprints)?;
        Ok((body.into_evidence(), decoded))
    }

    async fn admit(
        &self,
        slot: &Slot,
        ledger: &Ledger,
        (evidence, body_sha256): (Evidence, [u8; 32]),
        mut event: Box<RefreshEvent>,
    ) -> Outcome {
        if !self.scope.takes(&event) {
            return Outcome::Filtered;
        }
        // Before privacy: from what is then left of the address nothing could be looked up.
        self.enricher.enrich(&mut event);
        self.privacy.apply(&mut event, &self.fingerprints);
        let Ok(event_json) = to_raw_value(&event) else {
            return Outcome::Unreadable("event: it cannot be written as JSON".to_owned());
        };
        let facts = self.detects.then(|| Box::new(Facts::of(&event)));
        let entry = Entry { source: Arc::clone(&slot.name), evidence, event, facts, event_json, body_sha256 };
        match ledger.admit(entry).await {
            Admission::Accepted { seq } => {
                if self.unrecorded.swap(false, Ordering::Relaxed) {
                    self.alarms.clear(Alarm::EventsUnrecorded, None, "events are recorded again");
                }
                Outcome::Accepted(seq)
            }
            Admission::Denied { seq } | Admission::Duplicate { seq, denied: true } => Outcome::Denied(seq),
            Admission::Duplicate { seq, denied: false } => Outcome::Duplicate(seq),
            Admission::Unavailable(why) => self.unavailable(why),
        }
    }

    fn unavailable(&self, why: Unavailable) -> Outcome {
        let is_storage = matches!(why, Unavailable::StorageFailed | Unavailable::DiskFull);
        if is_storage && self.on_storage_failure == OnStorageFailure::FailOpen {
            let message = "events are answered 200 without a record (server.on_storage_failure = \"fail_open\")";
            self.unrecorded.store(true, Ordering::Relaxed);
            self.alarms.raise(Alarm::EventsUnrecorded, None, message);
            return Outcome::Unrecorded;
        }
        let reason = match why {
            Unavailable::QueueFull => "queue full",
            Unavailable::StorageFailed => "storage failed",
            Unavailable::DiskFull => "disk full",
            Unavailable::LookupFailed => "cannot tell whether it was seen before",
            Unavailable::Stopping => "stopping",
        };
        Outcome::Unavailable(reason, RETRY_AFTER)
    }

    fn refuse(&self, what: (&Slot, &RawRequest<'_>), error: SourceError) -> Outcome {
        match error {
            SourceError::Unauthenticated { step, fix } => {
                self.log_refusal(what, step, &fix);
                Outcome::Unauthenticated
            }
            SourceError::Unavailable { reason, retry_after } => {
                self.log_refusal(what, &reason, "the sender was told to come again");
                Outcome::Unverified("cannot verify now", retry_after)
            }
            SourceError::Unreadable { field, problem } => {
                self.log_refusal(
                    what,
                    &format!("{field}: {problem}"),
                    "it was signed, so look at what the sender sends",
                );
                Outcome::Unreadable(format!("{field}: {problem}"))
            }
        }
    }

    fn log_refusal(&self, (slot, request): (&Slot, &RawRequest<'_>), step: &str, fix: &str) {
        let second = self.started.elapsed().as_secs();
        if slot.refusals_second.swap(second, Ordering::Relaxed) != second {
            slot.refusals.store(0, Ordering::Relaxed);
        }
        match slot.refusals.fetch_add(1, Ordering::Relaxed) {
            n if n < REFUSALS_LOGGED_PER_SEC => {
                let RawRequest { id, peer, .. } = request;
                tracing::warn!(source = %slot.name, request_id = id, %peer, step, "a delivery was refused: {fix}");
            }
            REFUSALS_LOGGED_PER_SEC => {
                tracing::warn!(source = %slot.name, "more deliveries are refused; they are counted, not logged, for a second");
            }
            _ => {}
        }
    }

    /// Compares every source with what is normal for it: raises and clears what follows. Called about once a second.
    pub fn watch(&self) {
        let listening = self.opened.get().map_or(Duration::ZERO, Instant::elapsed);
        for slot in self.sources.values() {
            let silent = slot.heard.silent();
            let labels = crate::telemetry::SourceLabels { source: Arc::clone(&slot.name) };
            self.metrics.last_event_age.get_or_create(&labels).set(silent.as_secs_f64());
            match slot.source.quiet_after() {
                Some(normal) if silent > normal && listening >= (normal / 10).min(LISTENED_MIN) => {
                    let message = format!(
                        "nothing authentic came from {} for {} s (quiet_after is {} s): is its webhook still enabled, and \
                         the event in the tenant?",
                        slot.name,
                        silent.as_secs(),
                        normal.as_secs()
                    );
                    self.alarms.raise(Alarm::SourceSilent, Some(&slot.name), message);
                }
                // Not heard since the start: nothing is known yet.
                _ if !slot.heard.is_heard() => {}
                _ => self.alarms.clear(Alarm::SourceSilent, Some(&slot.name), "it is heard again"),
            }
            match slot.source.standing() {
                // Raised before this start, maybe: that stands until more is known.
                None => {}
                Some(Ok(())) => self.alarms.clear(Alarm::JwksStale, Some(&slot.name), "the key set is fresh again"),
                Some(Err(trouble)) => self.alarms.raise(Alarm::JwksStale, Some(&slot.name), trouble),
            }
        }
    }
}

fn heard(sources: &BTreeMap<String, Slot>) -> impl Iterator<Item = (&str, &Heard)> {
    sources.values().map(|slot| (&*slot.name, &slot.heard))
}

/// The body's SHA-256: the source has it where it checked a signature; hashed here otherwise.
fn body_hash(evidence: &Evidence, body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    match evidence.body_sha256.as_ref().map(|text| hex::decode_to_slice(text, &mut hash)) {
        Some(Ok(())) => hash,
        _ => Sha256::digest(body).into(),
    }
}
