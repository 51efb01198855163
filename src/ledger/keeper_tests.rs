//! Which segments are compressed, and which are deleted, worked out by hand.

use std::path::Path;

use super::*;
use crate::{
    ledger::{
        WhenFull, begin, chain, checkpoint,
        segment::{compressed_path, plain_path},
        verify,
    },
    units::{ByteSize, Span},
};

const DAY: i64 = 86_400;

/// Housekeeping over a journal whose open segment begins with `open`; records are kept for ten days.
fn work(dir: &Path, open: Seq) -> Work {
    let metrics = Metrics::new();
    let home = Home {
        journal_dir: dir.to_owned(),
        filters_dir: dir.join("filters"),
        state_dir: dir.join("state"),
        node: "a".to_owned(),
        journal: "3f9a1c2e".to_owned(),
        bucket_secs: 60,
        config: JournalConfig { retention: Span::from_days(10), ..JournalConfig::default() },
        open: OpenFrom::default(),
        consumers: Consumers::default(),
        copies: Copies::default(),
        alarms: Alarms::new(Arc::clone(&metrics)),
        metrics,
    };
    home.open.begins(open);
    home.consumers.complete();
    let scrub = Scrub::new(dir.to_owned(), dir.join("damaged"), home.alarms.clone(), false);
    let signing = Signing::new(None, None, home.alarms.clone());
    Work::new(home, signing, scrub)
}

/// A segment of one record that was received at an instant, days since 1970.
fn segment(dir: &Path, first: Seq, day: i64) {
    let at = ReceivedAt::from_micros(day * DAY * 1_000_000);
    let mut line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":{first},"kind":"alarm","received_at":"{at}"}}"#
    )
    .into_bytes();
    chain::seal_line(&mut line, 0, &chain::GENESIS);
    fs::write(plain_path(dir, first), line).unwrap();
}

/// First seqs, and whether they are compressed.
fn segments(dir: &Path) -> Vec<(Seq, bool)> {
    segment::list(dir).unwrap().into_iter().map(|segment| (segment.first, segment.compressed)).collect()
}

fn retain(work: &mut Work, day: i64) -> Vec<Seq> {
    work.forgets_at.store(day * DAY * 1_000_000, Ordering::Release);
    work.retain().unwrap();
    segments(&work.home.journal_dir).into_iter().map(|(first, _)| first).collect()
}

#[test]
fn a_file_that_was_begun_does_not_seal_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = work(dir.path(), 11);
    segment(dir.path(), 1, 100);
    segment(dir.path(), 11, 101);
    // Begun, but not known to be durable: it may be gone the next moment, and records come behind the one before it.
    fs::write(plain_path(dir.path(), 21), b"").unwrap();
    work.tidy().unwrap();
    assert_eq!(segments(dir.path()), [(1, true), (11, false), (21, false)]);
    assert_eq!(retain(&mut work, 1_000), [11, 21]);
    work.home.open.begins(21);
    work.tidy().unwrap();
    assert_eq!(segments(dir.path()), [(11, true), (21, false)]);
}

#[test]
fn one_that_cannot_be_compressed_is_in_the_way_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = work(dir.path(), 31);
    (1..=4).for_each(|n| segment(dir.path(), 10 * n - 9, 100 + i64::try_from(n).unwrap()));
    // It cannot be read: no file at all.
    fs::remove_file(plain_path(dir.path(), 11)).unwrap();
    fs::create_dir(plain_path(dir.path(), 11)).unwrap();
    work.forgets_at.store(113 * DAY * 1_000_000 + 1, Ordering::Release);
    assert!(work.tidy().is_err());
    // 21 began on day 103, more than ten days ago: 1 is older. The unreadable one cannot be deleted like a file.
    assert_eq!(segments(dir.path()), [(11, false), (21, true), (31, false)]);
}

#[test]
fn retention_goes_by_the_ledgers_clock_and_past_a_damaged_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = work(dir.path(), 51);
    (0..6).for_each(|n| segment(dir.path(), 10 * n + 1, 100 + i64::try_from(n).unwrap()));
    // However late it is by the wall: nobody has said that anything may go.
    work.retain().unwrap();
    assert_eq!(segments(dir.path()).len(), 6);
    // Ten days after day 101, when 11 began, 1 has been kept for long enough, and a moment later it goes.
    assert_eq!(retain(&mut work, 111).len(), 6);
    work.forgets_at.store(111 * DAY * 1_000_000 + 1, Ordering::Release);
    work.retain().unwrap();
    assert_eq!(segments(dir.path())[0].0, 11);
    // The beginnings of 21 and 31 cannot be read. Of 41 it is known, and those before it are older.
    fs::write(plain_path(dir.path(), 21), b"damaged\n").unwrap();
    fs::write(compressed_path(dir.path(), 31), b"damaged").unwrap();
    fs::remove_file(plain_path(dir.path(), 31)).unwrap();
    assert_eq!(retain(&mut work, 114), [11, 21, 31, 41, 51]);
    assert_eq!(retain(&mut work, 115), [41, 51]);
    // Never past what someone still needs, nor the open one. Only where nothing else holds it back is a copy asked for.
    work.home.consumers.copied(49);
    work.home.consumers.set("sink", 50);
    assert_eq!((retain(&mut work, 1_000), work.home.copies.wanted()), (vec![41, 51], None));
    work.home.consumers.set("sink", 51);
    assert_eq!((retain(&mut work, 1_000), work.home.copies.wanted()), (vec![41, 51], Some(Why::Retention)));
    work.home.copies.end();
    work.home.consumers.copied(50);
    work.home.consumers.set("sink", 50);
    assert_eq!((retain(&mut work, 1_000), work.home.copies.wanted()), (vec![41, 51], None));
    work.home.consumers.set("sink", 51);
    assert_eq!(retain(&mut work, 1_000), [51]);
}

