//! What an operator asks for, on the books alone: what is on disk at which step, and what a crash there leaves.

use std::fs;

use tempfile::TempDir;

use super::{
    Start, Triage, Which,
    acks::Entry,
    books::{Again, Books, Journal, Progress, Redriven},
    parked::ParkedRecord,
    redrive::{Range, Redrive},
};
use crate::record::Seq;

/// A journal with so many records, and a sink that has settled them all: every odd one was refused.
struct Settled {
    dir: TempDir,
    journal: Journal,
}

impl Settled {
    fn new(records: Seq) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal { dir: dir.path().join("journal"), id: "3f9a1c2e".into(), synced: records };
        fs::create_dir(&journal.dir).unwrap();
        let this = Self { dir, journal };
        let refused = (1..=records).step_by(2).map(ParkedRecord::example);
        let stretch = Entry { first: 1, last: records, ..Entry::default() };
        this.open().advance(Progress { stretch, refused: refused.collect(), last: None }).unwrap();
        this
    }

    fn open(&self) -> Books {
        Books::open(self.dir.path(), "s", &self.journal, Start::Oldest)
    }

    /// What a crash now would leave: delivered, parked, to be tried again; and whether they add up.
    fn on_disk(&self) -> (u64, u64, usize) {
        let books = Books::load(self.dir.path(), "s", &self.journal, Start::Oldest);
        assert_eq!(books.halted(), None);
        assert!(books.cursor.adds_up() && books.cursor.parked == books.parked.len() as u64, "{:?}", books.cursor);
        (books.cursor.delivered, books.cursor.parked, books.redrive.retry.len())
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("sinks/s").join(name)
    }
}

fn delivered(seqs: &[Seq]) -> Redriven {
    Redriven { delivered: seqs.to_vec(), ..Redriven::default() }
}

#[test]
fn a_step_of_trying_again_is_written_with_the_next_save_and_not_before() {
    let sink = Settled::new(10);
    let mut books = sink.open();
    assert_eq!(books.triage(&Triage::Retry(Which::All), 9).unwrap(), 5);
    assert_eq!(sink.on_disk(), (5, 5, 5));
    let files = || ["cursor", "redrive.json", "parked.jsonl"].map(|name| fs::read_to_string(sink.file(name)).unwrap());
    let before = files();
    for seq in [1, 3] {
        books.redriven(&delivered(&[seq])).unwrap();
    }
    assert_eq!((books.cursor.delivered, books.cursor.parked, books.redrive.left()), (7, 3, 3));
    assert_eq!(files(), before, "a crash sends those two once more");
    // Two that are settled and three that are still to be tried.
    assert_eq!(books.listed(), 5);
    books.save().unwrap();
    assert_eq!((sink.on_disk(), books.listed()), ((7, 3, 3), 2));
    // One is refused again: it stays parked, and is not tried once more.
    books.redriven(&Redriven { refused: vec![5], ..delivered(&[7]) }).unwrap();
    assert_eq!(sink.on_disk(), (7, 3, 3));
    // The last one is written at once, and what is not parked any more goes.
    books.redriven(&delivered(&[9])).unwrap();
    assert_eq!(sink.on_disk(), (9, 1, 0));
    assert!(!sink.file("redrive.json").exists());
    assert_eq!(fs::read_to_string(sink.file("parked.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn a_crash_after_the_cursor_and_before_the_request_s_file_counts_each_once() {
    let sink = Settled::new(10);
    let mut books = sink.open();
    books.triage(&Triage::Retry(Which::All), 9).unwrap();
    let asked = fs::read(sink.file("redrive.json")).unwrap();
    books.redriven(&delivered(&[1, 3])).unwrap();
    books.save().unwrap();
    fs::write(sink.file("redrive.json"), asked).unwrap();
    assert_eq!(sink.on_disk(), (7, 3, 3), "what has arrived is not tried again");
}

#[test]
fn another_request_leaves_nothing_behind_that_was_done() {
    let sink = Settled::new(10);
    let mut books = sink.open();
    books.triage(&Triage::Retry(Which::Seqs(vec![1, 3])), 9).unwrap();
    books.redriven(&delivered(&[1])).unwrap();
    // Had this written the requests alone, a crash would leave 1 parked, and nobody to try it.
    books.triage(&Triage::Retry(Which::Seqs(vec![5])), 9).unwrap();
    assert_eq!(sink.on_disk(), (6, 4, 2));
}

#[test]
fn what_is_taken_back_pins_nothing_and_moves_nothing_that_is_asked_for_later() {
    let sink = Settled::new(10);
    let mut books = sink.open();
    assert_eq!(books.cancel().unwrap(), 0, "nothing waits");
    books.redeliver(2, Some(9), &sink.journal).unwrap();
    books.triage(&Triage::Retry(Which::Seqs(vec![1, 3])), 9).unwrap();
    // 2 to 9 is 8 records, and two parked ones.
    assert_eq!((books.check_cancel().unwrap(), books.needed()), (10, 2));
    let cancels = books.cancels();
    assert_eq!(books.cancel().unwrap(), 10);
    assert_eq!((books.needed(), books.next_again(100), sink.on_disk()), (11, None, (5, 5, 0)));
    assert!(!sink.file("redrive.json").exists());

    books.redeliver(4, Some(10), &sink.journal).unwrap();
    books.triage(&Triage::Retry(Which::Seqs(vec![5])), 9).unwrap();
    // What was under way arrives after all: 3 is delivered, 5 was refused to somebody who gave up.
    let late = Redriven { refused: vec![5], reached: Some(8), cancels, ..delivered(&[2, 3]) };
    books.redriven(&late).unwrap();
    assert_eq!((books.cursor.delivered, books.cursor.parked), (6, 4));
    assert_eq!(books.redriving().ranges, [Range { from: 4, to: 10, next: 4 }], "none of it is skipped");
    assert_eq!(books.next_again(100), Some(Again::Retry(vec![5])));
}

#[test]
fn books_that_stand_still_say_so_and_take_nothing_back() {
    let sink = Settled::new(10);
    fs::write(sink.file("cursor"), "{").unwrap();
    assert!(sink.open().cancel().unwrap_err().to_string().contains("stands still"));
}

#[test]
fn what_an_earlier_cursor_was_to_deliver_again_goes_with_it() {
    let sink = Settled::new(10);
    sink.open().redeliver(2, Some(9), &sink.journal).unwrap();
    fs::remove_file(sink.file("cursor")).unwrap();
    for start in ["first", "second"] {
        let books = sink.open();
        assert_eq!((books.redriving(), books.cursor().next), (&Redrive::default(), 1), "{start} start");
    }
    assert!(!sink.file("redrive.json").exists());
}

#[test]
fn a_range_from_before_the_first_record_begins_with_it() {
    let sink = Settled::new(10);
    let mut books = sink.open();
    assert_eq!(books.check_redeliver(0, Some(3), &sink.journal).unwrap(), 3);
    assert_eq!(books.redeliver(0, Some(99), &sink.journal).unwrap(), 10);
    assert_eq!(books.redriving().ranges, [Range { from: 1, to: 10, next: 1 }]);
}
