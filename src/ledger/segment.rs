//! The journal's files: `<first seq, 20 digits>.jsonl`, sealed ones `.jsonl.zst`. Names, listing, opening, durable
//! renames. Knows nothing of what is in a line.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{files, record::Seq};

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// Seq of its first line.
    pub first: Seq,
    /// Whether it is sealed and compressed.
    pub compressed: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// `journal/` under a data directory.
pub fn journal_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

/// The path of the plain segment that starts at `first`.
pub fn plain_path(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}

/// The path of the compressed segment that starts at `first`.
pub fn compressed_path(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{first:020}.jsonl.zst"))
}

/// All segments in order. Where both forms of one exist (a crash between rename and delete), the compressed one counts:
/// it was synced before it got its name.
pub fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| files::at(dir, error))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let (stem, compressed) = match (name.strip_suffix(".jsonl"), name.strip_suffix(".jsonl.zst")) {
            (Some(stem), _) => (stem, false),
            (_, Some(stem)) => (stem, true),
            _ => continue,
        };
        if stem.len() != 20 || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        if let Ok(first) = stem.parse() {
            segments.push(Segment { first, compressed, path });
        }
    }
    segments.sort_by_key(|segment| (segment.first, !segment.compressed));
    segments.dedup_by_key(|segment| segment.first);
    Ok(segments)
}

impl Segment {
    /// Its bytes, decompressed where need be.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let (file, compressed) = self.file()?;
        Ok(if compressed { Box::new(zstd::Decoder::new(file)?) } else { Box::new(BufReader::new(file)) })
    }

    /// Its file, and whether that is compressed. One that was compressed since it was listed is found all the same.
    pub fn file(&self) -> io::Result<(File, bool)> {
        let named = |path: &Path, compressed| match File::open(path) {
            Ok(file) => Ok((file, compressed)),
            Err(error) => Err(files::at(path, error)),
        };
        match named(&self.path, self.compressed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.compressed => {
                named(&compressed_path(self.path.parent().unwrap_or(Path::new(".")), self.first), true)
            }
            found => found,
        }
    }
}

/// Where the open segment begins, as its writer says. A file behind a segment does not make it a sealed one: where that file
/// was begun and could not be made durable, it is taken back, and the segment before it is written to again.
#[derive(Clone, Default)]
pub struct OpenFrom(Arc<AtomicU64>);

impl OpenFrom {
    /// The open segment begins with this seq.
    pub fn begins(&self, first: Seq) {
        self.0.store(first, Ordering::Release);
    }

    /// Whether nothing will be written to a segment any more.
    pub fn is_behind(&self, segment: &Segment) -> bool {
        segment.first < self.0.load(Ordering::Acquire)
    }
}
