//! A sink without its loop: the same state and commands over the files, for when no service runs.

use std::path::Path;

use super::{
    Start,
    books::{Books, Journal},
    place,
    requests::{RequestError, Triage},
    status::{SinkState, Status},
};
use crate::{ledger::segment, record::Seq, time::ReceivedAt};

/// One sink's files. What changes them needs the data directory's lock; the caller takes it.
#[derive(Clone, Copy, Debug)]
pub struct SinkFiles<'a> {
    /// The data directory.
    pub data_dir: &'a Path,
    /// The configured name.
    pub name: &'a str,
    /// The journal they belong to.
    pub journal: &'a Journal,
    /// The configured start, for a sink that has no cursor yet.
    pub start: Start,
}

impl SinkFiles<'_> {
    /// How it stands; changes nothing and needs no lock.
    pub fn status(&self) -> Status {
        let books = self.load();
        let mut status = Status::of(self.name, &books, self.journal.synced);
        if status.state != SinkState::Halted {
            status.state = SinkState::Stopped;
        }
        status.begins_with(self.begins_with(), self.journal.synced);
        if status.pending > 0 {
            let oldest = place::received_at(self.journal, status.next);
            status.lag_seconds = oldest.map_or(0.0, |oldest| ReceivedAt::wall().since(oldest).as_secs_f64());
        }
        status
    }

    /// Says why [`SinkFiles::redeliver`] would not be done; changes nothing and needs no lock.
    pub fn check_redeliver(&self, from: Seq, to: Option<Seq>) -> Result<u64, RequestError> {
        self.load().check_redeliver(from, to, self.journal)
    }

    /// How many records [`SinkFiles::cancel`] would be about; changes nothing and needs no lock.
    pub fn check_cancel(&self) -> Result<u64, RequestError> {
        self.load().check_cancel()
    }

    /// Says why [`SinkFiles::triage`] would not be done; changes nothing and needs no lock.
    pub fn check_triage(&self, triage: &Triage) -> Result<u64, RequestError> {
        self.load().check_triage(triage, self.journal.synced)
    }

    /// Asks for a range to be delivered again by the next run; see [`Books::redeliver`].
    pub fn redeliver(&self, from: Seq, to: Option<Seq>) -> Result<u64, RequestError> {
        self.open().redeliver(from, to, self.journal)
    }

    /// Takes back what the next run would deliver again; see [`Books::cancel`].
    pub fn cancel(&self) -> Result<u64, RequestError> {
        self.open().cancel()
    }

    /// What the next run does about single records. How many.
    pub fn triage(&self, triage: &Triage) -> Result<u64, RequestError> {
        self.open().triage(triage, self.journal.synced)
    }

    /// Its books as they are; changes nothing and needs no lock.
    pub fn load(&self) -> Books {
        Books::load(self.data_dir, self.name, self.journal, self.start)
    }

    fn open(&self) -> Books {
        Books::open(self.data_dir, self.name, self.journal, self.start)
    }

    /// The first seq that the journal still has.
    pub(super) fn begins_with(&self) -> Seq {
        let segments = segment::list(&self.journal.dir).unwrap_or_default();
        segments.first().map_or(0, |oldest| oldest.first)
    }
}
