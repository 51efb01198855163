//! Proof: a failing disk. Never a 2xx for what is not on disk; recovery without a restart once the disk does; afterwards
//! memory equals what a restart would load.

use std::{
    fs,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use refresh_audit::time::ReceivedAt;

use crate::support::{
    app::{PATIENT, Settings, TestApp},
    event::Event,
    eventually,
    http::Verdict,
    load::{Book, Load},
    seed,
    shim::{EIO, ENOSPC, Fault, SYNC, Shim, TRUNCATE, WRITE},
};

/// Each kind of fault hits the 1st, 2nd … call after it is armed.
const NTH_MAX: i64 = 6;
/// Larger than any number of calls in a test.
const FOR_EVER: i64 = 1 << 40;

/// A service on a disk that can fail.
struct Bench {
    shim: Shim,
    app: TestApp,
    rng: StdRng,
    book: Book,
}

impl Bench {
    fn start(name: &str, settings: Settings) -> Self {
        let shim = Shim::build();
        let app = TestApp::start(shim.under(settings));
        Self { shim, app, rng: StdRng::seed_from_u64(seed(name)), book: Book::default() }
    }

    /// Sends one new event and enters the answer.
    fn post(&mut self) -> Verdict {
        let event = Event::new(&mut self.rng);
        let verdict = self.app.client().send(&event, &self.app.signer()).unwrap();
        self.book.enter(vec![(event, Some(verdict.clone()))]);
        verdict
    }

    /// The disk is well: waits until events are taken again and the alarm is over, in memory and in the journal.
    fn recover(&mut self) {
        self.shim.disarm();
        eventually("it takes events again", || self.post().is_recorded());
        self.calm();
        assert!(self.app.journal().has_alarm("storage_failed", "raised"), "the failure is in the journal");
    }

    /// Waits until every alarm that was logged is over and in the journal.
    fn calm(&self) {
        eventually("every alarm is cleared and journaled", || {
            let (log, journal) = (self.app.log(), self.app.journal());
            let journaled = |state| {
                journal.lines.iter().filter_map(|line| line.alarm.as_ref()).filter(|a| a.state == state).count()
            };
            let (raised, cleared) = (log.matches(" alarm raised: ").count(), log.matches(" alarm cleared: ").count());
            raised == cleared && journaled("raised") == raised && journaled("cleared") == cleared
        });
    }

    /// Every promise is kept, by the running service and by one that starts from the files alone.
    fn check(&mut self) {
        let (writes, syncs) = self.shim.calls();
        assert!(writes > 0 && syncs > 0, "the journal's calls do not pass the shim: {writes} writes, {syncs} syncs");
        self.book.settle(&self.app);
        self.calm();
        let before = self.app.journal();
        self.book.check(&before);
        self.book.resend_every(&self.app);
        self.app.kill();
        self.app.launch();
        self.book.resend_every(&self.app);
        let after = self.app.journal();
        assert_eq!(after.last_seq(), before.last_seq(), "duplicates and a restart record nothing");
        assert_eq!(self.post().seq, Some(before.last_seq() + 1));
        self.app.verify();
    }
}

/// One fault at the nth call: the event that met it is refused, the next ones are taken.
fn check_each_call(name: &str, fault: Fault) {
    let mut bench = Bench::start(name, Settings::new().and("[journal]\nsegment = \"64KiB\"\n"));
    for nth in 1..=NTH_MAX {
        bench.shim.arm(Fault { nth, ..fault });
        loop {
            let verdict = bench.post();
            if bench.shim.fired() > 0 {
                assert_eq!((verdict.status, verdict.retry_after), (503, true), "{name}, call {nth}: {verdict:?}");
                break;
            }
            assert!(verdict.is_recorded(), "{name}, before call {nth}: {verdict:?}");
        }
        bench.recover();
        // What was not synced is cut off, not taken over: the kernel may have dropped it without a further word.
        assert_eq!(
            bench.book.open_len(),
            bench.book.settle(&bench.app),
            "{name}, call {nth}: a refused event was kept"
        );
    }
    bench.check();
}

#[test]
fn a_write_that_finds_no_space() {
    check_each_call("write ENOSPC", Fault { kinds: WRITE, times: 1, error: ENOSPC, ..Fault::default() });
}

#[test]
fn a_write_that_fails() {
    check_each_call("write EIO", Fault { kinds: WRITE, times: 1, error: EIO, ..Fault::default() });
}

#[test]
fn a_write_that_is_cut_short() {
    check_each_call("short write", Fault { kinds: WRITE, times: 2, error: ENOSPC, half: true, ..Fault::default() });
}

#[test]
fn a_sync_that_fails() {
    check_each_call("sync EIO", Fault { kinds: SYNC, times: 1, error: EIO, ..Fault::default() });
}

#[test]
fn a_sync_that_finds_no_space() {
    check_each_call("sync ENOSPC", Fault { kinds: SYNC, times: 1, error: ENOSPC, ..Fault::default() });
}

#[test]
fn a_disk_that_fails_again_while_the_ledger_recovers() {
    for times in [2, 3, 5, 9] {
        let kinds = WRITE | SYNC | TRUNCATE;
        check_each_call("all calls", Fault { kinds, times, error: EIO, ..Fault::default() });
    }
}

#[test]
fn a_disk_that_stays_full_and_then_does_not() {
    let mut bench = Bench::start("full disk", Settings::new());
    assert!(bench.post().is_recorded());
    bench.shim.arm(Fault { kinds: WRITE, nth: 1, times: FOR_EVER, error: ENOSPC, half: false });
    for _ in 0..10 {
        let verdict = bench.post();
        assert_eq!((verdict.status, verdict.retry_after), (503, true), "{verdict:?}");
    }
    let begun = bench.shim.fired();
    eventually("it tries again and again", || bench.post().status == 503 && bench.shim.fired() >= begun + 6);
    assert_eq!(bench.app.log().matches("alarm raised: the journal cannot be written").count(), 1);
    let alarm = [("name", "storage_failed")];
    assert_eq!(bench.app.metric("refresh_audit_alarm", &alarm), Some(1.0));
    assert_eq!(bench.app.get("/healthz").unwrap().0, 200);
    bench.recover();
    bench.check();
}

#[test]
fn a_limit_of_file_sizes_is_a_full_disk_and_not_the_end() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let app = TestApp::start(Settings::new());
    let mut rng = StdRng::seed_from_u64(seed("file size"));
    let mut post = || app.client().send(&Event::new(&mut rng), &app.signer()).unwrap();
    assert!(post().is_recorded());
    let limit = |bytes| {
        let pid = Pid::from_raw(app.pid() as i32);
        prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    };
    limit(Some(fs::metadata(app.data().join("journal/00000000000000000001.jsonl")).unwrap().len() + 1));
    assert_eq!(post().status, 503);
    assert_eq!(app.get("/healthz").unwrap().0, 200);
    limit(None);
    eventually("it takes events again", || post().is_recorded());
    app.verify();
}

