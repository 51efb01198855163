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
/// Takes a breath before each read.
struct Unhurried<R>(R);

impl<R: Read> Read for Unhurried<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(BREATH);
        self.0.read(buffer)
    }
}

/// Replaces a plain segment by its compressed form.
pub(super) fn compress(dir: &Path, segment: &Segment) -> io::Result<()> {
    let temporary = dir.join(format!("{:020}.tmp", segment.first));
    if let Err(error) = write_compressed(segment, &temporary) {
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
fn write_compressed(segment: &Segment, to: &Path) -> io::Result<()> {
    let mut source = BufReader::with_capacity(COPY_BYTES, Unhurried(File::open(&segment.path)?));
    let target = files::make_anew(to)?;
    let mut encoder = zstd::Encoder::new(target, files::ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let plain_bytes = io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;

    // Reading it back checks the frame's checksum over the plain content.
    let back = io::copy(&mut zstd::Decoder::new(Unhurried(File::open(to)?))?, &mut io::sink());
    if !back.is_ok_and(|bytes| bytes == plain_bytes) {
        return Err(io::Error::other("a compressed segment does not read back as it was; the plain one is kept"));
    }
    Ok(())
}
