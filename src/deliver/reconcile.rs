//! Whether a sink's books add up, seq by seq: cursor, proofs of delivery and parked records against each other. And what
//! to ask the other side about. Read from the files; changes nothing and needs no lock.

use std::{collections::BTreeSet, io};

use serde::Serialize;

use super::{
    SinkFiles,
    acks::{AckLog, Entry, Fate, Run, extend, total},
    books::Books,
};
use crate::{
    ledger::{
        KeyScheme,
        read::{Item, Reader},
    },
    record::{Head, Seq},
    sink::Acked,
};

/// Ranges listed of each fate at most; the counts are of all.
const RUNS_MAX: usize = 1_000;
/// Problems listed at most.
const PROBLEMS_MAX: usize = 100;

/// What is kept of one fate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Records.
    pub records: u64,
    /// Where, the first `RUNS_MAX`.
    pub ranges: Vec<Run>,
    /// Ranges that are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub ranges_left_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Share {
    fn add(&mut self, run: Run) {
        self.records += total(&[run]);
        let joins = self.ranges.last().is_some_and(|last| last.1 + 1 == run.0);
        if joins || self.ranges.len() < RUNS_MAX {
            extend(&mut self.ranges, run);
        } else {
            self.ranges_left_out += 1;
        }
    }

    /// Adds seqs between the others, in order.
    fn insert(&mut self, seqs: &[Seq]) {
        let mut runs = std::mem::take(&mut self.ranges);
        self.records += seqs.len() as u64;
        runs.extend(seqs.iter().map(|seq| (*seq, *seq)));
        runs.sort_unstable();
        for run in runs {
            extend(&mut self.ranges, run);
        }
        self.ranges_left_out += self.ranges.len().saturating_sub(RUNS_MAX) as u64;
        self.ranges.truncate(RUNS_MAX);
    }
}

/// recorded = delivered + skipped + parked + dropped + damaged + pending, by seq.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciled {
    /// The configured name.
    pub sink: String,
    /// In the journal since the sink's start.
    pub recorded: u64,
    /// The sink has them; `not_kept` ones are counted by the cursor alone.
    pub delivered: Share,
    /// Left out by scope, kinds or findings.
    pub skipped: Share,
    /// Refused for good, and kept.
    pub parked: Share,
    /// Given up by an operator, or deleted from the journal before their turn.
    pub dropped: Share,
    /// Not readable in the journal.
    pub damaged: Share,
    /// Still to come.
    pub pending: Share,
    /// Settled, but by now without a proof of their own.
    pub not_kept: Share,
    /// What does not fit, in words.
    pub problems: Vec<String>,
}

/// Walks the log against the books.
struct Walk<'a> {
    books: &'a Books,
    found: Reconciled,
    /// The first seq that no entry has covered yet.
    expected: Seq,
    began: bool,
    /// Parked by the log, and by now not any more: delivered again, or given up.
    parked_once: Vec<Seq>,
}

impl SinkFiles<'_> {
    /// Adds everything up.
    pub fn reconcile(&self) -> io::Result<Reconciled> {
        // The cursor before the log, as for a proof.
        let books = self.load();
        let found = Reconciled { sink: self.name.to_owned(), ..Reconciled::default() };
        let expected = books.cursor().start;
        let mut walk = Walk { books: &books, found, expected, began: false, parked_once: Vec::new() };
        if let Some(reason) = books.halted() {
            walk.problem(format!("the sink's files cannot be trusted: {reason}"));
            return Ok(walk.found);
        }
        let log = AckLog::new(&books.dir);
        log.each(|entry| walk.entry(&entry))?;
        walk.tell_parked_once(&log)?;
        Ok(walk.finish(self.journal.synced, self.begins_with()))
    }

    /// What the other side is to be asked about, from the first delivered record on that the journal still has.
    pub fn delivered(&self, keys: KeyScheme, from: Seq) -> Delivered {
        let books = self.load();
        let cursor = books.cursor();
        let end = if books.halted().is_some() { 0 } else { cursor.next };
        let from = from.max(cursor.start);
        Delivered {
            reader: Reader::new(&self.journal.dir, from),
            log: AckLog::new(&books.dir),
            entries: Vec::new(),
            end,
            keys,
        }
    }
}

