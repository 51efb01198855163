//! The durable books of one sink, `sinks/<name>/`: cursor, parked records and re-driving, kept in step with each other.
//!
//! The delivering loop and an operator's command work on the same books, in the same process under one lock, or each
//! alone under the data directory's. The cursor file is the point of commitment: whatever order a crash cuts off, every
//! seq is counted once. Blocking.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Start,
    acks::{Acks, Entry, extend},
    cursor::{Cursor, Last, Loaded},
    parked::{Parked, ParkedRecord},
    place,
    redrive::{Range, Redrive},
};
use crate::{files, record::Seq, sink::Ack, time::ReceivedAt};

/// The journal that is delivered from, as it stands.
#[derive(Clone, Debug)]
pub struct Journal {
    /// `journal/` under the data directory.
    pub dir: PathBuf,
    /// Its id: 8 hex.
    pub id: Arc<str>,
    /// The last seq on disk.
    pub synced: Seq,
}

/// What the loop settled: the stretch behind the cursor.
#[derive(Debug, Default)]
pub struct Progress {
    /// What became of it, parked records aside.
    pub stretch: Entry,
    /// Refused for good, in order.
    pub refused: Vec<ParkedRecord>,
    /// The last record of it that was sent.
    pub last: Option<Last>,
}

/// One step of re-driving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// The next records of a range.
    Range(Range),
    /// Parked records.
    Retry(Vec<Seq>),
}

/// What a step of re-driving settled.
#[derive(Debug, Default)]
pub struct Redriven {
    /// Delivered.
    pub delivered: Vec<Seq>,
    /// Refused again; they stay what they were.
    pub refused: Vec<Seq>,
    /// The range is done before this one.
    pub reached: Option<Seq>,
    /// [`Books::cancels`] when it was asked what is next.
    pub cancels: u64,
    /// What the other side said of those delivered, and at which attempt.
    pub ack: (Ack, u32),
}

/// See the head of this file.
#[derive(Debug)]
pub struct Books {
    pub(super) dir: PathBuf,
    pub(super) name: String,
    pub(super) cursor: Cursor,
    pub(super) parked: Parked,
    pub(super) redrive: Redrive,
    pub(super) acks: Acks,
    journal_dir: PathBuf,
    pub(super) halted: Option<String>,
    pub(super) dirty: bool,
    /// Re-driving has come further than its file says.
    pub(super) redrive_dirty: bool,
    /// How often an operator took back what was asked for, in this run.
    pub(super) cancels: u64,
    /// `next` of the cursor on disk.
    pub(super) durable: Seq,
}

/// `sinks/<name>/` under a data directory.
fn sink_dir(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("sinks").join(name)
}

impl Books {
    /// Reads them and changes nothing. Where they cannot be trusted they are halted and say why.
    pub fn load(data_dir: &Path, name: &str, journal: &Journal, start: Start) -> Self {
        let dir = sink_dir(data_dir, name);
        let mut books = Self {
            cursor: Cursor::new(&journal.id, 1),
            parked: Parked::none(&dir.join("parked.jsonl")),
            redrive: Redrive::default(),
            acks: Acks::none(dir.join("acks")),
            journal_dir: journal.dir.clone(),
            halted: None,
            dirty: false,
            redrive_dirty: false,
            cancels: 0,
            durable: 1,
            name: name.to_owned(),
            dir,
        };
        if let Err(reason) = books.read(journal, start) {
            books.halted = Some(reason);
        }
        books
    }

