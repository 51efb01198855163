//! What became of one record at one sink, and with which acknowledgement: read from the files, beside a running service
//! or without one. Changes nothing and needs no lock.

use std::io;

use serde::Serialize;

use super::{
    SinkFiles,
    acks::{AckLog, Entry, Fate},
    books::Books,
};
use crate::{record::Seq, time::ReceivedAt};

/// How one record stands at one sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofState {
    /// The other side took it.
    Delivered,
    /// Left out by scope, kinds or findings.
    Skipped,
    /// Refused for good, and kept.
    Parked,
    /// Given up by an operator, or deleted from the journal before its turn.
    Dropped,
    /// Not readable in the journal.
    Damaged,
    /// Still to come.
    Pending,
    /// Before the sink's start.
    BeforeStart,
    /// Settled; what the other side said is not kept any more.
    NotKept,
    /// The sink's files cannot be trusted.
    Unknown,
}

/// The proof of one record at one sink.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The configured name.
    pub sink: String,
    /// The record.
    pub seq: Seq,
    /// How it stands.
    pub state: ProofState,
    /// When the other side had said yes, the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<ReceivedAt>,
    /// First and last seq of the batch that was settled with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<(Seq, Seq)>,
    /// At which attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// What the other side said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<String>,
    /// The last checkpoint that the other side took, where it vouches for the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Seq>,
    /// Why it is not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was delivered again on an operator's word, and what was said then.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<AgainProof>,
}

/// One delivery on an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgainProof {
    /// When.
    pub delivered_at: Option<ReceivedAt>,
    /// What the other side said.
    pub ack: String,
}

impl SinkFiles<'_> {
    /// What became of a record.
    pub fn proof(&self, seq: Seq) -> io::Result<Proof> {
        // The cursor before the log, which is written before it: so the log covers what the cursor says.
        let books = self.load();
        let log = AckLog::new(&books.dir);
        let mut proof = Proof {
            sink: self.name.to_owned(),
            seq,
            state: ProofState::Unknown,
            delivered_at: None,
            batch: None,
            attempt: None,
            ack: None,
            checkpoint: books.cursor().checkpoint.filter(|checkpoint| *checkpoint >= seq),
            reason: None,
            again: again(&log, seq)?,
        };
        let cursor = books.cursor();
        if let Some(reason) = books.halted() {
            proof.reason = Some(reason.to_owned());
        } else if seq < cursor.start {
            proof.state = ProofState::BeforeStart;
            proof.reason = Some(format!("the sink starts at seq {}", cursor.start));
        } else if seq >= cursor.next {
            proof.state = ProofState::Pending;
            proof.reason = Some(format!("the sink is at seq {}", cursor.next));
        } else {
            proof.settled(&books, log.find(seq)?)?;
        }
        Ok(proof)
    }
}

fn again(log: &AckLog, seq: Seq) -> io::Result<Vec<AgainProof>> {
    let holds = |entry: &Entry| (entry.first..=entry.last).contains(&seq);
    let proof = |entry: Entry| AgainProof { delivered_at: entry.at, ack: entry.ack_of(seq).to_owned() };
    Ok(log.again()?.into_iter().filter(holds).map(proof).collect())
}

impl Proof {
    fn settled(&mut self, books: &Books, entry: Option<Entry>) -> io::Result<()> {
        if let Some(parked) = books.parked().read(self.seq)? {
            self.state = ProofState::Parked;
            self.reason = Some(format!("refused at {}: {}", parked.parked_at, parked.reason));
            self.batch = entry.map(|entry| (entry.first, entry.last));
            return Ok(());
        }
        let Some(entry) = entry else {
            self.state = ProofState::NotKept;
            self.reason = Some("settled; what was said to it is not kept: older than the log of proofs".to_owned());
            return Ok(());
        };
        self.batch = Some((entry.first, entry.last));
        let (state, reason) = match entry.fate(self.seq) {
            Fate::Delivered => (ProofState::Delivered, None),
            Fate::Skipped => (ProofState::Skipped, Some("left out by the sink's scope, kinds or findings_at_least")),
            Fate::Parked if !self.again.is_empty() => (ProofState::Delivered, Some("refused at first, taken later")),
            Fate::Parked => (ProofState::Dropped, Some("refused for good, then given up by an operator")),
            Fate::Dropped => (ProofState::Dropped, Some("deleted from the journal before its turn")),
            Fate::Damaged => (ProofState::Damaged, Some("not readable in the journal when its turn came")),
        };
        self.state = state;
        self.reason = reason.map(str::to_owned);
        if state == ProofState::Delivered && reason.is_none() {
            self.delivered_at = entry.at;
            self.attempt = Some(entry.attempt);
            self.ack = Some(entry.ack_of(self.seq).to_owned());
        } else if let (ProofState::Delivered, Some(first)) = (state, self.again.first()) {
            self.delivered_at = first.delivered_at;
            self.ack = Some(first.ack.clone());
        }
        Ok(())
    }
}
