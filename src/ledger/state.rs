//! Durable copies of what detection remembers, under `state/`: hashed, the newest two kept. Derived: with neither, it is
//! learned again from the journal.
//!
//! A copy is one line of JSON that says what it is, a zstd frame, and the SHA-256 of both.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::segment::sync_dir;
use crate::{
    detect::judge::{Memory, STATE_FORMAT},
    files,
    record::Seq,
};

/// Copies kept: the one before the newest stands in where that is damaged.
const KEPT: usize = 2;
/// zstd level: most of it is keys and fingerprints, which nothing compresses.
const ZSTD_LEVEL: i32 = 1;
/// Bytes of the head line at most.
const HEAD_BYTES_MAX: usize = 1_024;

/// The first line of a copy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    format: String,
    journal: String,
    seq: Seq,
}

fn format_name() -> String {
    format!("refresh-audit state/{STATE_FORMAT} {}", env!("CARGO_PKG_VERSION"))
}

fn path_of(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(format!("detect-{seq:020}.state"))
}

/// Writes a copy of what was known after `seq`, and forgets all but the newest two.
pub fn save(dir: &Path, journal: &str, seq: Seq, memory: &Memory) -> io::Result<()> {
    let path = path_of(dir, seq);
    let temporary = files::temporary(&path);
    let file = files::private().write(true).create(true).truncate(true).open(&temporary)?;
    let mut hashing = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new() };
    let head = Head { format: format_name(), journal: journal.to_owned(), seq };
    serde_json::to_writer(&mut hashing, &head)?;
    hashing.write_all(b"\n")?;
    let encoder = zstd::Encoder::new(&mut hashing, ZSTD_LEVEL)?;
    let encoder = postcard::to_io(memory, encoder).map_err(io::Error::other)?;
    encoder.finish()?;
    let digest = hashing.hash.finalize();
    let mut file = hashing.inner;
    file.write_all(&digest)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    sync_dir(dir)?;
    for (old, _) in list(dir)?.into_iter().rev().skip(KEPT) {
        fs::remove_file(old)?;
    }
    Ok(())
}

/// The newest copy in a data directory that can be trusted and is not from after `last`: for whoever asks from outside.
pub fn remembered(data_dir: &Path, journal: &str, last: Seq) -> Option<(Seq, Memory)> {
    load(&data_dir.join("state"), journal, last)
}

/// The newest copy that can be trusted and is not from after `last`.
pub fn load(dir: &Path, journal: &str, last: Seq) -> Option<(Seq, Memory)> {
    let copies = list(dir).unwrap_or_default();
    copies.into_iter().rev().filter(|(_, seq)| *seq <= last).find_map(|(path, seq)| {
        let loaded = read(&path, journal, seq);
        if let Err(error) = &loaded {
            tracing::warn!(%error, file = %path.display(), "a copy of detection's state cannot be used");
        }
        loaded.ok().map(|memory| (seq, memory))
    })
}

/// The seq of the newest copy of this journal, whether or not it can be used.
pub fn newest(dir: &Path, journal: &str) -> Option<Seq> {
    let is_of = |path: &Path| {
        let mut line = Vec::new();
        let file = File::open(path).map(|file| BufReader::new(file.take(HEAD_BYTES_MAX as u64)));
        file.and_then(|mut file| io::BufRead::read_until(&mut file, b'\n', &mut line)).is_ok()
            && serde_json::from_slice::<Head>(&line).is_ok_and(|head| head.journal == journal)
    };
    let copies = list(dir).unwrap_or_default();
    copies.into_iter().rev().find(|(path, _)| is_of(path)).map(|(_, seq)| seq)
}

/// Deletes the copies from after `last`, which the journal does not have any more, or never had: they would be taken for the
/// newest.
pub fn forget_after(dir: &Path, last: Seq) -> io::Result<()> {
    let copies = if dir.exists() { list(dir)? } else { Vec::new() };
    for (path, _) in copies.into_iter().filter(|(_, seq)| *seq > last) {
        fs::remove_file(path)?;
        sync_dir(dir)?;
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

fn read(path: &Path, journal: &str, seq: Seq) -> io::Result<Memory> {
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
    let mut line = Vec::new();
    io::BufRead::read_until(&mut (&mut file).take(HEAD_BYTES_MAX as u64), b'\n', &mut line)?;
    let head: Head = serde_json::from_slice(&line)?;
    if head != (Head { format: format_name(), journal: journal.to_owned(), seq }) {
        return Err(wrong("it is of another version or journal"));
    }
    let mut scratch = vec![0; 64 << 10];
    let decoder = BufReader::with_capacity(1 << 20, zstd::Decoder::with_buffer(file)?);
    let (memory, _) = postcard::from_io((decoder, &mut scratch[..])).map_err(io::Error::other)?;
    Ok(memory)
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
    fn the_newest_good_copy_counts_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for seq in [10, 20, 30] {
            let mut memory = Memory::default();
            memory.state.events = seq;
            save(dir.path(), "3f9a1c2e", seq, &memory).unwrap();
        }
        assert_eq!(list(dir.path()).unwrap().len(), 2);
        let found = |last| load(dir.path(), "3f9a1c2e", last).map(|(seq, memory)| (seq, memory.state.events));
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
