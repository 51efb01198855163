//! Durable copies of what detection remembers, under `state/`: hashed, the newest two kept. Derived: with neither, it is
//! learned again from the journal.
//!
//! A copy is one line of JSON that says what it is, a zstd frame, and the SHA-256 of both.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    read::LINE_BYTES_MAX,
    spill::{self, Needed},
};
use crate::{
    detect::judge::{Memory, STATE_FORMAT},
    files,
    record::Seq,
};

/// Copies kept: the one before the newest stands in where that is damaged.
const KEPT: usize = 2;
/// zstd level: most of it is keys and fingerprints, which nothing compresses.
const ZSTD_LEVEL: i32 = 1;
/// Bytes of the head line at most: the configuration as it was recorded, in a line, and once more quoted.
const HEAD_BYTES_MAX: usize = 3 * LINE_BYTES_MAX;

/// The first line of a copy.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    journal: String,
    seq: Seq,
    /// The files of [`spill`] that it needs.
    spilled: BTreeSet<u32>,
    /// What was recorded as the configuration, as JSON; here, too, since every later version has to know it.
    #[serde(default)]
    policy: Option<String>,
    /// Whether an operator had stopped the gate; likewise.
    #[serde(default)]
    stopped: bool,
}

/// What detection remembered.
#[derive(Default)]
pub struct Remembered {
    /// After this record.
    pub seq: Seq,
    /// What was in memory, and what was not.
    pub memory: Memory,
    /// The files where that is.
    pub spilled: BTreeSet<u32>,
}

impl Remembered {
    /// Opens what is not in memory, for who changes nothing.
    pub fn borrowed(&self, data_dir: &Path) -> spill::Borrowed {
        spill::Borrowed::new(spill::Store::open(&data_dir.join("state"), &self.spilled, &self.memory.state))
    }
}

fn format_name() -> String {
    format!("refresh-audit state/{STATE_FORMAT} {}", env!("CARGO_PKG_VERSION"))
}

fn path_of(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(format!("detect-{seq:020}.state"))
}

/// Writes a copy of what was known after `seq`, and forgets all but the newest two, and what none of them needs.
pub fn save(dir: &Path, journal: &str, seq: Seq, memory: &Memory, needed: &Needed) -> io::Result<()> {
    for stored in needed.files.values() {
        stored.sync()?;
    }
    let path = path_of(dir, seq);
    let temporary = files::temporary(&path);
    if let Err(error) = write(&temporary, journal, seq, memory, needed) {
        // Half of it only takes the room that may be wanting.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, &path)?;
    files::sync_dir(dir)?;
    for (old, _) in list(dir)?.into_iter().rev().skip(KEPT) {
        fs::remove_file(old)?;
    }
    forget_spilled(dir, needed.newest)
}

/// Removes what a stop left half-written, and files that no copy needs: those of a run that ended before it made one. Before
/// anything is loaded.
pub fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(path)?;
        }
    }
    forget_spilled(dir, u32::MAX)
}

/// Deletes the files up to `newest` that no copy needs.
fn forget_spilled(dir: &Path, newest: u32) -> io::Result<()> {
    let kept: io::Result<Vec<Head>> = list(dir)?.iter().map(|(path, _)| head_of(path)).collect();
    // Of a copy that cannot be read nobody knows what it needs; it is gone after the next ones.
    let Ok(kept) = kept else { return Ok(()) };
    spill::forget(dir, &kept.into_iter().flat_map(|head| head.spilled).collect(), newest)
}

