//! `file`: appends to a file, one record a line, on disk before it says so; closes it by size and age and compresses
//! what is closed.
//!
//! `audit.jsonl` is the open file; a closed one is `audit.jsonl.<UTC instant>`, `….zst` once it is compressed. A crash in
//! the middle of a write leaves a torn last line, which is cut: nothing of it was acknowledged.

use std::{
    fs::{self, File as OpenFile, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use tokio::task;

use super::{Ack, BuildError, Message, Sink, SinkError};
use crate::{
    files,
    units::{ByteSize, Span},
};

mod closed;

use closed::Closed;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The file. Missing directories are made.
    path: PathBuf,
    /// Size at which it is closed and a new one begun.
    #[serde(default = "rotate_size")]
    rotate_size: ByteSize,
    /// Age at which it is closed and a new one begun.
    #[serde(default = "rotate_every")]
    rotate_every: Span,
    /// How many closed files are kept; all where it is not given.
    keep: Option<usize>,
    /// Whether closed files are compressed.
    #[serde(default = "compress")]
    compress: bool,
}

fn rotate_size() -> ByteSize {
    ByteSize::from_mib(256)
}

fn rotate_every() -> Span {
    Span::from_days(1)
}

fn compress() -> bool {
    true
}

/// Read at a time when the end of the last whole line is looked for.
const TAIL_BYTES: u64 = 64 << 10;

impl Config {
    /// The file, as it is written in the configuration.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Builds it; nothing is opened before the first record.
    pub fn build(&self, base: &Path) -> Result<File, BuildError> {
        let path = base.join(&self.path);
        if path.file_name().is_none() || path.is_dir() {
            return Err(BuildError(format!("path {} is a directory: name a file in it", path.display())));
        }
        if self.rotate_size.is_empty() || self.rotate_every.get().is_zero() {
            return Err(BuildError("rotate_size and rotate_every must be more than zero".to_owned()));
        }
        if self.keep == Some(0) {
            return Err(BuildError("keep must be at least 1; leave it out to keep every closed file".to_owned()));
        }
        let closed = Closed::new(path.clone(), self.keep, self.compress);
        let writer = Writer {
            path,
            rotate_size: self.rotate_size.get(),
            rotate_every: self.rotate_every.get(),
            closed: Arc::clone(&closed),
            open: None,
        };
        Ok(File { writer: Arc::new(Mutex::new(writer)), closed })
    }
}

/// See the head of this file.
pub struct File {
    writer: Arc<Mutex<Writer>>,
    closed: Arc<Closed>,
}

struct Writer {
    path: PathBuf,
    rotate_size: u64,
    rotate_every: Duration,
    closed: Arc<Closed>,
    open: Option<Open>,
}

/// Where a batch is.
#[derive(Debug)]
struct Written {
    /// There may be closed files to tidy.
    rotated: bool,
    /// The file's name at that time; a closed one has the instant of its closing behind it.
    name: String,
    from: u64,
    to: u64,
}

struct Open {
    file: OpenFile,
    /// Bytes of whole, synced lines.
    len: u64,
    begun: SystemTime,
}

impl Sink for File {
    /// One file is written by one hand.
    fn one_at_a_time(&self) -> bool {
        true
    }

    /// Whether it could be written. Writes nothing, since a running service may be in the middle of a line, and makes nothing,
    /// since whoever checks may be another user.
    async fn check(&self, _test: &Message) -> Result<(), SinkError> {
        let writer = Arc::clone(&self.writer);
        blocking(move || {
            let path = &writer.lock().unwrap_or_else(PoisonError::into_inner).path;
            files::expect_writable(path).map_err(|error| trouble(path, &error))
        })
        .await
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let mut bytes = Vec::with_capacity(batch.iter().map(|message| message.body.len() + 1).sum());
        for message in batch {
            bytes.extend_from_slice(&message.body);
            bytes.push(b'\n');
        }
        let writer = Arc::clone(&self.writer);
        let written = blocking(move || writer.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes)).await?;
        if written.rotated {
            self.closed.tidy_soon();
        }
        Ok(Ack::new(format!("{} bytes {} to {}", written.name, written.from, written.to)))
    }

    async fn close(&self) {
        self.closed.finish().await;
    }
}

/// File work belongs off the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    let done = task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SinkError::passing(format!("writing was cut short: {error}"))))
}

/// What is wrong, in words an operator can act on. A full disk passes; a path that cannot be written does not.
fn trouble(path: &Path, error: &io::Error) -> SinkError {
    let reason = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => SinkError::fault(reason),
        _ => SinkError::passing(reason),
    }
}

fn create_parent(path: &Path) -> Result<(), SinkError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    files::create_dir(parent).map_err(|error| trouble(path, &error))
}

