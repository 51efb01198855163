//! Closed files and their checkpoints: which has none, who is told, and that none is missing for an honest reason.

use std::{collections::BTreeSet, fs, io::Read as _, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::{
    ledger::{
        Ledger, Running, chain,
        checkpoint::{self, Signer, Verifier},
        meta::new_id,
        segment::{journal_dir, plain_path},
        tests::{entry, settings},
        verify::{Own, Report, verify},
    },
    secret::Secret,
};

/// A journal whose checkpoints are signed, with more than three closed files.
struct Signed {
    dir: TempDir,
    private: Secret,
    verifier: Verifier,
    next: u64,
}

impl Signed {
    async fn new() -> Self {
        let (private, public) = checkpoint::generate("audit-1").unwrap();
        let verifier = Verifier::parse(&public).unwrap();
        let mut this = Self { dir: tempfile::tempdir().unwrap(), private, verifier, next: 0 };
        this.run(600).await;
        assert!(this.ends().len() > 3, "{:?}", this.ends());
        assert_eq!(this.problems(), [""; 0]);
        this
    }

    fn start(&self) -> (Ledger, Running, Alarms) {
        let mut settings = settings(self.dir.path());
        settings.signer = Some(Signer::parse(&self.private).unwrap());
        let alarms = settings.alarms.clone();
        let (ledger, running) = Ledger::start(settings).unwrap();
        (ledger, running, alarms)
    }

    /// Starts it, admits so many, stops it. What was raised at the start, by subject.
    async fn run(&mut self, count: u64) -> Vec<String> {
        let (ledger, running, alarms) = self.start();
        let raised = alarms.raised().into_iter().map(|alarm| alarm.subject.unwrap()).collect();
        self.admit(&ledger, count).await;
        running.stop();
        raised
    }

    async fn admit(&mut self, ledger: &Ledger, count: u64) {
        for _ in 0..count {
            self.next += 1;
            ledger.admit(entry(&format!("id-{}", self.next), 1)).await;
        }
    }

    fn journal(&self) -> PathBuf {
        journal_dir(self.dir.path())
    }

    /// The last seq of each closed file.
    fn ends(&self) -> Vec<Seq> {
        segment::list(&self.journal()).unwrap().iter().skip(1).map(|segment| segment.first - 1).collect()
    }

    fn notes(&self) -> Vec<String> {
        let path = checkpoint::path(&self.journal());
        let text = fs::read_to_string(path).unwrap();
        checkpoint::parse(text.as_bytes(), None).into_iter().map(|note| text[note.place].to_owned()).collect()
    }

    fn keep_notes(&self, keeps: impl Fn(Seq) -> bool) {
        let seq = |note: &String| note.lines().nth(1).unwrap().parse::<Seq>().unwrap();
        let kept: Vec<String> = self.notes().into_iter().filter(|note| keeps(seq(note))).collect();
        fs::write(checkpoint::path(&self.journal()), kept.join("\n")).unwrap();
    }

    fn has_note(&self, seq: Seq) -> bool {
        self.notes().iter().any(|note| note.lines().nth(1) == Some(&seq.to_string()))
    }

    fn verify(&self) -> Report {
        let own = Own::read(self.dir.path(), Some(&self.verifier)).unwrap();
        verify(self.dir.path(), 1, Seq::MAX, own, &[], &mut |_| {}).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        self.verify().problems.into_iter().map(|problem| format!("{} {}", problem.seq, problem.what)).collect()
    }

    /// Changes one record, and chains it and all that follow anew.
    fn rewrite(&self, seq: Seq) {
        let mut prev = chain::GENESIS;
        for segment in segment::list(&self.journal()).unwrap() {
            let mut text = String::new();
            segment.open().unwrap().read_to_string(&mut text).unwrap();
            let mut lines = Vec::new();
            for line in text.lines() {
                let begin = lines.len();
                let body = &line[..line.rfind(",\"prev\":").unwrap()];
                let is_it = body.contains(&format!("\"seq\":{seq},"));
                let body = if is_it { body.replace("attempted", "succeeded") } else { body.to_owned() };
                lines.extend_from_slice(body.as_bytes());
                lines.push(b'}');
                prev = chain::seal_line(&mut lines, begin, &prev);
            }
            fs::remove_file(&segment.path).unwrap();
            fs::write(plain_path(&self.journal(), segment.first), lines).unwrap();
        }
    }
}

#[tokio::test]
async fn a_chain_that_was_rewritten_without_its_checkpoints_is_not_signed_over() {
    let mut signed = Signed::new().await;
    signed.rewrite(3);
    assert!(!signed.problems().is_empty());
    signed.keep_notes(|_| false);
    assert_eq!(signed.problems().len(), 1);
    let ends = signed.ends();
    for _ in 0..2 {
        assert_eq!(signed.run(1).await, ["closed files"]);
        let problems = signed.problems();
        assert_eq!(problems.len(), ends.len(), "{problems:?}");
        for (end, problem) in ends.iter().zip(problems) {
            assert!(problem.starts_with(&format!("{end} no checkpoint vouches for it")), "{problem}");
        }
    }
}

#[tokio::test]
async fn any_single_checkpoint_that_is_missing_shows_until_it_is_back() {
    let mut signed = Signed::new().await;
    let all = fs::read(checkpoint::path(&signed.journal())).unwrap();
    for end in signed.ends() {
        signed.keep_notes(|seq| seq != end);
        let problems = signed.problems();
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("{end} no checkpoint")), "{problems:?}");
        assert_eq!(signed.run(0).await, ["closed files"], "{end}");
        assert!(!signed.has_note(end));
        fs::write(checkpoint::path(&signed.journal()), &all).unwrap();
        assert_eq!(signed.run(0).await, [""; 0], "{end}");
        assert_eq!(signed.problems(), [""; 0]);
    }
}