fn write(path: &Path, journal: &str, seq: Seq, memory: &Memory, needed: &Needed) -> io::Result<()> {
    let file = files::make_anew(path)?;
    let mut hashing = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() };
    let spilled = needed.files.keys().copied().collect();
    let (policy, stopped) = (memory.policy.clone(), memory.gate.stopped);
    let head = Head { format: format_name(), journal: journal.to_owned(), seq, spilled, policy, stopped };
    serde_json::to_writer(&mut hashing, &head)?;
    hashing.write_all(b"\n")?;
    let encoder = zstd::Encoder::new(&mut hashing, ZSTD_LEVEL)?;
    let encoder = postcard::to_io(memory, encoder).map_err(io::Error::other)?;
    encoder.finish()?;
    let digest = hashing.hash.finalize();
    let mut file = hashing.inner;
    file.write_all(&digest)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn head_of(path: &Path) -> io::Result<Head> {
    read_head(&mut BufReader::new(File::open(path)?))
}

fn read_head(file: &mut impl io::BufRead) -> io::Result<Head> {
    let mut line = Vec::new();
    io::BufRead::read_until(&mut file.take(HEAD_BYTES_MAX as u64), b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// The newest copy in a data directory that can be trusted and is not from after `last`: for whoever asks from outside.
pub fn remembered(data_dir: &Path, journal: &str, last: Seq) -> Option<Remembered> {
    load(&data_dir.join("state"), journal, last)
}

/// The newest copy that can be trusted and is not from after `last`.
pub fn load(dir: &Path, journal: &str, last: Seq) -> Option<Remembered> {
    let copies = list(dir).unwrap_or_default();
    copies.into_iter().rev().filter(|(_, seq)| *seq <= last).find_map(|(path, seq)| {
        let loaded = read(&path, journal, seq);
        if let Err(error) = &loaded {
            tracing::warn!(%error, file = %path.display(), "a copy of detection's state cannot be used");
        }
        loaded.ok()
    })
}

/// What an operator had decided as of the newest copy that is not from after `last`, whichever version wrote it: the configuration,
/// and whether the gate is stopped.
pub fn decided(dir: &Path, journal: &str, last: Seq) -> Option<Remembered> {
    let copies = list(dir).unwrap_or_default();
    copies.into_iter().rev().filter(|(_, seq)| *seq <= last).find_map(|(path, seq)| {
        let head = head_of(&path).ok().filter(|head| head.journal == journal)?;
        let mut memory = Memory { policy: head.policy, ..Memory::default() };
        memory.gate.stopped = head.stopped;
        Some(Remembered { seq, memory, spilled: BTreeSet::new() })
    })
}

/// The seq of the newest copy of such a journal, whether or not it can be used, and its id.
pub fn newest(dir: &Path, is_of: impl Fn(&str) -> bool) -> Option<(String, Seq)> {
    let copies = list(dir).unwrap_or_default().into_iter().rev();
    let mut heads = copies.filter_map(|(path, seq)| Some((head_of(&path).ok()?.journal, seq)));
    heads.find(|(journal, _)| is_of(journal))
}

/// Deletes the copies from after `last`, which the journal does not have any more, or never had: they would be taken for the
/// newest.
pub fn forget_after(dir: &Path, last: Seq) -> io::Result<()> {
    let copies = if dir.exists() { list(dir)? } else { Vec::new() };
    for (path, _) in copies.into_iter().filter(|(_, seq)| *seq > last) {
        fs::remove_file(path)?;
        files::sync_dir(dir)?;
    }
    Ok(())
}

/// The copies there are, oldest first.
fn list(dir: &Path) -> io::Result<Vec<(PathBuf, Seq)>> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let seq = name.strip_prefix("detect-").and_then(|rest| rest.strip_suffix(".state"));
        if let Some(seq) = seq.and_then(|seq| seq.parse().ok()) {
            copies.push((path, seq));
        }
    }
    copies.sort_unstable_by_key(|(_, seq)| *seq);
    Ok(copies)
}

