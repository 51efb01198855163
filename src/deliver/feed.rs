//! The reading half of a sink's loop: reads the journal ahead of the sink, filters, encodes and packs, and hands on whole
//! batches through a channel of one, so that reading and sending overlap and memory stays bounded.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    task,
    time::{Instant, sleep, sleep_until},
};

use super::{
    BatchConfig,
    batch::{Batch, Selection},
};
use crate::{ledger::read::Reader, record::Seq};

/// The signal is the way; polling is the net below it.
pub const POLL: Duration = Duration::from_secs(1);
/// A batch under way is looked at this often: waking for each of a thousand syncs a second takes the processor time of what is
/// synced (`benches/README.md`).
const LOOK: Duration = Duration::from_millis(10);
/// Records looked at before a batch is handed on although most were left out, so that the cursor moves.
const SCANNED_MAX: usize = 10_000;

/// Where batches come from.
pub struct Feed {
    /// The journal.
    pub journal_dir: PathBuf,
    /// What the sink wants.
    pub selection: Arc<Selection>,
    /// How much at once.
    pub limits: BatchConfig,
    /// How far may be read.
    pub synced: watch::Receiver<Seq>,
}

/// A batch under way.
struct Filling {
    reader: Reader,
    batch: Batch,
    scanned: usize,
}

impl Feed {
    /// Starts reading at `next`. An error says why nothing comes; reading goes on by itself. Ends with its receiver.
    pub fn start(self, next: Seq) -> mpsc::Receiver<Result<Batch, String>> {
        let (to, batches) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                () = to.closed() => {}
                () = self.run(next, &to) => {}
            }
        });
        batches
    }

    async fn run(mut self, next: Seq, to: &mpsc::Sender<Result<Batch, String>>) {
        let mut reader = Reader::new(&self.journal_dir, next);
        loop {
            let position = reader.next();
            let (sent, back) = match self.fill(reader).await {
                Ok(filled) => (to.send(Ok(filled.batch)).await, filled.reader),
                Err(reason) => {
                    // What was read of this batch is read again.
                    let sent = to.send(Err(reason)).await;
                    sleep(POLL).await;
                    (sent, Reader::new(&self.journal_dir, position))
                }
            };
            if sent.is_err() {
                return;
            }
            reader = back;
        }
    }

    /// One batch: full, or `wait` after its first record. One of nothing but records left out is handed on at once.
    async fn fill(&mut self, reader: Reader) -> Result<Filling, String> {
        let mut filling = Filling { reader, batch: Batch::default(), scanned: 0 };
        let mut due = None;
        loop {
            // Armed before reading: what is synced from here on wakes the wait below.
            let until = *self.synced.borrow_and_update();
            // A batch under way is read on once it can be filled, or is due: not at every sync.
            let can_fill = filling.can_fill(until, self.limits);
            if due.is_none_or(|due| can_fill || due <= Instant::now()) {
                let (selection, limits) = (Arc::clone(&self.selection), self.limits);
                filling = task::spawn_blocking(move || filling.read(until, &selection, limits))
                    .await
                    .map_err(|error| format!("reading the journal failed: {error}"))??;
            }
            let some = !filling.batch.messages.is_empty();
            if filling.full(self.limits) || (!some && !filling.batch.is_empty()) {
                return Ok(filling);
            }
            let wait = self.limits.wait.get();
            if some && *due.get_or_insert_with(|| Instant::now() + wait) <= Instant::now() {
                return Ok(filling);
            }
            let until = due.map_or_else(|| Instant::now() + POLL, |due| due.min(Instant::now() + LOOK));
            tokio::select! {
                // A ledger that is gone signals no more; then the poll remains.
                Ok(()) = self.synced.changed(), if due.is_none() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

impl Filling {
    /// Whether as many records are synced as the batch still takes.
    fn can_fill(&self, until: Seq, limits: BatchConfig) -> bool {
        let synced = (until + 1).saturating_sub(self.reader.next());
        synced >= self.batch.records_left(limits.records) as u64
    }

    fn full(&self, limits: BatchConfig) -> bool {
        self.batch.records_left(limits.records) == 0
            || self.batch.bytes_left(limits.bytes.len()) == 0
            || self.scanned >= SCANNED_MAX.max(limits.records)
    }

    fn read(mut self, until: Seq, selection: &Selection, limits: BatchConfig) -> Result<Self, String> {
        while !self.full(limits) {
            let (records, bytes) = (self.batch.records_left(limits.records), self.batch.bytes_left(limits.bytes.len()));
            let items =
                self.reader.read(until, records, bytes).map_err(|error| format!("cannot read the journal: {error}"))?;
            if items.is_empty() {
                break;
            }
            self.scanned += items.len();
            self.batch.take(items, selection);
        }
        Ok(self)
    }
}

/// A part of a range that is to be delivered again, and the seq that comes after it. Blocking.
pub fn read_range(
    reader: Option<Reader>,
    (dir, next, to): (&Path, Seq, Seq),
    selection: &Selection,
    limits: BatchConfig,
) -> Result<(Batch, Reader), String> {
    // Going on where the last part ended saves decompressing a segment from its start.
    let reader = reader.filter(|reader| reader.next() == next).unwrap_or_else(|| Reader::new(dir, next));
    let filling = Filling { reader, batch: Batch::default(), scanned: 0 }.read(to, selection, limits)?;
    Ok((filling.batch, filling.reader))
}