    fn read(&mut self, journal: &Journal, start: Start) -> Result<(), String> {
        let mend =
            format!("`refresh-audit sinks redeliver {} --from SEQ` (1 = everything) starts it again there", self.name);
        let path = self.cursor_path();
        match Cursor::load(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))? {
            Loaded::Absent => {
                let first =
                    place::first(journal, start).map_err(|error| format!("cannot read the journal: {error}"))?;
                self.cursor = Cursor::new(&journal.id, first);
                self.dirty = true;
                // What is left of an earlier life is set aside when the new cursor is written.
                return Ok(());
            }
            Loaded::Corrupt(why) => {
                return Err(format!("the cursor {} is damaged ({why}): restore it, or {mend}", path.display()));
            }
            Loaded::Good(cursor) => (self.durable, self.cursor) = (cursor.next, cursor),
        }
        if let Err(other) = place::compare(&self.cursor, journal) {
            self.cursor = place::certain(&self.cursor, &self.dir, journal, other.shared);
            return Err(format!("{}: {mend}", other.reason));
        }
        if *self.cursor.journal != *journal.id {
            self.cursor.journal = journal.id.to_string();
            self.dirty = true;
        }
        let unreadable = |error: io::Error| format!("cannot read the parked records: {error}; restore them, or {mend}");
        self.parked = Parked::load(&self.parked_path()).map_err(unreadable)?;
        self.parked.reconcile(self.cursor.next, &self.cursor.settled);
        self.match_counts(&mend)?;
        self.redrive = Redrive::load(&self.redrive_path()).unwrap_or_else(|error| {
            tracing::error!(sink = self.name, %error, "redrive.json is not readable: what it asked for has to be asked for again");
            Redrive::default()
        });
        let parked = &self.parked;
        self.redrive.retry.retain(|seq| parked.contains(*seq));
        Ok(())
    }

    /// Copies that somebody took out of `parked.jsonl` by hand count as dropped; copies that nobody parked are damage.
    fn match_counts(&mut self, mend: &str) -> Result<(), String> {
        let (counted, kept) = (self.cursor.parked, self.parked.len() as u64);
        let Some(missing) = counted.checked_sub(kept) else {
            return Err(format!(
                "parked.jsonl holds {kept} records, the cursor counts {counted}: restore both, or {mend}"
            ));
        };
        if missing > 0 {
            tracing::error!(sink = self.name, missing, "parked records are gone from parked.jsonl: counted as dropped");
            self.cursor.parked -= missing;
            self.cursor.dropped += missing;
            self.dirty = true;
        }
        Ok(())
    }

    /// Reads them for delivering or for a command, and finishes what a crash cut off.
    pub fn open(data_dir: &Path, name: &str, journal: &Journal, start: Start) -> Self {
        let mut books = Self::load(data_dir, name, journal, start);
        if books.halted.is_none()
            && let Err(error) = books.mend()
        {
            books.halted = Some(format!("cannot write {}: {error}; mend that and start again", books.dir.display()));
        }
        books
    }

    fn mend(&mut self) -> io::Result<()> {
        files::create_dir(&self.dir)?;
        if !self.cursor_path().exists() {
            self.set_aside()?;
        }
        self.acks.mend(self.cursor.next)?;
        if self.parked.untidy(false) || !self.cursor.settled.is_empty() {
            self.tidy()?;
        }
        self.save()
    }

    pub(super) fn cursor_path(&self) -> PathBuf {
        self.dir.join("cursor")
    }

    fn parked_path(&self) -> PathBuf {
        self.dir.join("parked.jsonl")
    }

    pub(super) fn redrive_path(&self) -> PathBuf {
        self.dir.join("redrive.json")
    }

    /// Why the sink stands still, where it does; [`Books::redeliver`] mends it.
    pub fn halted(&self) -> Option<&str> {
        self.halted.as_deref()
    }

    /// Where it is; halted in another journal than it was made for, what is certain of that.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What is parked.
    pub fn parked(&self) -> &Parked {
        &self.parked
    }

    /// What an operator asked to be delivered again.
    pub fn redriving(&self) -> &Redrive {
        &self.redrive
    }

    /// The lowest seq the journal must keep for this sink. Halted books keep everything: nobody knows better.
    pub fn needed(&self) -> Seq {
        if self.halted.is_some() {
            return 1;
        }
        self.redrive.ranges.iter().map(|range| range.next).fold(self.durable, Seq::min)
    }

    /// Counts what an operator took back: a step that was begun before is of no request any more.
    pub fn cancels(&self) -> u64 {
        self.cancels
    }

    /// Seqs that the next [`Books::save`] writes one by one.
    pub fn listed(&self) -> usize {
        self.cursor.settled.len() + if self.redrive_dirty { self.redrive.retry.len() } else { 0 }
    }

    /// Writes the proofs of delivery and then the cursor, if it has moved; then how far re-driving has come: a crash in
    /// between sends a little of a range again, and what is parked no more is not tried again.
    pub fn save(&mut self) -> io::Result<()> {
        if !self.dirty || self.halted.is_some() {
            return Ok(());
        }
        self.acks.save(&self.journal_dir)?;
        self.cursor.save(&self.cursor_path())?;
        self.durable = self.cursor.next;
        if self.redrive_dirty {
            self.redrive.save(&self.redrive_path())?;
        }
        (self.dirty, self.redrive_dirty) = (false, false);
        Ok(())
    }

    /// Moves past what is settled. On an error nothing has changed. Refused records are on disk before the cursor moves,
    /// and the cursor is on disk at once after them.
    pub fn advance(&mut self, progress: Progress) -> io::Result<()> {
        let Progress { mut stretch, refused, last } = progress;
        if !refused.is_empty() {
            self.parked.append(&refused)?;
        }
        refused.iter().for_each(|record| extend(&mut stretch.parked, (record.seq, record.seq)));
        let delivered = stretch.delivered();
        self.cursor.advance(stretch.passed(), delivered, refused.len() as u64);
        if delivered > 0 {
            self.cursor.delivered_at = stretch.at;
        }
        self.cursor.last = last.or(self.cursor.last.take());
        self.acks.push(&stretch);
        self.dirty = true;
        if refused.is_empty() { Ok(()) } else { self.save_or_later() }
    }

    /// A cursor that cannot be written now stays dirty: the loop tries again before it sends anything more.
    fn save_or_later(&mut self) -> io::Result<()> {
        if let Err(error) = self.save() {
            tracing::error!(sink = self.name, %error, "the cursor cannot be written; trying again");
        }
        Ok(())
    }

    /// What to re-drive next: parked records first, `records` at most.
    pub fn next_again(&self, records: usize) -> Option<Again> {
        if self.redrive.retry.is_empty() {
            return self.redrive.ranges.first().copied().map(Again::Range);
        }
        Some(Again::Retry(self.redrive.retry.iter().copied().take(records).collect()))
    }

    /// Notes a step of re-driving. A parked record that arrived counts as delivered from now on; nothing else changes
    /// the counts. On disk with the next [`Books::save`], at once when it was the last step: each writes every seq that is
    /// tried again, and there may be a step for each of them.
    pub fn redriven(&mut self, step: &Redriven) -> io::Result<()> {
        let mut runs = Vec::new();
        step.delivered.iter().for_each(|seq| extend(&mut runs, (*seq, *seq)));
        for (first, last) in runs {
            let mut entry = Entry { first, last, ..Entry::default() };
            entry.acknowledged(step.ack.0.clone(), step.ack.1);
            self.acks.push_again(&entry);
            self.dirty = true;
        }
        let parked: Vec<Seq> = step.delivered.iter().copied().filter(|seq| self.parked.contains(*seq)).collect();
        self.cursor.parked -= self.settle(parked);
        self.redrive.done(&step.delivered, None);
        // Of what an operator took back meanwhile, no more than that it arrived: what waits now was asked for later.
        if step.cancels == self.cancels {
            self.redrive.done(&step.refused, step.reached);
        }
        self.cursor.delivered_at = Some(ReceivedAt::wall());
        (self.dirty, self.redrive_dirty) = (true, true);
        if self.redrive.is_empty() {
            self.save()?;
        }
        self.tidy_when_due(!self.redrive.is_empty())
    }

    fn settle(&mut self, seqs: Vec<Seq>) -> u64 {
        let settled = self.parked.remove(&seqs) as u64;
        self.cursor.delivered += settled;
        self.cursor.settled.extend(seqs);
        self.dirty = true;
        settled
    }

    /// `more` = more is to be settled soon.
    pub(super) fn tidy_when_due(&mut self, more: bool) -> io::Result<()> {
        if self.parked.untidy(more) {
            self.save()?;
            self.tidy()?;
            self.save()?;
        }
        Ok(())
    }

    fn tidy(&mut self) -> io::Result<()> {
        self.parked.tidy()?;
        self.cursor.settled.clear();
        self.dirty = true;
        Ok(())
    }

    pub(super) fn set_aside(&mut self) -> io::Result<()> {
        let redrive = self.redrive_path();
        if redrive.exists() {
            tracing::warn!(sink = self.name, "what was to be delivered again of an earlier cursor is not");
        }
        self.redrive = Redrive::default();
        self.redrive.save(&redrive)?;
        let path = self.parked_path();
        if path.exists() {
            let aside = self.dir.join(format!("parked.{}.jsonl", ReceivedAt::wall().micros()));
            files::rename(&path, &aside)?;
            tracing::warn!(sink = self.name, path = %aside.display(), "parked records of an earlier cursor are set aside");
        }
        self.parked = Parked::none(&path);
        self.acks.set_aside()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_record_is_on_disk_with_its_cursor_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { dir: dir.path().join("journal"), id: "3f9a1c2e".into(), synced: 0 };
        let mut books = Books::open(dir.path(), "s", &journal, Start::Oldest);
        let journal = Journal { synced: 9, ..journal };
        let on_disk = || Books::load(dir.path(), "s", &journal, Start::Oldest);
        let stretch = |first, last| Entry { first, last, ..Entry::default() };
        books.advance(Progress { stretch: stretch(1, 4), ..Progress::default() }).unwrap();
        assert_eq!((on_disk().cursor.next, books.needed()), (1, 1), "that can wait");
        books
            .advance(Progress { stretch: stretch(5, 6), refused: vec![ParkedRecord::example(6)], last: None })
            .unwrap();
        assert_eq!((on_disk().cursor.next, books.needed()), (7, 7));
        assert_eq!((on_disk().cursor.parked, on_disk().parked.len()), (1, 1));
    }
}