impl Writer {
    /// Appends and syncs. After a failure nothing of the batch stays.
    fn write(&mut self, bytes: &[u8]) -> Result<Written, SinkError> {
        let opened = self.open()?;
        let rotated = self.rotate(bytes.len() as u64)?;
        let path = self.path.clone();
        let Some(open) = &mut self.open else {
            return Err(SinkError::passing("the file is not open"));
        };
        if let Err(error) = open.append(bytes) {
            // What it holds past its good length is cut when it is opened again: a descriptor that failed is not trusted.
            let _ = open.file.set_len(open.len);
            self.open = None;
            return Err(trouble(&path, &error));
        }
        if !self.current() {
            self.open = None;
            return Err(SinkError::passing(format!("{} was moved or deleted while it was written", path.display())));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = self.open.as_ref().map_or(0, |open| open.len);
        Ok(Written { rotated: opened || rotated, name, from: to - bytes.len() as u64, to })
    }

    /// Opens the file, unless it is open and still the one that the path names. Whether it was opened.
    fn open(&mut self) -> Result<bool, SinkError> {
        if self.current() {
            return Ok(false);
        }
        self.open = None;
        create_parent(&self.path)?;
        let fail = |error: io::Error| trouble(&self.path, &error);
        let new = !self.path.exists();
        let file = files::open_or_make(&self.path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            // A file system without locks: then nobody can tell.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SinkError::fault(format!(
                    "{} is being written by another process or sink: give each a path of its own",
                    self.path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        let len = cut_torn_line(&file).map_err(fail)?;
        if new {
            files::sync_parent(&self.path).map_err(fail)?;
        }
        let created = file.metadata().and_then(|metadata| metadata.created()).ok().filter(|_| len > 0);
        let begun = created.unwrap_or_else(SystemTime::now);
        self.open = Some(Open { file, len, begun });
        Ok(true)
    }

    /// Whether the open file is the one that the path names: records written to a deleted one would be lost.
    fn current(&self) -> bool {
        let Some(open) = &self.open else {
            return false;
        };
        match (open.file.metadata(), fs::metadata(&self.path)) {
            (Ok(ours), Ok(named)) => {
                (ours.dev(), ours.ino(), ours.len()) == (named.dev(), named.ino(), named.len())
                    && ours.len() == open.len
            }
            _ => false,
        }
    }

    /// Closes the file and begins a new one, when it is old or would grow too large. Whether it did.
    fn rotate(&mut self, more: u64) -> Result<bool, SinkError> {
        let due = self.open.as_ref().is_some_and(|open| {
            let age = open.begun.elapsed().unwrap_or_default();
            open.len > 0 && (open.len + more > self.rotate_size || age >= self.rotate_every)
        });
        if due {
            let to = self.closed.name();
            files::rename(&self.path, &to).map_err(|error| trouble(&self.path, &error))?;
            self.open()?;
        }
        Ok(due)
    }
}

impl Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len)?;
        self.file.sync_data()?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

/// Cuts what follows the last line end, for good; the length that is left.
fn cut_torn_line(file: &OpenFile) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut end = len;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(TAIL_BYTES);
        block.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(at) = memchr::memrchr(b'\n', &block) {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len {
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn writer(path: &Path, more: &str) -> Writer {
        let config: Config = toml::from_str(&format!("path = {:?}\n{more}", path.to_str().unwrap())).unwrap();
        let sink = config.build(Path::new("/")).unwrap();
        let Ok(writer) = Arc::try_unwrap(sink.writer) else { panic!("shared") };
        writer.into_inner().unwrap()
    }

    #[test]
    fn a_torn_tail_is_cut_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let long = "x".repeat(3 * 65_536 + 5);
        for (before, after) in [
            ("", "new\n"),
            ("one\ntwo\n", "one\ntwo\nnew\n"),
            ("one\ntw", "one\nnew\n"),
            ("torn", "new\n"),
            (&format!("one\n{long}"), "one\nnew\n"),
            (&long, "new\n"),
        ] {
            fs::write(&path, before).unwrap();
            writer(&path, "").write(b"new\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn a_file_that_is_moved_deleted_or_emptied_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.jsonl");
        let mut writer = writer(&path, "");
        writer.write(b"1\n").unwrap();
        fs::rename(&path, dir.path().join("moved")).unwrap();
        writer.write(b"2\n").unwrap();
        fs::remove_file(&path).unwrap();
        writer.write(b"3\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        fs::write(&path, "").unwrap();
        writer.write(b"4\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
        for (path, mode) in [(path.as_path(), 0o600), (path.parent().unwrap(), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn two_writers_never_share_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let mut one = writer(&path, "");
        one.write(b"1\n").unwrap();
        let error = writer(&path, "").write(b"2\n").unwrap_err();
        assert!(matches!(&error, SinkError::Retry { fault: true, .. }), "{error}");
        drop(one);
        writer(&path, "").write(b"2\n").unwrap();
    }

    #[test]
    fn it_is_closed_by_size_and_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let mut writer = writer(&path, "rotate_size = '6B'\ncompress = false");
        for line in ["1\n", "2\n", "3\n", "4\n"] {
            writer.write(line.as_bytes()).unwrap();
        }
        let closed = || fs::read_dir(dir.path()).unwrap().count() - 1;
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), closed()), ("4\n", 1));
        let open = writer.open.as_mut().unwrap();
        open.begun -= Duration::from_secs(86_400);
        writer.write(b"5\n").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), closed()), ("5\n", 2));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["rotate_size = '0B'", "rotate_every = '0s'", "keep = 0"] {
            let config: Config = toml::from_str(&format!("path = 'a'\n{bad}")).unwrap();
            assert!(config.build(Path::new("/tmp")).is_err(), "{bad}");
        }
        let config: Config = toml::from_str("path = '.'").unwrap();
        assert!(config.build(Path::new("/tmp")).is_err());
        assert!(toml::from_str::<Config>("path = 'a'\nrotat_size = '1B'").is_err());
    }
}
