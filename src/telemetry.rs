//! What the service says of itself: every metric and every alarm, named in one list each; the log's set-up.
//!
//! An alarm is one thing everywhere: an error-level log line, the metric `refresh_audit_alarm`, and a journal record
//! of kind `alarm`; raised once per state change and cleared the same way. Knows `record` and no other part.

use std::sync::{Arc, atomic::AtomicU64};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::record::Finding;

mod alarms;
mod applications;
mod log;
mod state;

pub use alarms::{Alarm, Alarms, RaisedAlarm};
pub use applications::{ApplicationLabels, ApplicationMetrics};
pub use log::{LogConfig, LogFormat, Malformed, filter, init};
pub use state::StateMetrics;

/// How one request ended: the value of the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestOutcome {
    /// Recorded.
    Accepted,
    /// Recorded and refused.
    Denied,
    /// Recorded before.
    Duplicate,
    /// Outside the scope.
    Filtered,
    /// Of a type that is not taken.
    Ignored,
    /// 4xx.
    Refused,
    /// 503: unknown to the sender whether it was recorded.
    Unavailable,
    /// 2xx without a record (`fail_open`).
    Unrecorded,
}

impl RequestOutcome {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Denied,
        Self::Duplicate,
        Self::Filtered,
        Self::Ignored,
        Self::Refused,
        Self::Unavailable,
        Self::Unrecorded,
    ];

    /// The label's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Duplicate => "duplicate",
            Self::Filtered => "filtered",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// Labels of `refresh_audit_events_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EventLabels {
    /// The configured source; `unknown` for a path that names none.
    pub source: Arc<str>,
    /// See [`RequestOutcome`].
    pub outcome: &'static str,
}

/// Label of per-source metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SourceLabels {
    /// The configured source.
    pub source: Arc<str>,
}

/// Labels of `refresh_audit_sink_records`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkStateLabels {
    /// The configured sink.
    pub sink: Arc<str>,
    /// `delivered`, `skipped`, `parked`, `dropped`, `damaged` or `pending`.
    pub state: &'static str,
}

/// Label of per-sink metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SinkLabels {
    /// The configured sink.
    pub sink: Arc<str>,
}

/// Label of `refresh_audit_alarm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlarmLabels {
    /// See [`Alarm::name`].
    pub name: &'static str,
}

/// Labels of `refresh_audit_findings_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    /// The rule's id.
    pub rule: String,
    /// Its severity.
    pub severity: &'static str,
}

/// Label of `refresh_audit_gate_allowed_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GateLabels {
    /// `capped`, `late` or `failed`.
    pub reason: &'static str,
}

/// Every metric there is. Passed by `Arc`; there is no global registry.
pub struct Metrics {
    registry: Registry,
    /// Requests by source and outcome.
    pub events: Family<EventLabels, Counter>,
    /// Last body byte to answer, seconds.
    pub ack_seconds: Histogram,
    /// One `fdatasync` of the journal, seconds.
    pub sync_seconds: Histogram,
    /// Seconds since a source's last authentic event, or since start; set every second.
    pub last_event_age: Family<SourceLabels, Gauge<f64, AtomicU64>>,
    /// Per sink, records since its start by state.
    pub sink_records: Family<SinkStateLabels, Gauge>,
    /// Age of the oldest record a sink still has to take, seconds; 0 when it has all.
    pub sink_lag: Family<SinkLabels, Gauge<f64, AtomicU64>>,
    /// How many subjects an alarm is raised for.
    pub alarm: Family<AlarmLabels, Gauge>,
    /// Findings by rule and severity.
    pub findings: Family<FindingLabels, Counter>,
    /// Refreshes that the gate let through though findings, or nothing known, spoke for refusing.
    pub gate_allowed: Family<GateLabels, Counter>,
    /// Times that a rule of the operator's own failed on an event, and said nothing.
    pub failed_rules: Counter,
    /// Where what detection remembers is.
    pub state: StateMetrics,
    /// How many refreshes name the previous token, by application.
    pub applications: ApplicationMetrics,
    /// Bytes of all files of the journal on disk.
    pub journal_bytes: Gauge,
    /// The last synced seq.
    pub synced_seq: Gauge,
}

impl Metrics {
    /// A registry with all of them, at zero.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("refresh_audit");
        // 50 us to 1.6 s: an fdatasync on a good disk takes about 50 us, an answer may take `ack_deadline`.
        let seconds = || Histogram::new(exponential_buckets(0.000_05, 2.0, 16));
        let this = Self {
            events: Family::default(),
            ack_seconds: seconds(),
            sync_seconds: seconds(),
            last_event_age: Family::default(),
            sink_records: Family::default(),
            sink_lag: Family::default(),
            alarm: Family::default(),
            findings: Family::default(),
            gate_allowed: Family::default(),
            failed_rules: Counter::default(),
            state: StateMetrics::default(),
            applications: ApplicationMetrics::default(),
            journal_bytes: Gauge::default(),
            synced_seq: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("events", "Requests by source and outcome", this.events.clone());
        registry.register("ack_seconds", "Last body byte to answer", this.ack_seconds.clone());
        registry.register("sync_seconds", "One fdatasync of the journal", this.sync_seconds.clone());
        registry.register("last_event_age_seconds", "Since the last authentic event", this.last_event_age.clone());
        registry.register("sink_records", "Records since the sink's start, by state", this.sink_records.clone());
        registry.register("sink_lag_seconds", "Age of the oldest undelivered record", this.sink_lag.clone());
        registry.register("alarm", "Subjects that an alarm is raised for", this.alarm.clone());
        registry.register("findings", "Findings by rule and severity", this.findings.clone());
        registry.register("gate_allowed", "Refreshes let through for want of certainty", this.gate_allowed.clone());
        registry.register("failed_rules", "Failures of the operator's own rules", this.failed_rules.clone());
        this.state.register(&mut registry);
        this.applications.register(&mut registry);
        registry.register("journal_bytes", "Bytes of all files of the journal", this.journal_bytes.clone());
        registry.register("synced_seq", "Last synced seq", this.synced_seq.clone());
        Arc::new(Self { registry, ..this })
    }

    /// Shows what can be counted of a source at zero, so that the first one is an increase.
    pub fn foresee(&self, source: &Arc<str>, outcomes: &[RequestOutcome]) {
        for outcome in outcomes {
            drop(self.events.get_or_create(&EventLabels { source: Arc::clone(source), outcome: outcome.as_str() }));
        }
    }

    /// Counts one request.
    pub fn count(&self, source: &Arc<str>, outcome: RequestOutcome) {
        self.events.get_or_create(&EventLabels { source: Arc::clone(source), outcome: outcome.as_str() }).inc();
    }

    /// Counts what rules found in one event.
    pub fn found(&self, findings: &[Finding]) {
        for Finding { rule, severity, .. } in findings {
            self.findings.get_or_create(&FindingLabels { rule: rule.clone(), severity: severity.as_str() }).inc();
        }
    }

    /// Counts a refresh that the gate let through for want of certainty.
    pub fn gate_allowed(&self, reason: &'static str) {
        self.gate_allowed.get_or_create(&GateLabels { reason }).inc();
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
