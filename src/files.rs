//! Files that must survive a crash and that only we may read: directories 0700, files 0600, replaced whole, their
//! directory synced after every creation, renaming and deletion. Blocking. Knows no other part.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit};

/// zstd level for files of records. Half of a record is hashes and ids, which no level makes smaller: of 68 MB, level 1
/// leaves 9.1 MB in 0.10 s, level 3 10.4 MB in 0.22 s, level 6 10.9 MB in 0.55 s.
pub const ZSTD_LEVEL: i32 = 1;

/// Lets the process have as many descriptors open as the system allows it, and leave no core behind: its memory holds keys and
/// the tokens of the bodies that are being read. What else runs as the same user cannot look into that memory either, nor
/// at the environment, which may hold secrets.
pub fn set_limits() {
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let core = getrlimit(Resource::Core);
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), ..core }) {
        tracing::warn!(%error, "a crash may leave a core with tokens and keys in it");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read the memory of this one");
    }
}

/// Opens a file for reading and writing; makes it where there is none.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    match make(path) {
        // Somebody else was quicker, or it is a link to what is not there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path),
        made => made,
    }
}

/// The same, empty whatever was in it.
pub fn make_anew(path: &Path) -> io::Result<File> {
    let file = open_or_make(path)?;
    file.set_len(0)?;
    Ok(file)
}

/// Makes a file that is not there, for reading and writing.
pub fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().mode(0o600).read(true).write(true).create_new(true).open(path)?;
    give(&file, path);
    Ok(file)
}

/// What root makes in somebody's directory is for that one: a service that root helps along must be able to go on with it.
/// Only for what is new. Where root may not give, it stays root's.
fn give(made: &File, path: &Path) {
    let directory = named(path.parent().unwrap_or(Path::new(".")));
    if let Ok(about) = fs::metadata(directory)
        && geteuid().is_root()
        && about.uid() != 0
    {
        let _ = fchown(made, Some(about.uid()), Some(about.gid()));
    }
}

/// Creates a directory and those above it that are missing, each 0700 and durable.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !named(dir).is_dir()).collect();
    for dir in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !dir.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Err(_) => sync_parent(dir)?,
            Ok(()) => {
                give(&File::open(dir)?, dir);
                sync_parent(dir)?;
            }
        }
    }
    Ok(())
}

/// Puts `bytes` in the file's place at once: a crash leaves the old content or the new. The directory is synced only
/// when the file is new; an old content that comes back after a power loss must do no harm to the caller.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = make_anew(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    let new = !path.exists();
    fs::rename(&temporary, path)?;
    if new { sync_parent(path) } else { Ok(()) }
}

/// Whether this process could write a file, or make it and the directories above it that are missing. Leaves nothing behind:
/// what it tries with is gone again.
pub fn expect_writable(path: &Path) -> io::Result<()> {
    if path.is_file() {
        return OpenOptions::new().append(true).open(path).map(drop);
    }
    let directory = path.ancestors().skip(1).map(named).find(|directory| directory.exists()).unwrap_or(Path::new("/"));
    if !directory.is_dir() || path.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let trial = directory.join(format!(".refresh-audit-check-{}", std::process::id()));
    make(&trial)?;
    fs::remove_file(&trial)
}

/// Changes whenever a file is written or replaced, also where its times are put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes of it.
    pub len: u64,
    device: u64,
    inode: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// Of the file that this is about.
    pub fn of(about: &fs::Metadata) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            len: about.len(),
            device: about.dev(),
            inode: about.ino(),
            modified_ns: ns(about.mtime(), about.mtime_nsec()),
            changed_ns: ns(about.ctime(), about.ctime_nsec()),
        }
    }
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
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes creations, renames and deletions in a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(named(dir))?.sync_all()
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

    #[test]
    fn what_root_makes_is_the_directorys_owners() {
        let root = tempfile::tempdir().unwrap();
        let is_root = geteuid().is_root();
        // Only root can give; anybody else's are their own.
        let owner = if is_root { 65_534 } else { geteuid().as_raw() };
        let dir = root.path().join("theirs");
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(owner), None).unwrap();
        open_or_make(&dir.join("a")).unwrap();
        replace(&dir.join("b"), b"new").unwrap();
        create_dir(&dir.join("c/d")).unwrap();
        open_or_make(&dir.join("c/d/e")).unwrap();
        for made in ["a", "b", "c", "c/d", "c/d/e"] {
            assert_eq!(fs::metadata(dir.join(made)).unwrap().uid(), owner, "{made}");
        }
        // What was there stays whose it was.
        let before = root.path().join("before");
        fs::write(&before, "").unwrap();
        fs::rename(&before, dir.join("before")).unwrap();
        open_or_make(&dir.join("before")).unwrap();
        assert_eq!(fs::metadata(dir.join("before")).unwrap().uid(), geteuid().as_raw());
    }

    #[test]
    fn nobody_looks_into_the_memory() {
        set_limits();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // Other tests of this process want to look at themselves.
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }

    #[test]
    fn where_it_could_be_written_is_told_without_making_anything() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(expect_writable(&file).is_ok() && expect_writable(&root.path().join("a/b/c")).is_ok());
        assert!(expect_writable(&file.join("below")).is_err() && expect_writable(root.path()).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }
}
