//! What an operator can ask of a sink's books: what is parked, deliver a range again, try parked records again, take that
//! back, give them up.

use std::{collections::BTreeSet, fmt, io};

use super::{
    acks::Run,
    books::{Books, Journal},
    cursor::Cursor,
    parked::{Listed, Page},
    redrive::{RANGES_MAX, Range, Redrive},
};
use crate::{files, ledger::segment, record::Seq};

/// Each is in the cursor's file, which is written again and again, until its turn has come: enough for a hand.
const TO_PARK_MAX: usize = 1_000;

/// Which records a command is about.
#[derive(Clone, Debug)]
pub enum Which {
    /// Every one.
    All,
    /// These.
    Seqs(Vec<Seq>),
}

/// What an operator decides about single records that a sink does not take.
#[derive(Clone, Debug)]
pub enum Triage {
    /// Try parked records again.
    Retry(Which),
    /// Give parked records up; they count as dropped.
    Drop(Which),
    /// Park records that are still to come, unsent, when it is their turn: what the other side will never take, and never
    /// refuses for good either.
    Park(Which),
}

impl Triage {
    /// What the journal calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry(_) => "parked_retry",
            Self::Drop(_) => "parked_drop",
            Self::Park(_) => "park",
        }
    }

    /// Which records it is about.
    pub fn which(&self) -> &Which {
        match self {
            Self::Retry(which) | Self::Drop(which) | Self::Park(which) => which,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Seqs(seqs) => write!(f, "{seqs:?}"),
        }
    }
}

/// Why a command on a sink's books was not done.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It makes no sense here; says why and what would.
    #[error("{0}")]
    Refused(String),
    /// The files cannot be written.
    #[error("cannot write the sink's files: {0}")]
    Io(#[from] io::Error),
}

impl Books {
    /// How many records [`Books::redeliver`] would be about at most; says why it would not be done. Changes nothing.
    pub fn check_redeliver(&self, from: Seq, to: Option<Seq>, journal: &Journal) -> Result<u64, RequestError> {
        let from = from.max(1);
        if self.halted.is_some() {
            let end = journal.synced + 1;
            if from > end {
                return Err(RequestError::Refused(format!(
                    "the journal has seqs 1 to {}; {end} = new records only",
                    journal.synced
                )));
            }
            return Ok(end - from);
        }
        if let Some(to) = to.filter(|to| *to < from) {
            return Err(RequestError::Refused(format!("the range ends ({to}) before it begins ({from})")));
        }
        let last = self.cursor.next - 1;
        let to = to.unwrap_or(last).min(last);
        // What retention deleted, or what gave way for room, nobody can deliver any more.
        let first = segment::list(&journal.dir)?.first().map_or(1, |segment| segment.first);
        if from > to || to < first {
            if last == 0 {
                return Err(RequestError::Refused(
                    "nothing was delivered yet, so there is nothing to deliver again".to_owned(),
                ));
            }
            let problem = format!(
                "nothing to deliver again: seqs {first} to {last} can be; what is before is gone from the journal, what is \
                 behind is still to come anyway"
            );
            return Err(RequestError::Refused(problem));
        }
        if self.redrive.ranges.len() >= RANGES_MAX {
            let problem = format!("{RANGES_MAX} ranges wait to be delivered again already; wait for them");
            return Err(RequestError::Refused(problem));
        }
        Ok(to - from.max(first) + 1)
    }

    /// How many records a decision is about; says why it would not be done. Changes nothing.
    pub fn check_triage(&self, triage: &Triage, synced: Seq) -> Result<u64, RequestError> {
        match triage {
            Triage::Retry(which) | Triage::Drop(which) => self.named(which).map(|seqs| seqs.len() as u64),
            Triage::Park(which) => self.to_come(which, synced).map(|seqs| seqs.len() as u64),
        }
    }

    /// Does what was decided. On disk when it returns: how many records it is about. What is under way at this moment may
    /// still arrive.
    pub fn triage(&mut self, triage: &Triage, synced: Seq) -> Result<u64, RequestError> {
        let count = self.check_triage(triage, synced)?;
        match triage {
            Triage::Retry(which) => self.retry(which)?,
            Triage::Drop(which) => self.drop_parked(which)?,
            Triage::Park(which) => {
                self.cursor.to_park.extend(self.to_come(which, synced)?);
                self.dirty = true;
                self.save()?;
            }
        }
        Ok(count)
    }

    /// Asks for a range to be delivered again; `to` is the last settled seq where it is not given. How many records
    /// that is at most. Checkpoints of that range come again, too. Where the books are halted, the cursor is set to `from`
    /// instead and everything from there on is delivered, counted anew; parked copies are set aside.
    pub fn redeliver(&mut self, from: Seq, to: Option<Seq>, journal: &Journal) -> Result<u64, RequestError> {
        let count = self.check_redeliver(from, to, journal)?;
        let from = from.max(1);
        if self.halted.is_some() {
            self.restart(from, journal)?;
            return Ok(count);
        }
        let last = self.cursor.next - 1;
        let to = to.unwrap_or(last).min(last);
        let mut asked = self.redrive.clone();
        asked.ranges.push(Range { from, to, next: from });
        self.ask(asked)?;
        if let Some(taken) = self.cursor.checkpoint.filter(|taken| *taken >= from) {
            self.vouch_again((from, to.min(taken)));
            self.save()?;
        }
        Ok(count)
    }

