//! Files that must survive a crash and that only we may read: directories 0700, files 0600, replaced whole, their
//! directory synced after every creation, renaming and deletion. Blocking. Knows no other part.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// zstd level for files of records. Half of a record is hashes and ids, which no level makes smaller: of 68 MB, level 1
/// leaves 9.1 MB in 0.10 s, level 3 10.4 MB in 0.22 s, level 6 10.9 MB in 0.55 s.
pub const ZSTD_LEVEL: i32 = 1;

/// Lets the process have as many descriptors open as the system allows it, and leave no core behind: its memory holds keys and
/// the tokens of the bodies that are being read.
pub fn set_limits() {
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let core = getrlimit(Resource::Core);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), ..core }) {
        tracing::warn!(%error, "a crash may leave a core with tokens and keys in it");
    }
}

/// Options that make new files readable to us only.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Creates a directory and those above it that are missing, each 0700 and durable.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !named(dir).is_dir()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !dir.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            _ => sync_parent(dir)?,
        }
    }
    Ok(())
}

/// Puts `bytes` in the file's place at once: a crash leaves the old content or the new. The directory is synced only
/// when the file is new; an old content that comes back after a power loss must do no harm to the caller.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = private().write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    let new = !path.exists();
    fs::rename(&temporary, path)?;
    if new { sync_parent(path) } else { Ok(()) }
}

/// Renames for good.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_parent(to)
}

/// An error of the system with the path that it is about, which the system leaves out.
pub fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Where a file is written before it takes its place.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Makes creations, renames and deletions beside `path` durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(named(path.parent().unwrap_or(Path::new("."))))?.sync_all()
}

/// The parent of a bare name is the working directory.
fn named(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_ours_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        create_dir(&dir).unwrap();
        create_dir(&dir).unwrap();
        let file = dir.join("f");
        replace(&file, b"one").unwrap();
        replace(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert!(!temporary(&file).exists());
        for (path, mode) in [(root.path().join("a"), 0o700), (dir, 0o700), (file, 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }
}
