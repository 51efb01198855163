//! How a sink stands: the six counts, what it is doing, what went wrong last.

use serde::Serialize;

use super::books::Books;
use crate::{
    record::Seq,
    telemetry::{Metrics, SinkLabels, SinkStateLabels},
    time::ReceivedAt,
};

/// What a sink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkState {
    /// It has everything.
    #[default]
    Idle,
    /// Records are on their way.
    Delivering,
    /// The last attempt failed; the next one waits for its time.
    Retrying,
    /// Nothing is wrong: it tells people no more often than it may, and goes on when it may.
    Waiting,
    /// It has failed for a while, or for a reason that somebody has to mend, or too much is parked.
    Stuck,
    /// Its files cannot be trusted; nothing is sent before somebody has mended them.
    Halted,
    /// No service runs.
    Stopped,
}

impl SinkState {
    /// Its text in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Delivering => "delivering",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
            Self::Halted => "halted",
            Self::Stopped => "stopped",
        }
    }
}

/// One sink. `recorded = delivered + skipped + parked + dropped + damaged + pending`, each seq from `start` on once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The configured name.
    pub name: String,
    /// What it is doing.
    pub state: SinkState,
    /// The first seq that counts.
    pub start: Seq,
    /// The first seq that is not settled.
    pub next: Seq,
    /// In the journal since `start`.
    pub recorded: u64,
    /// The sink has them.
    pub delivered: u64,
    /// Left out by scope, kinds or findings.
    pub skipped: u64,
    /// Refused for good and kept.
    pub parked: u64,
    /// Given up by an operator, or deleted from the journal before their turn.
    pub dropped: u64,
    /// Not readable in the journal.
    pub damaged: u64,
    /// Still to come.
    pub pending: u64,
    /// Age of the oldest pending record, seconds; 0 when there is none.
    pub lag_seconds: f64,
    /// To be delivered again on an operator's word; not part of the counts.
    pub redriving: u64,
    /// What went wrong last, until something goes well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the sink last took something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<ReceivedAt>,
    /// The seq of the last checkpoint that was delivered, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Seq>,
}

impl Status {
    /// What the books say with the journal's end at `synced`.
    pub fn of(name: &str, books: &Books, synced: Seq) -> Self {
        let cursor = books.cursor();
        let mut status = Self {
            name: name.to_owned(),
            start: cursor.start,
            next: cursor.next,
            delivered: cursor.delivered,
            skipped: cursor.skipped,
            parked: cursor.parked,
            dropped: cursor.dropped,
            damaged: cursor.damaged,
            redriving: books.redriving().left(),
            last_delivered_at: cursor.delivered_at,
            checkpoint: cursor.checkpoint,
            last_error: books.halted().map(str::to_owned),
            ..Self::default()
        };
        status.follow(synced);
        status.state = match (books.halted(), status.pending) {
            (Some(_), _) => SinkState::Halted,
            (None, 0) => SinkState::Idle,
            (None, _) => SinkState::Delivering,
        };
        status
    }

    /// The journal's end is at `synced` now.
    pub fn follow(&mut self, synced: Seq) {
        self.pending = (synced + 1).saturating_sub(self.next);
        self.recorded = self.pending + self.next.saturating_sub(self.start);
    }

    /// The journal begins with this seq by now: what the sink had not come to before it is dropped, though its books do not
    /// say so yet.
    pub fn begins_with(&mut self, first: Seq, synced: Seq) {
        let gone = first.min(synced + 1).saturating_sub(self.next);
        if gone > 0 && self.state != SinkState::Halted {
            (self.next, self.dropped) = (self.next + gone, self.dropped + gone);
            self.follow(synced);
        }
    }

    /// Shows it in the metrics.
    pub fn publish(&self, metrics: &Metrics) {
        let sink: std::sync::Arc<str> = self.name.as_str().into();
        for (state, count) in [
            ("delivered", self.delivered),
            ("skipped", self.skipped),
            ("parked", self.parked),
            ("dropped", self.dropped),
            ("damaged", self.damaged),
            ("pending", self.pending),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            metrics.sink_records.get_or_create(&SinkStateLabels { sink: sink.clone(), state }).set(count);
        }
        metrics.sink_lag.get_or_create(&SinkLabels { sink }).set(self.lag_seconds);
    }
}