#[test]
fn a_disk_that_fails_under_load() {
    let mut bench = Bench::start("faults under load", Settings::new().and("[journal]\nsegment = \"256KiB\"\n"));
    let load = Load::start(bench.app.listen, &bench.app.signer(), 8, bench.rng.random());
    for round in 0..20 {
        let (kinds, half) = [(WRITE, false), (SYNC, false), (WRITE, true), (WRITE | SYNC | TRUNCATE, false)][round % 4];
        let (nth, times) = (bench.rng.random_range(1..8), bench.rng.random_range(1..4));
        bench.shim.arm(Fault { kinds, nth, times, error: EIO, half });
        eventually("the fault is met", || bench.shim.fired() > 0);
        bench.shim.disarm();
        let before = load.recorded();
        eventually("events are taken again", || load.recorded() > before);
    }
    bench.book.enter(load.end());
    bench.recover();
    bench.check();
}

#[test]
fn a_power_loss_takes_nothing_acknowledged() {
    let mut bench = Bench::start("power loss", Settings::new().and("[journal]\nsegment = \"128KiB\"\n"));
    for _ in 0..10 {
        let load = Load::start(bench.app.listen, &bench.app.signer(), 6, bench.rng.random());
        std::thread::sleep(Duration::from_micros(bench.rng.random_range(10_000..200_000)));
        bench.app.kill();
        bench.shim.lose_power(&bench.app.data());
        bench.book.enter(load.end());
        bench.app.launch();
        bench.book.check(&bench.app.journal());
    }
    bench.check();
}