impl Walk<'_> {
    fn problem(&mut self, what: String) {
        if self.found.problems.len() < PROBLEMS_MAX {
            self.found.problems.push(what);
        }
    }

    fn entry(&mut self, entry: &Entry) {
        let next = self.books.cursor().next;
        // What lies past the cursor is not settled: a running sink is about to write its cursor.
        if entry.first >= next || entry.is_empty() {
            return;
        }
        if entry.first > self.expected {
            let run = (self.expected, entry.first - 1);
            if self.began {
                self.problem(format!("gap: nothing says what became of seqs {} to {}", run.0, run.1));
            }
            self.found.not_kept.add(run);
        } else if entry.first < self.expected && self.began {
            let last = entry.last.min(self.expected - 1);
            self.problem(format!("overlap: seqs {} to {last} are settled twice", entry.first));
        }
        self.began = true;
        let mut seq = entry.first.max(self.expected);
        let mut passed: Vec<(Run, Fate)> = Vec::new();
        for (runs, fate) in [
            (&entry.skipped, Fate::Skipped),
            (&entry.parked, Fate::Parked),
            (&entry.dropped, Fate::Dropped),
            (&entry.damaged, Fate::Damaged),
        ] {
            passed.extend(runs.iter().map(|run| (*run, fate)));
        }
        passed.sort_unstable_by_key(|(run, _)| *run);
        for (run, fate) in passed {
            if run.0 > seq {
                self.found.delivered.add((seq, run.0 - 1));
            }
            if run.1 < seq || run.1 > entry.last {
                self.problem(format!("the proof of seqs {} to {} contradicts itself", entry.first, entry.last));
                continue;
            }
            self.passed((run.0.max(seq), run.1), fate);
            seq = run.1 + 1;
        }
        if seq <= entry.last {
            self.found.delivered.add((seq, entry.last));
        }
        self.expected = self.expected.max(entry.last + 1);
    }

    fn passed(&mut self, run: Run, fate: Fate) {
        match fate {
            Fate::Delivered => self.found.delivered.add(run),
            Fate::Skipped => self.found.skipped.add(run),
            Fate::Dropped => self.found.dropped.add(run),
            Fate::Damaged => self.found.damaged.add(run),
            Fate::Parked => {
                for seq in run.0..=run.1 {
                    if self.books.parked().contains(seq) {
                        self.found.parked.add((seq, seq));
                    } else {
                        self.parked_once.push(seq);
                    }
                }
            }
        }
    }

    /// Lists what was parked once where it ended up: what the log says was delivered again, and then what was given up. Where
    /// the log does not reach back far enough for the cursor's counts, it is only counted.
    fn tell_parked_once(&mut self, log: &AckLog) -> io::Result<()> {
        let mut again = BTreeSet::new();
        for entry in log.again()? {
            let from = self.parked_once.partition_point(|seq| *seq < entry.first);
            again.extend(self.parked_once[from..].iter().copied().take_while(|seq| *seq <= entry.last));
        }
        let (delivered, given_up): (Vec<Seq>, Vec<Seq>) =
            self.parked_once.iter().copied().partition(|seq| again.contains(seq));
        let cursor = self.books.cursor();
        let fits = |share: &Share, counted: u64, more: &[Seq]| share.records + more.len() as u64 == counted;
        if fits(&self.found.delivered, cursor.delivered, &delivered)
            && fits(&self.found.dropped, cursor.dropped, &given_up)
        {
            self.found.delivered.insert(&delivered);
            self.found.dropped.insert(&given_up);
            self.parked_once.clear();
        }
        Ok(())
    }

    fn finish(mut self, synced: Seq, begins: Seq) -> Reconciled {
        let cursor = self.books.cursor();
        if self.expected < cursor.next {
            let run = (self.expected, cursor.next - 1);
            if self.began {
                self.problem(format!("gap: nothing says what became of seqs {} to {}", run.0, run.1));
            }
            self.found.not_kept.add(run);
        }
        self.found.recorded = (synced + 1).max(cursor.next).saturating_sub(cursor.start);
        self.compare();
        // What was deleted before the cursor came to it is dropped, though no proof says so yet.
        let pending = begins.min(synced + 1).max(cursor.next);
        if cursor.next < pending {
            self.found.dropped.add((cursor.next, pending - 1));
        }
        if pending <= synced {
            self.found.pending.add((pending, synced));
        }
        self.found
    }

    /// The cursor's counts against the log's. Where the log does not reach back to the start the cursor may count more;
    /// a record that was parked may have been delivered or given up since.
    fn compare(&mut self) {
        let (cursor, not_kept) = (self.books.cursor(), self.found.not_kept.records);
        let parked_once = self.parked_once.len() as u64;
        let proven = self.found.delivered.records;
        let counts = [
            ("skipped", cursor.skipped, self.found.skipped.records, 0),
            ("damaged", cursor.damaged, self.found.damaged.records, 0),
            ("parked", cursor.parked, self.found.parked.records, 0),
            ("delivered", cursor.delivered, proven, parked_once),
            ("dropped", cursor.dropped, self.found.dropped.records, parked_once),
        ];
        for (what, counted, found, later) in counts {
            if counted < found || counted > found + not_kept + later {
                self.problem(format!("{what}: the cursor counts {counted}, the proofs {found}"));
            }
        }
        let settled = cursor.delivered + cursor.skipped + cursor.parked + cursor.dropped + cursor.damaged;
        let listed = proven
            + self.found.skipped.records
            + self.found.parked.records
            + self.found.dropped.records
            + self.found.damaged.records;
        if settled != listed + parked_once + not_kept {
            self.problem(format!("the cursor has settled {settled} records, the proofs {listed}"));
        }
        // From here on as the cursor counts: the ranges show what the log says.
        self.found.delivered.records = cursor.delivered;
        self.found.skipped.records = cursor.skipped;
        self.found.parked.records = cursor.parked;
        self.found.dropped.records = cursor.dropped;
        self.found.damaged.records = cursor.damaged;
    }
}

