//! The closed files of a `file` sink: their names, their compression, how many are kept. Every step can be cut off by a
//! crash and is taken up again at the next start.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::task::{self, JoinHandle};

use crate::{files, time::ReceivedAt};

/// Digits and letters of `20261122T064000123456Z`.
const STAMP_LEN: usize = 22;

/// See the head of this file.
pub(super) struct Closed {
    /// The open file.
    path: PathBuf,
    keep: Option<usize>,
    compress: bool,
    wanted: AtomicBool,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Closed {
    pub(super) fn new(path: PathBuf, keep: Option<usize>, compress: bool) -> Arc<Self> {
        Arc::new(Self { path, keep, compress, wanted: AtomicBool::new(false), running: Mutex::default() })
    }

    /// A name for a file that is closed now; later ones sort after earlier ones.
    pub(super) fn name(&self) -> PathBuf {
        let mut at = ReceivedAt::wall();
        loop {
            let stamp: String = at.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
            let path = self.beside(&format!(".{stamp}"));
            if !path.exists() && !self.beside(&format!(".{stamp}.zst")).exists() {
                return path;
            }
            at = ReceivedAt::from_micros(at.micros() + 1);
        }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// Tidies in the background, unless that is under way; then it is done once more after it.
    pub(super) fn tidy_soon(self: &Arc<Self>) {
        self.wanted.store(true, Ordering::SeqCst);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(JoinHandle::is_finished) {
            let this = Arc::clone(self);
            *running = Some(task::spawn_blocking(move || this.run()));
        }
    }

    /// Waits until everything is tidied.
    pub(super) async fn finish(self: &Arc<Self>) {
        loop {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(running) = running
                && let Err(error) = running.await
            {
                tracing::error!(%error, path = %self.path.display(), "compressing closed files was cut short");
            }
            if !self.wanted.load(Ordering::SeqCst) {
                return;
            }
            self.tidy_soon();
        }
    }

    fn run(&self) {
        while self.wanted.swap(false, Ordering::SeqCst) {
            if let Err(error) = self.tidy() {
                // They stay as they are, whole; the next closing or start tries again.
                tracing::warn!(%error, path = %self.path.display(), "closed files cannot be compressed or deleted");
            }
        }
    }

    fn tidy(&self) -> io::Result<()> {
        let closed = self.list()?;
        // What a crash left in both forms is one.
        let mut names: Vec<PathBuf> = closed.iter().map(|path| plain(path)).collect();
        names.dedup();
        let surplus = self.keep.map_or(0, |keep| names.len().saturating_sub(keep));
        let first_kept = names.get(surplus);
        let (kept, gone): (Vec<&PathBuf>, Vec<&PathBuf>) =
            closed.iter().partition(|path| first_kept.is_some_and(|first| plain(path) >= *first));
        // Before compressing, which takes room; and no file holds up the others.
        let mut done: Vec<io::Result<()>> = gone.iter().map(fs::remove_file).collect();
        if surplus > 0 {
            done.push(files::sync_parent(&self.path));
        }
        let open = kept.into_iter().filter(|path| self.compress && !is_compressed(path));
        done.extend(open.map(|path| compress(path)));
        done.into_iter().collect()
    }

    /// All of them, oldest first.
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let own = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut closed = Vec::new();
        for entry in fs::read_dir(parent)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stamp = name.strip_prefix(&*own).and_then(|rest| rest.strip_prefix('.'));
            if stamp.is_some_and(|stamp| is_stamp(stamp.strip_suffix(".zst").unwrap_or(stamp))) {
                closed.push(path);
            }
        }
        closed.sort();
        Ok(closed)
    }
}

fn is_stamp(text: &str) -> bool {
    text.len() == STAMP_LEN
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            21 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// Its name before it was compressed.
fn plain(path: &Path) -> PathBuf {
    if is_compressed(path) { path.with_extension("") } else { path.to_owned() }
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

/// The compressed file is whole and on disk under its name before the plain one goes.
fn compress(path: &Path) -> io::Result<()> {
    let mut to = path.as_os_str().to_owned();
    to.push(".zst");
    let to = PathBuf::from(to);
    let temporary = files::temporary(&to);
    let written = write_compressed(path, &temporary).and_then(|()| files::rename(&temporary, &to));
    if let Err(error) = written {
        // Not to fill a disk that may be full already.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::remove_file(path)?;
    files::sync_parent(path)
}

fn write_compressed(from: &Path, to: &Path) -> io::Result<()> {
    let out = files::make_anew(to)?;
    let mut encoder = zstd::Encoder::new(out, files::ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_crash_left_is_compressed_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = |day: u32| format!("202611{day:02}T064000123456Z");
        for day in 1..=4 {
            fs::write(dir.path().join(format!("a.jsonl.{}", stamp(day))), format!("{day}\n")).unwrap();
        }
        // Cut off between renaming the compressed file and deleting the plain one, and while compressing.
        fs::write(dir.path().join(format!("a.jsonl.{}.zst", stamp(3))), "old").unwrap();
        fs::write(dir.path().join(format!("a.jsonl.{}.zst.tmp", stamp(4))), "torn").unwrap();
        for other in ["a.jsonl", "a.jsonl.bak", "b.jsonl.20261101T064000123456Z"] {
            fs::write(dir.path().join(other), "mine").unwrap();
        }
        Closed::new(dir.path().join("a.jsonl"), Some(2), true).tidy().unwrap();
        let kept = |day| format!("a.jsonl.{}.zst", stamp(day));
        let mut expected =
            ["a.jsonl".into(), "a.jsonl.bak".into(), kept(3), kept(4), "b.jsonl.20261101T064000123456Z".into()];
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        let bytes = fs::read(dir.path().join(kept(3))).unwrap();
        assert_eq!(zstd::decode_all(&*bytes).unwrap(), b"3\n");
    }

    #[test]
    fn what_cannot_be_compressed_keeps_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = |day: u32| format!("a.202611{day:02}T064000123456Z");
        for day in [1, 2, 4] {
            fs::write(dir.path().join(stamp(day)), "1\n").unwrap();
        }
        // Can be opened and not read, whoever asks.
        fs::create_dir(dir.path().join(stamp(3))).unwrap();
        Closed::new(dir.path().join("a"), Some(2), true).tidy().unwrap_err();
        assert_eq!(names(dir.path()), [stamp(3), format!("{}.zst", stamp(4))]);
    }

    #[test]
    fn names_are_stamps_and_never_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let closed = Closed::new(dir.path().join("a"), None, false);
        let first = closed.name();
        let name = first.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(is_stamp(name.strip_prefix("a.").unwrap()), "{name}");
        fs::write(&first, "").unwrap();
        assert!(closed.name() > first);
    }
}
