//! The other sides on this machine, for the contract: files and the standard output.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use refresh_audit::{
    record::Seq,
    sink::{AnySink, stdout::Stdout},
};

use super::{Receiver, Situation, seqs, sink};

pub struct FileReceiver {
    dir: tempfile::TempDir,
    more: &'static str,
    mounted: AtomicBool,
}

impl Drop for FileReceiver {
    fn drop(&mut self) {
        if self.mounted.load(Ordering::SeqCst) {
            let _ = Command::new("umount").arg(self.parent()).status();
        }
    }
}

impl FileReceiver {
    pub fn new(more: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), more, mounted: AtomicBool::new(false) }
    }

    fn parent(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn path(&self) -> PathBuf {
        self.parent().join("audit.jsonl")
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let done = Command::new("mount").args(arguments).arg(self.parent()).stderr(Stdio::null()).status();
        let mounted = done.is_ok_and(|status| status.success());
        self.mounted.fetch_or(mounted, Ordering::SeqCst);
        mounted
    }
}

impl Receiver for FileReceiver {
    fn sink(&self) -> AnySink {
        sink("file", &format!("path = {:?}\n{}", self.path(), self.more))
    }

    async fn begin(&self, situation: Situation) -> bool {
        match situation {
            Situation::Accepts | Situation::WeCrash => {}
            // A file where a directory should be.
            Situation::Down => fs::write(self.parent(), "").unwrap(),
            Situation::Full => {
                fs::create_dir(self.parent()).unwrap();
                // A small disk, where we may make one; it fills up in the middle of a batch.
                if !self.mount(&["-t", "tmpfs", "-o", "size=8k", "none"]) {
                    std::os::unix::fs::symlink("/dev/full", self.path()).unwrap();
                }
            }
            _ => return false,
        }
        true
    }

    async fn end(&self) {
        if self.parent().is_file() {
            fs::remove_file(self.parent()).unwrap();
        }
        if self.path().is_symlink() {
            fs::remove_file(self.path()).unwrap();
        }
        if self.mounted.load(Ordering::SeqCst) {
            assert!(self.mount(&["-o", "remount,size=1m"]));
        }
    }

    /// It is opened for writing and not written to.
    fn tests_kept(&self) -> usize {
        0
    }

    async fn arrived(&self) -> Vec<Seq> {
        let mut paths: Vec<_> = fs::read_dir(self.parent()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(paths.len() > 1, !self.more.is_empty(), "closed files: {paths:?}");
        // Closed files sort by their instant, the open one comes last.
        paths.sort();
        paths.rotate_left(1);
        let text = |path: &PathBuf| {
            let bytes = fs::read(path).unwrap();
            let closed = path.extension().is_some_and(|extension| extension == "zst");
            assert_eq!(closed, *path != self.path(), "every closed file is compressed");
            String::from_utf8(if closed { zstd::decode_all(&*bytes).unwrap() } else { bytes }).unwrap()
        };
        seqs(&paths.iter().map(text).collect::<String>())
    }
}

#[derive(Clone, Default)]
pub struct StdoutReceiver {
    written: Arc<Mutex<Vec<u8>>>,
    /// 0: works, 1: nobody reads, 2: full after half of what is written.
    trouble: Arc<AtomicU8>,
}

impl Write for StdoutReceiver {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = self.written.lock().unwrap();
        match self.trouble.load(Ordering::SeqCst) {
            0 => {
                written.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            2 if bytes.len() > 100 => {
                written.extend_from_slice(&bytes[..bytes.len() / 2]);
                Ok(bytes.len() / 2)
            }
            2 => Err(io::ErrorKind::StorageFull.into()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Receiver for StdoutReceiver {
    fn sink(&self) -> AnySink {
        AnySink::Stdout(Stdout::to(self.clone()))
    }

    async fn begin(&self, situation: Situation) -> bool {
        let trouble = match situation {
            Situation::Accepts | Situation::WeCrash => 0,
            Situation::Down => 1,
            Situation::Full => 2,
            _ => return false,
        };
        self.trouble.store(trouble, Ordering::SeqCst);
        true
    }

    async fn end(&self) {
        self.trouble.store(0, Ordering::SeqCst);
    }

    fn tests_kept(&self) -> usize {
        0
    }

    async fn arrived(&self) -> Vec<Seq> {
        let text = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        // A full disk leaves half lines behind, each on a line of its own.
        seqs(&text.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).collect::<Vec<_>>().join("\n"))
    }
}
