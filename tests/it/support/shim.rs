//! Drives `tests/fault/shim.c`, the disk that fails on demand: builds it, starts the service with it, arms it.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use super::{app::Settings, journal};

/// Calls that write to a segment.
pub const WRITE: i64 = 1;
/// `fdatasync` and `fsync` of a segment.
pub const SYNC: i64 = 2;
/// `ftruncate` of a segment.
pub const TRUNCATE: i64 = 4;
/// errno "No space left on device".
pub const ENOSPC: i64 = 28;
/// errno "Input/output error".
pub const EIO: i64 = 5;

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// [`WRITE`] | [`SYNC`] | [`TRUNCATE`].
    pub kinds: i64,
    /// The first such call that fails, from 1.
    pub nth: i64,
    /// How many fail.
    pub times: i64,
    /// errno.
    pub error: i64,
    /// The first of them writes half of its bytes instead.
    pub half: bool,
}

/// The 8-byte words of the shared file, in the order of `struct control`.
#[derive(Clone, Copy)]
enum Word {
    Kinds,
    Nth,
    Times,
    Error,
    Half,
    DelayMs,
    Counted,
    Fired,
    Writes,
    Syncs,
    SyncedSegment,
    SyncedBytes,
    Hang,
}

/// One shim and its control file.
pub struct Shim {
    dir: TempDir,
    control: File,
}

impl Shim {
    /// Builds it with the C compiler that the crate needs anyway.
    pub fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = File::options().read(true).write(true).create_new(true).open(dir.path().join("control")).unwrap();
        control.set_len(8 * (Word::Hang as u64 + 1)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault/shim.c");
        let mut compile = Command::new("cc");
        compile.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(dir.path().join("shim.so"));
        let output = compile.arg(source).arg("-ldl").output().unwrap();
        assert!(output.status.success(), "cc: {output:?}");
        Self { dir, control }
    }

    /// The environment that puts it before the service's disk.
    pub fn env(&self) -> [(&'static str, String); 2] {
        let path = |name| self.dir.path().join(name).to_str().unwrap().to_owned();
        [("LD_PRELOAD", path("shim.so")), ("FAULT_CONTROL", path("control"))]
    }

    /// Settings with it.
    pub fn under(&self, settings: Settings) -> Settings {
        self.env().iter().fold(settings, |settings, (name, value)| settings.env(name, value))
    }

    fn set(&self, word: Word, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), 8 * word as u64).unwrap();
    }

    fn get(&self, word: Word) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, 8 * word as u64).unwrap();
        i64::from_ne_bytes(bytes)
    }

    /// From now on.
    pub fn arm(&self, fault: Fault) {
        self.disarm();
        for (word, value) in [
            (Word::Nth, fault.nth),
            (Word::Times, fault.times),
            (Word::Error, fault.error),
            (Word::Half, fault.half.into()),
            (Word::Counted, 0),
            (Word::Fired, 0),
            (Word::Kinds, fault.kinds),
        ] {
            self.set(word, value);
        }
    }

    /// The disk is well again.
    pub fn disarm(&self) {
        self.set(Word::Kinds, 0);
    }

    /// Every sync takes this much longer.
    pub fn delay_syncs(&self, millis: i64) {
        self.set(Word::DelayMs, millis);
    }

    /// Calls on the index's files wait, or go on.
    pub fn hang_index(&self, hang: bool) {
        self.set(Word::Hang, i64::from(hang));
    }

    /// Calls on the files of detection's state that is not in memory wait, or go on.
    pub fn hang_spilled(&self, hang: bool) {
        self.set(Word::Hang, 2 * i64::from(hang));
    }

    /// Calls failed since it was armed.
    pub fn fired(&self) -> i64 {
        self.get(Word::Fired)
    }

    /// All writes and successful syncs of segments: neither is 0 for a service that goes through this shim.
    pub fn calls(&self) -> (i64, i64) {
        (self.get(Word::Writes), self.get(Word::Syncs))
    }

    /// Takes from a killed service's journal what was never synced, as the worst power loss would.
    pub fn lose_power(&self, data_dir: &Path) {
        let (first, bytes) = (self.get(Word::SyncedSegment), self.get(Word::SyncedBytes));
        for path in journal::segments(data_dir) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let starts: i64 = name[..20].parse().unwrap();
            if name.ends_with(".jsonl") && starts >= first {
                let keep = if starts == first { u64::try_from(bytes).unwrap() } else { 0 };
                let file = File::options().write(true).open(&path).unwrap();
                assert!(fs::metadata(&path).unwrap().len() >= keep, "{name} is shorter than what was synced");
                file.set_len(keep).unwrap();
            }
        }
    }
}