#[tokio::test]
async fn what_a_stop_kept_from_being_signed_is_no_damage_and_signed_at_the_next_start() {
    let mut signed = Signed::new().await;
    let last = *signed.ends().last().unwrap();
    signed.keep_notes(|seq| seq < last);
    assert_eq!(signed.problems(), [""; 0]);
    assert_eq!(signed.run(0).await, [""; 0]);
    assert!(signed.has_note(last));
    // One more is missing: then it was no stop.
    let before = signed.ends()[signed.ends().len() - 2];
    signed.keep_notes(|seq| seq < before);
    assert_eq!(signed.problems().len(), 1);
    assert_eq!(signed.run(0).await, ["closed files"]);
    assert!(!signed.has_note(before) && !signed.has_note(last));
}

#[tokio::test]
async fn checkpoints_of_an_earlier_id_and_by_an_earlier_key_count() {
    let mut signed = Signed::new().await;
    let (private, public) = checkpoint::generate("audit-1").unwrap();
    signed.private = private;
    signed.verifier.add(Verifier::parse(&public).unwrap());
    let mut meta = Meta::read(&signed.journal()).unwrap();
    meta.renew(signed.dir.path(), new_id(), signed.next).unwrap();
    let closed = signed.ends().len();
    assert_eq!(signed.run(300).await, [""; 0]);
    assert!(signed.ends().len() > closed + 1);
    assert_eq!((signed.run(0).await, signed.problems()), (vec![], vec![]));
    // What an earlier id says of what came after it is about other records.
    let notes = fs::read_to_string(checkpoint::path(&signed.journal())).unwrap();
    let (id, end) = (Meta::read(&signed.journal()).unwrap().journal, signed.ends()[closed]);
    let other =
        notes.replace(&format!("audit-1/{id}\n{end}\n"), &format!("audit-1/{}\n{end}\n", meta.earlier[0].journal));
    assert_ne!(other, notes);
    fs::write(checkpoint::path(&signed.journal()), other).unwrap();
    assert_eq!(signed.run(0).await, ["closed files"]);
}

