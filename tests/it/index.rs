//! Proof: an index that hangs or lies broken. Acknowledgements go on, dedupe stays exact, deleting `data/index` loses
//! nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    load::{Book, Load},
    seed,
    shim::Shim,
};

/// Enough that old ids are no longer in memory only.
const EVENTS: usize = 300;

struct Case {
    app: TestApp,
    book: Book,
    rng: StdRng,
}

impl Case {
    /// A service that has recorded some events.
    fn start(name: &str) -> Self {
        Self::with(name, Settings::new())
    }

    fn with(name: &str, settings: Settings) -> Self {
        let app = TestApp::start(settings);
        let mut case = Self { app, book: Book::default(), rng: StdRng::seed_from_u64(seed(name)) };
        case.post(EVENTS);
        case
    }

    fn post(&mut self, count: usize) {
        let mut client = self.app.client();
        for _ in 0..count {
            let event = Event::new(&mut self.rng);
            let verdict = client.send(&event, &self.app.signer()).unwrap();
            assert_eq!(verdict.word, "accepted", "{verdict:?}");
            self.book.enter(vec![(event, Some(verdict))]);
        }
    }

    /// New events are taken, old ones are duplicates of their first seq; nothing is lost or there twice.
    fn check(&mut self) {
        self.post(20);
        self.book.resend_every(&self.app);
        self.book.check(&self.app.journal());
        self.app.verify();
    }

    fn index(&self) -> std::path::PathBuf {
        self.app.path("data/index")
    }
}

/// Every file below a directory.
fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Overwrites every file below `dir` with random bytes of the same length (at least 64).
fn scribble(dir: &Path, rng: &mut StdRng) {
    let mut found = Vec::new();
    files(dir, &mut found);
    assert!(!found.is_empty(), "{} holds no files", dir.display());
    for path in found {
        let len = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap().max(64);
        fs::write(&path, (0..len).map(|_| rng.random()).collect::<Vec<u8>>()).unwrap();
    }
}

#[test]
fn a_deleted_index_loses_nothing() {
    let mut case = Case::start("deleted index");
    case.app.stop();
    fs::remove_dir_all(case.index()).unwrap();
    case.app.launch();
    case.check();
    case.app.kill();
    case.app.launch();
    case.check();
}

#[test]
fn garbage_in_place_of_the_index_is_put_aside() {
    let mut case = Case::start("garbage index");
    case.app.kill();
    let index = case.index();
    scribble(&index, &mut case.rng);
    case.app.launch();
    case.check();
}

#[test]
fn a_file_in_place_of_the_index_is_put_aside() {
    let mut case = Case::start("a file for an index");
    case.app.stop();
    fs::remove_dir_all(case.index()).unwrap();
    fs::write(case.index(), b"not an index").unwrap();
    case.app.launch();
    case.check();
}

#[test]
fn an_index_cut_short_is_put_aside() {
    let mut case = Case::start("short index");
    case.app.kill();
    let mut found = Vec::new();
    files(&case.index(), &mut found);
    for path in found {
        let len = fs::metadata(&path).unwrap().len();
        fs::File::options().write(true).open(&path).unwrap().set_len(len / 3).unwrap();
    }
    case.app.launch();
    case.check();
}

#[test]
fn an_index_that_breaks_while_in_use_holds_up_nothing() {
    let mut case = Case::start("index breaks in use");
    let index = case.index();
    scribble(&index, &mut case.rng);
    case.check();
    fs::remove_dir_all(&index).unwrap();
    fs::write(&index, b"not an index").unwrap();
    case.check();
    case.app.kill();
    case.app.launch();
    case.check();
    eventually("an index is there again", || index.is_dir());
}

#[test]
fn an_index_that_hangs_from_the_start_holds_up_nothing() {
    let shim = Shim::build();
    let mut case = Case::with("hanging index", shim.under(Settings::new()));
    case.app.stop();
    shim.hang_index(true);
    case.app.launch();
    case.check();
    case.app.stop();
    case.app.launch();
    case.check();
    shim.hang_index(false);
    case.check();
}

#[test]
fn an_index_that_begins_to_hang_holds_up_nothing() {
    let shim = Shim::build();
    let mut case = Case::with("index begins to hang", shim.under(Settings::new()));
    shim.hang_index(true);
    case.check();
    let load = Load::start(case.app.listen, &case.app.signer(), 8, case.rng.random());
    eventually("much is recorded meanwhile", || load.recorded() > 2_000);
    case.book.enter(load.end());
    case.book.resend(&case.app, 200, &mut case.rng);
    case.app.kill();
    case.app.launch();
    case.check();
}

#[test]
fn an_index_that_catches_up_under_load_is_not_given_up() {
    let mut case = Case::start("busy index");
    let load = Load::start(case.app.listen, &case.app.signer(), 8, case.rng.random());
    eventually("there is much to catch up with", || load.recorded() > 3_000);
    case.book.enter(load.end());
    case.app.stop();
    fs::remove_dir_all(case.index()).unwrap();
    case.app.launch();
    let load = Load::start(case.app.listen, &case.app.signer(), 8, case.rng.random());
    eventually("news comes while it catches up", || load.recorded() > 500);
    case.book.enter(load.end());
    // An index is given up after 5 s without an answer; this one has nothing left to answer.
    let until = Instant::now() + Duration::from_secs(7);
    while Instant::now() < until {
        assert_eq!(case.app.metric("refresh_audit_alarm", &[("name", "index_abandoned")]), Some(0.0));
        std::thread::sleep(Duration::from_millis(200));
    }
    case.check();
}
