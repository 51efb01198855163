//! One process at a time on a data directory: an advisory lock on `lock`, which names its holder. Released by the
//! kernel whatever happens to the process.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::files;

/// Held for as long as it lives.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why the data directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is in use by pid {pid}")]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// What the lock file says; `unknown` if it says nothing.
        pid: String,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock {path}: {cause}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl DataLock {
    /// Takes the lock of an existing data directory, or fails at once.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join("lock");
        let fail = |cause| LockError::Io { path: path.clone(), cause };
        let mut file = files::open_or_make(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&mut file).take(20).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(LockError::InUse { path: data_dir.to_owned(), pid });
            }
            Err(std::fs::TryLockError::Error(cause)) => return Err(fail(cause)),
        }
        // The lock is what counts; the pid only helps to find its holder, so a full disk must not stop us here.
        let _ = file.set_len(0);
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataLock::acquire(dir.path()).unwrap();
        let error = DataLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("is in use by pid {}", std::process::id())), "{error}");
        drop(held);
        DataLock::acquire(dir.path()).unwrap();
    }
}