#[test]
fn fail_open_lets_the_user_through_and_says_so() {
    let settings = Settings { server: format!("on_storage_failure = \"fail_open\"\n{PATIENT}"), ..Settings::new() };
    let mut bench = Bench::start("fail open", settings);
    assert!(bench.post().is_recorded());
    bench.shim.arm(Fault { kinds: WRITE, nth: 1, times: FOR_EVER, error: ENOSPC, half: false });
    let lost: Vec<Event> = (0..5).map(|_| Event::new(&mut bench.rng)).collect();
    for event in &lost {
        let answer = bench.app.client().post(&event.body, &bench.app.signer().sign(&event.body)).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"status":"unrecorded"}"#));
    }
    let unrecorded = [("source", "fusionauth"), ("outcome", "unrecorded")];
    assert_eq!(bench.app.metric("refresh_audit_events_total", &unrecorded), Some(5.0));
    assert_eq!(bench.app.metric("refresh_audit_alarm", &[("name", "events_unrecorded")]), Some(1.0));
    bench.shim.disarm();
    eventually("it takes events again", || {
        let event = Event::new(&mut bench.rng);
        let verdict = bench.app.client().send(&event, &bench.app.signer()).unwrap();
        assert_eq!(verdict.status, 200);
        verdict.word == "accepted"
    });
    eventually("the alarm is in the journal", || bench.app.journal().has_alarm("events_unrecorded", "raised"));
    let journal = bench.app.journal();
    assert!(lost.iter().all(|event| !journal.seqs_by_id.contains_key(&event.id)), "unrecorded, yet recorded");
    bench.check();
}

#[test]
fn a_sync_slower_than_the_deadline_is_unknown_and_then_a_duplicate() {
    // Far apart, for a busy machine: undisturbed answers come well before the deadline, the deadline before the sync.
    let (server, sync, between) = ("ack_deadline = \"2s\"\n".to_owned(), 12_000, Duration::from_secs(9));
    let mut bench = Bench::start("slow sync", Settings { server, ..Settings::new() });
    assert!(bench.post().is_recorded());
    bench.shim.delay_syncs(sync);
    let event = Event::new(&mut bench.rng);
    let begun = Instant::now();
    let verdict = bench.app.client().send(&event, &bench.app.signer()).unwrap();
    assert_eq!((verdict.status, verdict.retry_after), (503, true), "{verdict:?}");
    assert!(begun.elapsed() < between, "answered after {:?}", begun.elapsed());
    bench.shim.delay_syncs(0);
    eventually("the retry is a duplicate", || {
        let verdict = bench.app.client().send(&event, &bench.app.signer()).unwrap();
        assert_ne!(verdict.word, "accepted");
        verdict.word == "duplicate" && verdict.seq == Some(2)
    });
    assert_eq!(bench.app.journal().seq_of(&event.id), 2);
    bench.check();
}

#[test]
fn a_start_that_takes_long_does_not_set_the_clock_back() {
    let mut bench = Bench::start("slow start", Settings::new());
    assert!(bench.post().is_recorded());
    bench.app.stop();
    // The start syncs the open segment.
    bench.shim.delay_syncs(2_000);
    bench.app.launch();
    bench.shim.delay_syncs(0);
    let before = ReceivedAt::wall();
    let seq = bench.post().seq.unwrap();
    let journal = bench.app.journal();
    let line = journal.lines.iter().find(|line| line.seq == seq).unwrap();
    assert!(line.received_at >= before.to_string(), "sent at {before}, received at {}", line.received_at);
    bench.check();
}

#[test]
fn nobody_vouches_for_a_record_that_was_never_synced() {
    // What is configured is recorded before all else: with each attempt, until one is synced.
    let detect = "[journal]\ncheckpoint_every = \"1s\"\n[detect]\nRA401 = { speed_kmh = 800 }\n";
    let (shim, mut rng) = (Shim::build(), StdRng::seed_from_u64(seed("never synced")));
    let mut app = TestApp::prepare(shim.under(Settings::new().and(detect)));
    shim.arm(Fault { kinds: WRITE, nth: 1, times: FOR_EVER, error: EIO, half: false });
    app.launch();
    eventually("it was tried for longer than a checkpoint waits", || shim.fired() > 8);
    let checkpoints = std::fs::read_to_string(app.data().join("journal/checkpoints")).unwrap();
    assert_eq!(checkpoints, "");
    shim.disarm();
    eventually("events are taken again", || {
        app.client().send(&Event::new(&mut rng), &app.signer()).unwrap().is_recorded()
    });
    app.stop();
    app.verify();
}

#[test]
fn too_little_free_space_is_refused_before_it_is_gone() {
    let settings = Settings::new().and("[journal]\nmin_free = \"1000TiB\"\n");
    let mut rng = StdRng::seed_from_u64(seed("min_free"));
    let app = TestApp::start(settings);
    let verdict = app.client().send(&Event::new(&mut rng), &app.signer()).unwrap();
    assert_eq!((verdict.status, verdict.retry_after), (503, true), "{verdict:?}");
    assert_eq!(app.metric("refresh_audit_alarm", &[("name", "disk_low")]), Some(1.0));
    assert!(app.journal().seqs_by_id.is_empty());
}
