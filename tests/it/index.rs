//! Proof: an index that lies broken. Acknowledgements go on, dedupe stays exact, deleting `data/index` loses nothing.
//! (An index that hangs is proved inside the crate, with a stub that never answers.)

use std::{fs, path::Path};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    load::Book,
    seed,
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
        let app = TestApp::start(Settings::new());
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
