//! When each source was last heard, across restarts (`state/heard.json`): a service that is started more often than a source
//! may be silent would never tell that it is. Knows no other part.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{files, time::ReceivedAt};

/// One source, since the start of the process and before it.
pub(super) struct Heard {
    started: Instant,
    /// Milliseconds from `started` to the last authentic delivery; 0: there was none yet.
    at: AtomicU64,
    /// Milliseconds of silence before `started`.
    before: AtomicU64,
}

impl Heard {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, at: AtomicU64::new(0), before: AtomicU64::new(0) }
    }

    /// Something authentic came.
    pub(super) fn now(&self) {
        self.at.store(self.millis().max(1), Ordering::Relaxed);
    }

    /// Whether anything came since the start.
    pub(super) fn is_heard(&self) -> bool {
        self.at.load(Ordering::Relaxed) > 0
    }

    /// Since when nothing came; where nothing ever did, since the source was first waited for.
    pub(super) fn silent(&self) -> Duration {
        let before = if self.is_heard() { 0 } else { self.before.load(Ordering::Relaxed) };
        let since = self.millis().saturating_sub(self.at.load(Ordering::Relaxed));
        Duration::from_millis(since.saturating_add(before))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The file.
pub(super) struct Kept {
    path: PathBuf,
    /// What was heard when it was last written: as long as nothing more is, it is as it should be.
    written: Mutex<Option<Vec<u64>>>,
}

impl Kept {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, written: Mutex::new(None) }
    }

    /// Tells each source how long it had been silent. What cannot be read tells nothing.
    pub(super) fn recall<'s>(&self, sources: impl Iterator<Item = (&'s str, &'s Heard)>) {
        let known = read(&self.path);
        let now = ReceivedAt::wall();
        for (name, heard) in sources {
            let Some(last) = known.get(name) else { continue };
            // The time since `started` counts by itself.
            let before = now.since(*last).saturating_sub(heard.started.elapsed());
            heard.before.store(u64::try_from(before.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Writes it, where anything was heard since it was last written. Blocking.
    pub(super) fn write<'s>(&self, sources: impl Iterator<Item = (&'s str, &'s Heard)>) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let now = ReceivedAt::wall().micros();
        let (mut heard_at, mut last) = (Vec::new(), BTreeMap::new());
        for (name, heard) in sources {
            heard_at.push(heard.at.load(Ordering::Relaxed));
            let silent = i64::try_from(heard.silent().as_micros()).unwrap_or(i64::MAX);
            last.insert(name, ReceivedAt::from_micros(now.saturating_sub(silent)));
        }
        if written.as_ref() == Some(&heard_at) {
            return Ok(());
        }
        files::replace(&self.path, &serde_json::to_vec(&last).map_err(io::Error::other)?)?;
        *written = Some(heard_at);
        Ok(())
    }
}

fn read(path: &Path) -> BTreeMap<String, ReceivedAt> {
    fs::read(path).ok().and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn silence_goes_on_over_restarts_until_something_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heard.json");
        let ago = |minutes: i64| ReceivedAt::from_micros(ReceivedAt::wall().micros() - minutes * 60_000_000);
        let last = BTreeMap::from([("a", ago(120)), ("b", ago(120)), ("ahead", ago(-120))]);
        fs::write(&path, serde_json::to_vec(&last).unwrap()).unwrap();
        let names = ["a", "ahead", "b", "new"];
        let mut silent = Vec::new();
        for restart in 0..2 {
            let sources = names.map(|name| (name, Heard::new(Instant::now())));
            let each = || sources.iter().map(|(name, heard)| (*name, heard));
            let kept = Kept::new(path.clone());
            kept.recall(each());
            if restart == 0 {
                sources[2].1.now();
            }
            kept.write(each()).unwrap();
            silent.push(sources.map(|(_, heard)| heard.silent()));
        }
        for silent in silent {
            assert!((120 * MINUTE..122 * MINUTE).contains(&silent[0]), "{silent:?}");
            // A clock that was set back: nothing is known, and nothing is alarmed.
            assert!(silent[1..].iter().all(|silent| *silent < MINUTE), "{silent:?}");
        }
        fs::write(&path, "no JSON").unwrap();
        let heard = Heard::new(Instant::now());
        Kept::new(path).recall([("a", &heard)].into_iter());
        assert!(heard.silent() < MINUTE && !heard.is_heard());
    }

    #[test]
    fn it_is_written_when_there_is_something_to_say() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path().join("heard.json"));
        let heard = Heard::new(Instant::now());
        let write = || {
            kept.write([("a", &heard)].into_iter()).unwrap();
            fs::remove_file(&kept.path).is_ok()
        };
        assert!(write() && !write());
        std::thread::sleep(Duration::from_millis(2));
        heard.now();
        assert!(write() && !write());
    }
}