/// Two segments of three records, and the open one; of the first nobody signed the end when it was sealed. The work over
/// them, and the public half of its key.
fn of_three(data_dir: &Path) -> (Work, checkpoint::Verifier) {
    let journal_dir = segment::journal_dir(data_dir);
    fs::create_dir(&journal_dir).unwrap();
    let mut prev = chain::GENESIS;
    let mut hashes = Vec::new();
    for first in [1, 4, 7] {
        let lines = (first..first + 3).map(|seq| {
            let at = ReceivedAt::from_micros(i64::try_from(seq).unwrap() * DAY * 1_000_000);
            let mut line = format!(
                r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"a","seq":{seq},"kind":"alarm","received_at":"{at}"}}"#
            )
            .into_bytes();
            prev = chain::seal_line(&mut line, 0, &prev);
            hashes.push(prev);
            line
        });
        let lines: Vec<Vec<u8>> = lines.collect();
        fs::write(plain_path(&journal_dir, first), lines.concat()).unwrap();
    }
    let (private, public) = checkpoint::generate("a").unwrap();
    let mut log = checkpoint::Log::open(&journal_dir, checkpoint::Signer::parse(&private).unwrap()).unwrap();
    log.append(&Checkpoint { origin: "a/3f9a1c2e".to_owned(), seq: 6, hash: hashes[5] }).unwrap();
    let mut work = work(&journal_dir, 7);
    work.signing = Signing::new(Some(log), None, work.home.alarms.clone());
    (work, checkpoint::Verifier::parse(&public).unwrap())
}

fn verified(data_dir: &Path, verifier: &checkpoint::Verifier, held: &[checkpoint::Found]) -> verify::Report {
    let own = verify::Own::read(data_dir, Some(verifier)).unwrap();
    verify::verify(data_dir, 1, Seq::MAX, own, held, &mut |_| {}).unwrap()
}

#[test]
fn what_is_left_begins_with_what_a_checkpoint_vouches_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut work, verifier) = of_three(dir.path());
    for (day, first) in [(15, 4), (18, 7)] {
        assert_eq!(retain(&mut work, day), (first..=7).step_by(3).collect::<Vec<_>>());
        let report = verified(dir.path(), &verifier, &[]);
        assert_eq!((report.problems, report.range), (vec![], Some((first, 9))));
    }
    // One each; the one that was there already was not signed again.
    assert_eq!(checkpoint::read(&work.home.journal_dir, None).unwrap().len(), 2);
}

#[test]
fn so_it_does_where_records_had_to_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut work, verifier) = of_three(dir.path());
    let files = fs::read_dir(&work.home.journal_dir).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    work.home.config = JournalConfig {
        segment: ByteSize::new(1),
        max_bytes: ByteSize::new(bytes - 1),
        min_free: ByteSize::new(0),
        when_full: WhenFull::DropUndelivered,
        ..work.home.config.clone()
    };
    let mut work = Work::new(work.home, work.signing, work.scrub);
    work.watch_disk();
    let left: Vec<Seq> = segments(&work.home.journal_dir).into_iter().map(|(first, _)| first).collect();
    assert_eq!(left, [4, 7]);
    let report = verified(dir.path(), &verifier, &[]);
    assert_eq!((report.problems, report.range), (vec![], Some((4, 9))));
}

#[test]
fn what_cannot_be_signed_for_goes_all_the_same_and_is_signed_for_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (mut work, verifier) = of_three(dir.path());
    // As on a full disk: nothing can be put in its place.
    let begins = begin::path(&work.home.journal_dir);
    fs::create_dir(&begins).unwrap();
    work.forgets_at.store(15 * DAY * 1_000_000, Ordering::Release);
    assert!(work.retain().is_err());
    assert_eq!(segments(&work.home.journal_dir), [(4, false), (7, false)]);
    fs::remove_dir(&begins).unwrap();
    assert_eq!(verified(dir.path(), &verifier, &[]).problems.len(), 1);
    assert_eq!(retain(&mut work, 18), [7]);
    assert_eq!(verified(dir.path(), &verifier, &[]).problems, []);
}