    /// Of more stretches than may wait the last ones become one, with what is between them.
    fn vouch_again(&mut self, (first, last): Run) {
        let again = &mut self.cursor.checkpoints_again;
        match again.len().checked_sub(RANGES_MAX).and_then(|_| again.last_mut()) {
            Some(run) => *run = (run.0.min(first), run.1.max(last)),
            None => again.push((first, last)),
        }
        self.dirty = true;
    }

    fn restart(&mut self, from: Seq, journal: &Journal) -> Result<(), RequestError> {
        files::create_dir(&self.dir)?;
        self.set_aside()?;
        let cursor = Cursor::new(&journal.id, from);
        cursor.save(&self.cursor_path())?;
        (self.cursor, self.dirty, self.durable, self.halted) = (cursor, false, from, None);
        Ok(())
    }

    /// The cursor first: it holds what became of what `asked` leaves out as done.
    fn ask(&mut self, asked: Redrive) -> io::Result<()> {
        self.save()?;
        asked.save(&self.redrive_path())?;
        self.redrive = asked;
        Ok(())
    }

    /// How many records [`Books::cancel`] would be about; says why it would not be done. Changes nothing.
    pub fn check_cancel(&self) -> Result<u64, RequestError> {
        self.stands()?;
        Ok(self.redrive.left())
    }

    /// Takes back whatever waits to be delivered again, ranges and parked records: the journal is not kept for it any more.
    /// What is under way at this moment may still arrive. How many.
    pub fn cancel(&mut self) -> Result<u64, RequestError> {
        let left = self.check_cancel()?;
        self.ask(Redrive::default())?;
        self.cancels += 1;
        self.tidy_when_due(false)?;
        Ok(left)
    }

    /// A page of what is parked.
    pub fn parked_page(&self, page: Page) -> Result<Vec<Listed>, RequestError> {
        self.stands()?;
        Ok(self.parked.page(page)?)
    }

    fn retry(&mut self, which: &Which) -> Result<(), RequestError> {
        let mut asked = self.redrive.clone();
        asked.retry.extend(self.named(which)?);
        Ok(self.ask(asked)?)
    }

    fn drop_parked(&mut self, which: &Which) -> Result<(), RequestError> {
        let seqs = self.named(which)?;
        let dropped = seqs.len();
        self.parked.remove(&seqs);
        self.cursor.parked -= dropped as u64;
        self.cursor.dropped += dropped as u64;
        let parked = &self.parked;
        self.redrive.retry.retain(|seq| parked.contains(*seq));
        self.cursor.settled.extend(seqs);
        (self.dirty, self.redrive_dirty) = (true, true);
        self.save()?;
        Ok(self.tidy_when_due(!self.redrive.retry.is_empty())?)
    }

    /// The records that are to be parked when it is their turn.
    fn to_come(&self, which: &Which, synced: Seq) -> Result<BTreeSet<Seq>, RequestError> {
        self.stands()?;
        let asked: BTreeSet<Seq> = match which {
            Which::Seqs(seqs) if !seqs.is_empty() => seqs.iter().copied().collect(),
            _ => return Err(RequestError::Refused("name the records to park by their seqs".to_owned())),
        };
        let next = self.cursor.next;
        if let Some(seq) = asked.iter().find(|seq| !(next..=synced).contains(seq)) {
            let (name, parked) = (&self.name, self.parked.contains(*seq));
            let why = if parked { "is parked already" } else { "does not wait to be delivered" };
            let what = if next <= synced { format!("seqs {next} to {synced} do") } else { "nothing does".to_owned() };
            return Err(RequestError::Refused(format!("{name}: {seq} {why}; {what}")));
        }
        if self.cursor.to_park.union(&asked).count() > TO_PARK_MAX {
            return Err(RequestError::Refused(format!(
                "{TO_PARK_MAX} records at most can be named ahead of their turn"
            )));
        }
        Ok(asked)
    }

    fn stands(&self) -> Result<(), RequestError> {
        let refused = |reason| RequestError::Refused(format!("the sink stands still: {reason}"));
        self.halted.as_ref().map_or(Ok(()), |reason| Err(refused(reason)))
    }

    fn named(&self, which: &Which) -> Result<Vec<Seq>, RequestError> {
        self.stands()?;
        let mut seqs = match which {
            Which::All => return Ok(self.parked.seqs().collect()),
            Which::Seqs(seqs) => seqs.clone(),
        };
        seqs.sort_unstable();
        seqs.dedup();
        match seqs.iter().find(|seq| !self.parked.contains(**seq)) {
            Some(seq) => Err(RequestError::Refused(format!(
                "{seq} is not parked; `refresh-audit sinks parked {}` lists what is",
                self.name
            ))),
            None => Ok(seqs),
        }
    }
}
