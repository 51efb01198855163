//! One file whose content is in use: read at start, looked at every few seconds, and swapped as a whole once it has
//! changed and can be read. What was read before stays in use until then.
//!
//! The file is read into memory, never mapped: who truncates a mapped file ends the process with SIGBUS.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use crate::files::Stamp;

/// A file that changed and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its path.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// How a file's content is understood.
type Parse<T> = fn(Vec<u8>) -> Result<T, String>;

/// A file and what was last read from it.
pub(super) struct Watched<T> {
    path: PathBuf,
    name: String,
    bytes_max: u64,
    parse: Parse<T>,
    current: ArcSwap<T>,
    seen: Mutex<Seen>,
}

/// What was found at the path: a file, or why there is none.
type Found = Result<Stamp, String>;

struct Seen {
    /// What `current` or `trouble` comes from.
    judged: Found,
    /// What the last look found, where it differs from `judged`.
    changing: Option<Found>,
    trouble: Option<String>,
}

impl<T> Watched<T> {
    /// Reads it for the first time.
    pub(super) fn open(path: &Path, bytes_max: u64, parse: Parse<T>) -> Result<Self, String> {
        let (stamp, content) = read(path, bytes_max, parse)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let seen = Seen { judged: Ok(stamp), changing: None, trouble: None };
        let current = ArcSwap::from_pointee(content);
        Ok(Self { path: path.to_owned(), name, bytes_max, parse, current, seen: Mutex::new(seen) })
    }

    /// Its name without the directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What is in use.
    pub(super) fn current(&self) -> arc_swap::Guard<Arc<T>> {
        self.current.load()
    }

    /// Reads it again if it has changed and is not being written any more. Returns why what is in use is not what the
    /// path holds, if so.
    pub(super) fn refresh(&self) -> Option<Stale> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let found = look(&self.path);
        if found == seen.judged {
            seen.changing = None;
        } else if seen.changing.as_ref() == Some(&found) {
            seen.trouble = match read(&self.path, self.bytes_max, self.parse) {
                Ok((_, content)) => {
                    self.current.store(Arc::new(content));
                    None
                }
                Err(reason) => Some(reason),
            };
            seen.judged = found;
            seen.changing = None;
        } else {
            seen.changing = Some(found);
        }
        seen.trouble.clone().map(|reason| Stale { file: self.path.clone(), reason })
    }
}

fn look(path: &Path) -> Found {
    let about = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    // Opening a pipe would wait for its other end.
    if about.is_file() { Ok(Stamp::of(&about)) } else { Err("is not a file".to_owned()) }
}

fn read<T>(path: &Path, bytes_max: u64, parse: Parse<T>) -> Result<(Stamp, T), String> {
    let stamp = look(path)?;
    let too_large = || format!("is larger than {} MiB", bytes_max >> 20);
    if stamp.len > bytes_max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.len).unwrap_or(0));
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok((stamp, parse(bytes)?))
}