fn read(path: &Path, journal: &str, seq: Seq) -> io::Result<Remembered> {
    let wrong = |what: &str| io::Error::other(what.to_owned());
    let len = fs::metadata(path)?.len();
    let content = len.checked_sub(32).ok_or_else(|| wrong("it is too short"))?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut hashing = Hashing { inner: io::sink(), hash: Sha256::new() };
    io::copy(&mut (&mut file).take(content), &mut hashing)?;
    let mut stated = [0; 32];
    file.read_exact(&mut stated)?;
    if hashing.hash.finalize()[..] != stated {
        return Err(wrong("its hash is wrong"));
    }
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?.take(content));
    let head = read_head(&mut file)?;
    if (head.format, head.journal.as_str(), head.seq) != (format_name(), journal, seq) {
        return Err(wrong("it is of another version or journal"));
    }
    // The longest text in it is the configuration as it was recorded, in a line. Only what is used of it takes memory.
    let mut scratch = vec![0; LINE_BYTES_MAX];
    let decoder = BufReader::with_capacity(1 << 20, zstd::Decoder::with_buffer(file)?);
    let (memory, _) = postcard::from_io((decoder, &mut scratch[..])).map_err(io::Error::other)?;
    Ok(Remembered { seq, memory, spilled: head.spilled })
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_a_long_configuration_is_read_back() {
        // A thousand suppressions, or as many users that the gate never refuses.
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory { policy: Some("x".repeat(1 << 20)), ..Memory::default() };
        save(dir.path(), "3f9a1c2e", 7, &memory, &Needed::default()).unwrap();
        assert_eq!(load(dir.path(), "3f9a1c2e", 7).unwrap().memory.policy, memory.policy);
    }

    #[test]
    fn what_an_operator_decided_is_known_to_every_version() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory { policy: Some("{\"long\": true}".repeat(70_000)), ..Memory::default() };
        memory.gate.stopped = true;
        save(dir.path(), "3f9a1c2e", 7, &memory, &Needed::default()).unwrap();
        // A copy of another version, whose rest nobody can read.
        let path = path_of(dir.path(), 7);
        let bytes = fs::read(&path).unwrap();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().replace("state/", "state/9");
        fs::write(&path, format!("{head}\nsomething else")).unwrap();
        assert!(load(dir.path(), "3f9a1c2e", 99).is_none());
        let known = decided(dir.path(), "3f9a1c2e", 99).unwrap();
        assert_eq!((known.seq, known.memory.gate.stopped, known.memory.policy), (7, true, memory.policy));
        assert!(decided(dir.path(), "3f9a1c2e", 6).is_none() && decided(dir.path(), "00000000", 99).is_none());
    }

    #[test]
    fn what_a_stop_left_is_swept_away() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), "3f9a1c2e", 7, &Memory::default(), &Needed::default()).unwrap();
        let kept = path_of(dir.path(), 7);
        for name in ["detect-00000000000000000009.state.tmp", "spill-0000000003", "spill-0000000004"] {
            fs::write(dir.path().join(name), b"left").unwrap();
        }
        sweep(dir.path()).unwrap();
        let left: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&kept));
        // Where a copy cannot be read it may need any of them.
        fs::write(kept, b"damaged").unwrap();
        fs::write(dir.path().join("spill-0000000003"), b"left").unwrap();
        sweep(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn the_newest_good_copy_counts_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for seq in [10, 20, 30] {
            let mut memory = Memory::default();
            memory.state.events = seq;
            save(dir.path(), "3f9a1c2e", seq, &memory, &Needed::default()).unwrap();
        }
        assert_eq!(list(dir.path()).unwrap().len(), 2);
        let found = |last| load(dir.path(), "3f9a1c2e", last).map(|known| (known.seq, known.memory.state.events));
        assert_eq!((found(99), found(29), found(19)), (Some((30, 30)), Some((20, 20)), None));
        assert!(load(dir.path(), "00000000", 99).is_none());
        // Any changed byte makes the one before count.
        let path = path_of(dir.path(), 30);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(found(99), Some((20, 20)), "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(found(99), Some((20, 20)));
    }
}
