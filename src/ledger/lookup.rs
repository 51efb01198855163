//! Asking the journal itself whether an id is recorded, for when the index cannot say. Slow, exact, on its own thread.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use memchr::memmem::{self, Finder};

use super::{
    chain,
    dedupe::{IdLine, Known},
    filter::{IdKey, Stretch},
    read::{LINE_BYTES_MAX, RECORD_BEGIN},
    segment,
};
use crate::record::{Kind, Seq};

/// Look-ups that may wait; past it the sender is told to come again.
const QUESTIONS_MAX: usize = 256;
/// A look-up takes no longer than this; the sender has stopped waiting by then.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_millis(700);
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
    let is_event = |record: &IdLine<'_>| record.kind == Kind::Event && record.key() == Some(question.key);
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
        let is_replay = |record: &IdLine<'_>| (record.replay_of() == Some(known.seq)).then_some(());
        let replay = scan(dir, question, known.seq + 1, question.synced, &finder, &is_replay);
        return Ok(Some(Known { replayed: !matches!(replay, Ok(None)), ..known }));
    }
    Ok(None)
}

/// The first record in `first..=last` that holds the id's text and that `pick` takes, as far as can be read. Of millions of
/// lines one has the text, and only that one is worth a hash and a parse: 300,000 full records are searched in time.
fn scan<T>(
    dir: &Path,
    question: &Question,
    first: Seq,
    last: Seq,
    finder: &Finder<'_>,
    pick: &dyn Fn(&IdLine<'_>) -> Option<T>,
) -> Result<Option<T>, ()> {
    let last = last.min(question.synced);
    let segments = segment::list(dir).map_err(|_| ())?;
    let mut buffer = Vec::with_capacity(SLICE_BYTES);
    let mut is_damaged = false;
    for (number, segment) in segments.iter().enumerate() {
        let ends_before = segments.get(number + 1).is_some_and(|following| following.first <= first);
        if ends_before || segment.first > last {
            continue;
        }
        let Ok(mut from) = segment.open() else {
            is_damaged = true;
            continue;
        };
        buffer.clear();
        loop {
            if question.asked.elapsed() > LOOKUP_TIME_MAX || buffer.len() > LINE_BYTES_MAX {
                return Err(());
            }
            let before = buffer.len();
            // What came before an unreadable place is still good, and so is what is in the other segments.
            let is_read = from.by_ref().take(SLICE_BYTES as u64).read_to_end(&mut buffer).is_ok();
            is_damaged |= !is_read;
            let whole = memchr::memrchr(b'\n', &buffer).map_or(0, |at| at + 1);
            let lines = finder.find_iter(&buffer[..whole]).flat_map(|at| lines_around(&buffer[..whole], at));
            for line in lines {
                if chain::check_line(line).is_some_and(|checked| (first..=last).contains(&checked.seq))
                    && let Ok(record) = serde_json::from_slice::<IdLine<'_>>(line)
                    && let Some(picked) = pick(&record)
                {
                    return Ok(Some(picked));
                }
            }
            if !is_read || buffer.len() == before {
                break;
            }
            buffer.drain(..whole);
        }
    }
    if is_damaged { Err(()) } else { Ok(None) }
}

/// The line around a place, with its LF; and, for where the LF before it was damaged, the record that begins inside.
fn lines_around(bytes: &[u8], at: usize) -> [&[u8]; 2] {
    let start = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |lf| lf + 1);
    let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |lf| at + lf + 1);
    let begin = memmem::rfind(&bytes[start..at], RECORD_BEGIN).unwrap_or(0);
    [&bytes[start..end], if begin > 0 { &bytes[start + begin..end] } else { &[] }]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{chain::GENESIS, dedupe::id_key},
        *,
    };

    #[test]
    fn an_id_is_found_in_every_kind_of_segment_and_behind_a_damaged_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut prev = GENESIS;
        let lines = (1..=6).map(|seq| {
            let text = format!(
                r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n","seq":{seq},"kind":"event","received_at":"2026-11-22T06:40:00.000000Z","source":"s","event":{{"id":"id-{seq}","kept":{{"a":{{"schema":"x"}}}}}}}}"#
            );
            let mut line = text.into_bytes();
            prev = chain::seal_line(&mut line, 0, &prev);
            line
        });
        let mut lines: Vec<Vec<u8>> = lines.collect();
        // The end of line 2: that line is lost, the one behind it is not.
        *lines[1].last_mut().unwrap() ^= 1;
        std::fs::write(segment::plain_path(dir.path(), 1), lines[..3].concat()).unwrap();
        let sealed = zstd::encode_all(&lines[3..5].concat()[..], 1).unwrap();
        std::fs::write(segment::compressed_path(dir.path(), 4), sealed).unwrap();
        std::fs::write(segment::plain_path(dir.path(), 6), &lines[5]).unwrap();
        let search = |seq: Seq, (first, last): (Seq, Seq), synced: Seq| {
            let id = format!("id-{seq}");
            let question = Question {
                token: 0,
                key: id_key("s", &id),
                id,
                body: [0; 8],
                stretches: vec![Stretch { bucket: 0, first, last }],
                synced,
                asked: Instant::now(),
            };
            super::search(dir.path(), 3_600, &question).unwrap().map(|known| known.seq)
        };
        let found: Vec<_> = (1..=7).map(|seq| search(seq, (1, 6), 6)).collect();
        assert_eq!(found, [Some(1), None, Some(3), Some(4), Some(5), Some(6), None]);
        assert_eq!((search(6, (1, 6), 5), search(4, (5, 6), 6), search(4, (4, 4), 6)), (None, None, Some(4)));
        // One that cannot be read hides what is in it, and nothing else.
        std::fs::write(segment::compressed_path(dir.path(), 4), b"damaged").unwrap();
        assert_eq!((search(1, (1, 6), 6), search(6, (1, 6), 6)), (Some(1), Some(6)));
        let question = Question {
            token: 0,
            key: id_key("s", "id-4"),
            id: "id-4".to_owned(),
            body: [0; 8],
            stretches: vec![Stretch { bucket: 0, first: 1, last: 6 }],
            synced: 6,
            asked: Instant::now(),
        };
        assert!(super::search(dir.path(), 3_600, &question).is_err());
    }
}