#[tokio::test]
async fn an_end_that_is_damaged_is_told_of_as_that() {
    let mut signed = Signed::new().await;
    let segments = segment::list(&signed.journal()).unwrap();
    fs::write(&segments[1].path, b"damaged").unwrap();
    let end = signed.ends()[1];
    signed.keep_notes(|seq| seq != end);
    assert!(signed.problems().iter().all(|problem| !problem.contains("no checkpoint")), "{:?}", signed.problems());
    assert!(!signed.run(0).await.contains(&"closed files".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_it_is_killed_only_the_file_that_was_closed_last_lacks_its_checkpoint() {
    let mut signed = Signed::new().await;
    let (ledger, running, _) = signed.start();
    let journal = signed.journal();
    let looking = std::thread::spawn(move || {
        let (mut seen, mut most) = (0, 0);
        while seen < 40 {
            let segments = segment::list(&journal).unwrap();
            let notes = checkpoint::read(&journal, None).unwrap();
            let notes: BTreeSet<Seq> = notes.into_iter().filter_map(|note| Some(note.checkpoint?.seq)).collect();
            let ends = segments.iter().skip(1).map(|segment| segment.first - 1);
            most = most.max(ends.filter(|end| !notes.contains(end)).count());
            seen = segments.len();
        }
        most
    });
    // Many at once, as fast as they come.
    while !looking.is_finished() {
        let admit = (0..200).map(|n| ledger.admit(entry(&format!("many-{}-{n}", signed.next), 1)));
        futures_util::future::join_all(admit).await;
        signed.next += 1;
    }
    assert!(looking.join().unwrap() <= 1);
    running.stop();
    assert_eq!(signed.problems(), [""; 0]);
}

#[test]
fn what_cannot_be_signed_is_tried_again_and_nothing_is_signed_before_a_seal() {
    let dir = tempfile::tempdir().unwrap();
    let (private, _) = checkpoint::generate("a").unwrap();
    let log = Log::open(dir.path(), Signer::parse(&private).unwrap()).unwrap();
    let note = |seq| Checkpoint { origin: "a/3f9a1c2e".to_owned(), seq, hash: [7; 32] };
    let seqs = || -> Vec<Seq> {
        let notes = checkpoint::read(dir.path(), None).unwrap();
        notes.into_iter().map(|note| note.checkpoint.unwrap().seq).collect()
    };
    let alarms = Alarms::new(crate::telemetry::Metrics::new());
    let mut signing = Signing::new(Some(log), Some(note(3)), alarms.clone());
    let due = signing.due();
    assert!(!due.is_sealed(), "of the run before");
    signing.go_on();
    assert!(due.is_sealed() && seqs() == [3]);
    signing.log.as_mut().unwrap().break_it(dir.path());
    due.sign(note(4));
    due.sign(note(5));
    due.seal(note(6));
    for latest in [7, 8] {
        due.sign(note(latest));
        signing.go_on();
        assert!(!due.is_sealed() && seqs() == [3]);
    }
    assert_eq!(alarms.raised(), []);
    signing.failing = signing.failing.and_then(|since| since.checked_sub(FAILING_MAX));
    signing.go_on();
    assert_eq!(alarms.raised()[0].subject.as_deref(), UNWRITTEN);
    signing.log.as_mut().unwrap().mend_it(dir.path());
    signing.go_on();
    assert!(due.is_sealed() && seqs() == [3, 6, 8]);
    assert_eq!(alarms.raised(), []);
    signing.go_on();
    assert_eq!(seqs(), [3, 6, 8], "each once");
    // Where nobody signs nobody waits.
    let off = Signing::new(None, Some(note(3)), alarms).due();
    off.seal(note(6));
    assert!(off.is_sealed());
}
