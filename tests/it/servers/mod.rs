//! Real servers of other projects, as `tests/servers.sh` installs them: found, started on loopback with a directory of
//! their own, killed, frozen, restarted in place, and gone when dropped.
//!
//! A server that is not installed is `None`: the test says SKIPPED and ends; with `CI` set it fails instead.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{PATIENCE, eventually};

pub mod nats;
pub mod osmem;
#[cfg(feature = "otlp")]
pub mod rotel;
pub mod rsyslog;
pub mod stunnel;
pub mod syslog_ng;
pub mod tansu;

/// How long a server may take to say that it is there.
pub const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A server as a process.
pub struct Server {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<OsString>,
    answers: Box<dyn Fn() -> bool + Send + Sync>,
    dir: TempDir,
    child: Option<Child>,
}

/// The program of a server: from `$TEST_SERVERS_DIR` (default `target/servers`), or the one on the PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let installed = std::env::var_os("TEST_SERVERS_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers"),
        |folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::iter::once(installed.join("bin")).chain(std::env::split_paths(&path));
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed (run tests/servers.sh)");
        eprintln!("SKIPPED {name}: not installed (run tests/servers.sh)");
    }
    found
}

impl Server {
    /// Starts it and waits until `answers`. `arguments` gets the server's own directory, for configuration and data.
    pub fn start<A: Into<OsString>>(
        name: &'static str,
        arguments: impl FnOnce(&Path) -> Vec<A>,
        answers: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Option<Self> {
        let program = program(name)?;
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().unwrap();
        let arguments = arguments(dir.path()).into_iter().map(Into::into).collect();
        let mut server = Self { name, program, arguments, answers: Box::new(answers), dir, child: None };
        server.restart();
        Some(server)
    }

    /// Its own directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir().join("log.txt")).unwrap_or_default()).into_owned()
    }

    /// Starts it again as it was, after [`Server::kill`]: same arguments, same ports, same directory.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "{} is running", self.name);
        let log = || File::options().create(true).append(true).open(self.dir().join("log.txt")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.dir()).stdin(Stdio::null()).stdout(log()).stderr(log());
        self.child = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !(self.answers)() {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("{} ended with {status}:\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "{} does not answer:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it was not killed.
    #[cfg(feature = "nats")]
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGSTOP: it keeps its connections and says nothing. Returns when every thread of it stands still.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.child.as_ref().unwrap().id());
        eventually("it stands still", || {
            let mut threads = std::fs::read_dir(&threads).unwrap().flatten();
            threads.all(|thread| {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 't']))
            })
        });
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP, by which many read their configuration again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(40);
            eprintln!("the end of {}'s log:\n{}", self.name, log.lines().skip(from).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Whether somebody accepts connections there.
pub fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, ANSWER_TIME).is_ok()
}

/// One HTTP request in the clear, without a connection kept: status and body. `None` when there is no answer in time.
pub fn http(address: SocketAddr, time: Duration, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, time).ok()?;
    stream.set_read_timeout(Some(time)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