/// Delivered records in order, with their keys and acknowledgements.
pub struct Delivered {
    reader: Reader,
    log: AckLog,
    entries: Vec<Entry>,
    end: Seq,
    keys: KeyScheme,
}

impl Delivered {
    /// Up to `max` of the next ones; `None` at the end.
    pub fn next(&mut self, max: usize) -> io::Result<Option<Vec<Acked>>> {
        let until = self.end.saturating_sub(1);
        let items = self.reader.read(until, max, usize::MAX)?;
        if items.is_empty() {
            return Ok(None);
        }
        let mut found = Vec::new();
        for item in items {
            let Item::Line { seq, text } = item else { continue };
            let Some(entry) = self.at(seq)?.and_then(|at| self.entries.get(at)) else { continue };
            if entry.fate(seq) == Fate::Delivered
                && let Ok(head) = Head::read(&text)
            {
                found.push(Acked { seq, key: self.keys.key(&head), ack: entry.ack_of(seq).to_owned() });
            }
        }
        Ok(Some(found))
    }

    /// Where the entry is that a seq is in.
    fn at(&mut self, seq: Seq) -> io::Result<Option<usize>> {
        let at = |entries: &[Entry]| entries.partition_point(|entry| entry.last < seq);
        if at(&self.entries) >= self.entries.len() {
            self.entries = self.log.around(seq)?;
        }
        let at = at(&self.entries);
        Ok(self.entries.get(at).is_some_and(|entry| entry.first <= seq).then_some(at))
    }
}
