//! A sealed segment's compressed form takes the place of the plain one.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::Path,
    thread,
    time::Duration,
};

use super::segment::{Segment, compressed_path, plain_path};
use crate::files;

/// Bytes read at a time while compressing: a tenth of a millisecond's work.
const COPY_BYTES: usize = 64 << 10;
/// Leaves the core to others before each of these. Whoever wakes while work goes on has to wait for its slice of time,
/// however low its priority, and on few cores that is what the slowest answers wait for.
const BREATH: Duration = Duration::from_micros(100);

/// Takes a breath before each read, and lets somebody else do something.
struct Unhurried<'a, R> {
    from: R,
    meanwhile: &'a mut dyn FnMut(),
}

impl<R: Read> Read for Unhurried<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(BREATH);
        (self.meanwhile)();
        self.from.read(buffer)
    }
}

/// Replaces a plain segment by its compressed form. On a busy machine that takes seconds: `meanwhile` is called a thousand times.
pub(super) fn compress(dir: &Path, segment: &Segment, meanwhile: &mut dyn FnMut()) -> io::Result<()> {
    let temporary = dir.join(format!("{:020}.tmp", segment.first));
    if let Err(error) = write_compressed(segment, &temporary, meanwhile) {
        // Half of it only takes the room that may be wanting.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, compressed_path(dir, segment.first))?;
    files::sync_dir(dir)?;
    fs::remove_file(plain_path(dir, segment.first))?;
    files::sync_dir(dir)
}

/// Writes the compressed form, and reads it back.
fn write_compressed(segment: &Segment, to: &Path, meanwhile: &mut dyn FnMut()) -> io::Result<()> {
    let plain = Unhurried { from: File::open(&segment.path)?, meanwhile };
    let mut source = BufReader::with_capacity(COPY_BYTES, plain);
    let target = files::make_anew(to)?;
    let mut encoder = zstd::Encoder::new(target, files::ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let plain_bytes = io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;

    // Reading it back checks the frame's checksum over the plain content.
    let Unhurried { meanwhile, .. } = source.into_inner();
    let back = io::copy(&mut zstd::Decoder::new(Unhurried { from: File::open(to)?, meanwhile })?, &mut io::sink());
    if !back.is_ok_and(|bytes| bytes == plain_bytes) {
        return Err(io::Error::other("a compressed segment does not read back as it was; the plain one is kept"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::segment;

    #[test]
    fn others_are_let_in_all_the_while() {
        let dir = tempfile::tempdir().unwrap();
        let lines = "{}\n".repeat(20 * COPY_BYTES / 3);
        fs::write(plain_path(dir.path(), 1), &lines).unwrap();
        let segment = segment::list(dir.path()).unwrap().remove(0);
        let mut calls = 0;
        compress(dir.path(), &segment, &mut || calls += 1).unwrap();
        // Once a read of 64 KiB, the last of which finds the end; and while it is read back.
        assert!(calls > 21, "{calls}");
        let compressed = File::open(compressed_path(dir.path(), 1)).unwrap();
        assert_eq!(zstd::decode_all(compressed).unwrap(), lines.as_bytes());
        assert!(!plain_path(dir.path(), 1).exists());
    }
}
