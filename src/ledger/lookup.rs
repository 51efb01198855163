//! Asking the journal itself whether an id is recorded, for when the index cannot say. Slow, exact, on its own thread.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use memchr::memmem::Finder;

use super::{
    dedupe::{Known, Remembered},
    filter::{IdKey, Stretch},
    read::{Item, Reader},
};
use crate::record::{Kind, Seq};

/// Look-ups that may wait; past it the sender is told to come again.
const QUESTIONS_MAX: usize = 256;
/// A look-up takes no longer than this; the sender has stopped waiting by then.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_millis(700);
/// Records read between two looks at the clock.
const SLICE_RECORDS: usize = 4_096;
/// Bytes read between two looks at the clock.
const SLICE_BYTES: usize = 4 << 20;

/// One look-up.
pub struct Question {
    /// Comes back with the answer.
    pub token: u64,
    /// The id.
    pub key: IdKey,
    /// Its text as it stands in a record.
    pub id: String,
    /// The first 8 bytes of the body's SHA-256 that came with it now.
    pub body: [u8; 8],
    /// Where it may be, newest first.
    pub stretches: Vec<Stretch>,
    /// Nothing past this is read.
    pub synced: Seq,
    /// When it was asked.
    pub asked: Instant,
}

/// What a look-up found.
#[derive(Debug)]
pub struct Answer {
    /// As asked.
    pub token: u64,
    /// What is known; `Err` = no answer in time, or the journal cannot be read.
    pub found: Result<Option<Known>, ()>,
}

/// The way to the thread.
pub struct JournalLookup {
    questions: SyncSender<Question>,
}

impl JournalLookup {
    /// Starts the thread; it ends when this is dropped, or `answer` says false.
    pub fn start(
        journal_dir: &Path,
        bucket_secs: u64,
        answer: impl Fn(Answer) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, inbox): (_, Receiver<Question>) = sync_channel(QUESTIONS_MAX);
        let dir = PathBuf::from(journal_dir);
        thread::Builder::new().name("journal-lookup".to_owned()).spawn(move || {
            for question in inbox {
                let found = search(&dir, bucket_secs, &question);
                if !answer(Answer { token: question.token, found }) {
                    return;
                }
            }
        })?;
        Ok(Self { questions })
    }

    /// Asks; false when too many wait already.
    pub fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }
}

fn search(dir: &Path, bucket_secs: u64, question: &Question) -> Result<Option<Known>, ()> {
    let text = serde_json::to_string(&question.id).map_err(|_| ())?;
    let needle = format!("\"id\":{text}");
    let finder = Finder::new(&needle);
    let is_event = |record: &Remembered<'_>| record.kind == Kind::Event && record.key() == Some(question.key);
    for stretch in &question.stretches {
        let found = scan(dir, question, stretch.first, stretch.last, &finder, &|record| {
            is_event(record).then(|| record.known(bucket_secs))
        })?;
        let Some(known) = found else { continue };
        if known.body == question.body {
            return Ok(Some(known));
        }
        // Another body: whether that is recorded already stands behind it. If there is no time to look, better no
        // second replay record than two.
        let is_replay = |record: &Remembered<'_>| (record.replay_of() == Some(known.seq)).then_some(());
        let replay = scan(dir, question, known.seq + 1, question.synced, &finder, &is_replay);
        return Ok(Some(Known { replayed: !matches!(replay, Ok(None)), ..known }));
    }
    Ok(None)
}

/// The first record in `first..=last` that holds the id's text and that `pick` takes.
fn scan<T>(
    dir: &Path,
    question: &Question,
    first: Seq,
    last: Seq,
    finder: &Finder<'_>,
    pick: &dyn Fn(&Remembered<'_>) -> Option<T>,
) -> Result<Option<T>, ()> {
    let last = last.min(question.synced);
    let mut reader = Reader::new(dir, first);
    while reader.next() <= last {
        if question.asked.elapsed() > LOOKUP_TIME_MAX {
            return Err(());
        }
        let items = reader.read(last, SLICE_RECORDS, SLICE_BYTES).map_err(|_| ())?;
        if items.is_empty() {
            return Err(());
        }
        for item in items {
            let Item::Line { text, .. } = item else { continue };
            if finder.find(&text).is_some()
                && let Ok(record) = serde_json::from_slice::<Remembered<'_>>(&text)
                && let Some(picked) = pick(&record)
            {
                return Ok(Some(picked));
            }
        }
    }
    Ok(None)
}