#[test]
fn what_was_deleted_is_told_from_what_was_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let (mut work, verifier) = of_three(dir.path());
    let journal_dir = work.home.journal_dir.clone();
    let kept_elsewhere = checkpoint::read(&journal_dir, Some(&verifier)).unwrap();
    assert_eq!(retain(&mut work, 15), [4, 7]);
    // Of what is gone by right, a checkpoint kept elsewhere says nothing any more; the last one still does.
    let seq_3 = checkpoint::parse(&fs::read(checkpoint::path(&journal_dir)).unwrap(), Some(&verifier));
    let seq_3 = seq_3.into_iter().filter(|note| note.checkpoint.as_ref().is_some_and(|note| note.seq == 3));
    let before = Checkpoint { origin: "a/3f9a1c2e".to_owned(), seq: 2, hash: [7; 32] };
    let seq_2 = checkpoint::Found { checkpoint: Some(before), signed: Some(true), place: 0..1 };
    let held: Vec<_> = kept_elsewhere.into_iter().chain(seq_3).chain([seq_2]).collect();
    let report = verified(dir.path(), &verifier, &held);
    assert_eq!((report.problems, report.held, report.let_go, held.len()), (vec![], 2, 1, 3));
    // Nor does it excuse what is missing at the end, or anything where nobody checks who signed it.
    let verify_with = |key: Option<&checkpoint::Verifier>| {
        let own = verify::Own::read(dir.path(), key).unwrap();
        let seq_12 = Checkpoint { origin: "a/3f9a1c2e".to_owned(), seq: 12, hash: [7; 32] };
        let seq_12 = checkpoint::Found { checkpoint: Some(seq_12), signed: Some(true), place: 0..1 };
        verify::verify(dir.path(), 1, Seq::MAX, own, &[seq_12, held[2].clone()], &mut |_| {}).unwrap()
    };
    let begins = fs::read(begin::path(&journal_dir)).unwrap();
    let log = work.signing.log.as_ref().unwrap();
    begin::write(&journal_dir, log.signer(), ("a", "3f9a1c2e"), (20, [7; 32])).unwrap();
    assert_eq!((verify_with(Some(&verifier)).problems.len(), verify_with(None).problems.len()), (2, 2));
    begin::write(&journal_dir, log.signer(), ("a", "another"), (3, [8; 32])).unwrap();
    let problems = verified(dir.path(), &verifier, &[]).problems;
    assert_eq!(problems[0].what, "its checkpoint and the file `begins` contradict each other");
    fs::write(begin::path(&journal_dir), begins).unwrap();
    // The next file is deleted by hand.
    fs::remove_file(plain_path(&journal_dir, 4)).unwrap();
    let missing = "seq 4 to 6 are missing: nobody signed that they were let go";
    let problems = verified(dir.path(), &verifier, &[]).problems;
    assert_eq!(problems.iter().map(|problem| problem.what.as_str()).collect::<Vec<_>>(), [missing]);
    // And the note that some were let go is taken for one that they all were.
    let note = fs::read_to_string(begin::path(&journal_dir)).unwrap();
    fs::write(begin::path(&journal_dir), note.replace("\n3\n", "\n6\n")).unwrap();
    let problems = verified(dir.path(), &verifier, &[]).problems;
    assert_eq!(problems[0].what, "the signature of the file `begins` is wrong");
}

#[test]
fn nothing_waits_for_what_a_copy_of_the_state_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut work = work(dir.path(), 1);
    fs::create_dir(&work.home.state_dir).unwrap();
    let (written, needed) = sync_channel(1);
    let begun = Instant::now();
    work.saving = Some(Saving { seq: 7, memory: Box::default(), needed, since: begun });
    work.home.copies.begin();
    assert!(!work.save_state(Duration::ZERO));
    assert!(begun.elapsed() < NEEDED_WAIT_MAX / 2 && work.saving.is_some());
    assert_eq!(fs::read_dir(&work.home.state_dir).unwrap().count(), 0);

    written.send(Needed { files: Default::default(), newest: 0 }).unwrap();
    work.home.copies.ask(Why::Room);
    assert_eq!(work.home.copies.wanted(), None, "it is under way");
    assert!(work.save_state(Duration::ZERO));
    work.home.copies.ask(Why::Room);
    assert!(work.saving.is_none() && work.home.copies.wanted().is_some());
    assert_ne!(fs::read_dir(&work.home.state_dir).unwrap().count(), 0);
    // It has the copy by now: no segment has to be kept for it.
    assert_eq!(work.home.consumers.lowest(), Some(8));

    let (_written, needed) = sync_channel(1);
    let since = begun.checked_sub(NEEDED_WAIT_MAX).unwrap();
    work.saving = Some(Saving { seq: 9, memory: Box::default(), needed, since });
    assert!(work.save_state(Duration::ZERO) && work.saving.is_none(), "given up");
}
