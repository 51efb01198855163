//! The service as a process: its own directory, its own ports, started, killed, stopped and looked at from outside.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{
    PATIENCE,
    event::Signer,
    eventually,
    http::Client,
    journal::{self, Journal},
};

/// The webhook key of every test service.
const KEY: &[u8] = b"fixture-key-not-a-secret-0123456789abcdefgh";
/// What an HTTP sink signs with.
const SINK_KEY: &[u8] = b"fixture-sink-key-not-a-secret-9876543210";
/// Below Linux' range of ports for outgoing connections (32768 on), so that no connection takes one between two starts.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// `[server]` of a service whose machine may be busy: no answer is late.
pub const PATIENT: &str = "ack_deadline = \"20s\"\n";

/// How to start one.
#[derive(Clone, Default)]
pub struct Settings {
    /// Lines before the first table.
    pub top: String,
    /// Lines of `[server]`.
    pub server: String,
    /// Lines of the source.
    pub source: String,
    /// Whole tables: journal, sinks…
    pub tables: String,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// A program to start it under, with arguments.
    pub under: Vec<String>,
}

/// A running (or not running) service.
pub struct TestApp {
    dir: TempDir,
    /// The public listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    settings: Settings,
    child: Option<Child>,
}

/// A port of loopback that nobody listens on.
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() * 64;
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u32::from(PORTS.start) + (start + step) % u32::from(PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Settings {
    /// The file sink that most proofs read: `data/audit.jsonl`.
    pub const FILE_SINK: &str = "[[sinks]]\nname = \"audit-file\"\ntype = \"file\"\npath = \"data/audit.jsonl\"\n";

    /// With a file sink only, and a deadline that a busy machine keeps.
    pub fn new() -> Self {
        Self { server: PATIENT.to_owned(), tables: Self::FILE_SINK.to_owned(), ..Self::default() }
    }

    /// With these tables too.
    pub fn and(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self
    }

    /// With this environment variable too.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn config(&self, listen: SocketAddr, admin: SocketAddr) -> String {
        let Self { top, server, source, tables, .. } = self;
        format!(
            "data_dir = \"data\"\nnode = \"test-node\"\n{top}\n[server]\nlisten = \"{listen}\"\n{server}\n\
             [admin]\nlisten = \"{admin}\"\n\n[[sources]]\nname = \"fusionauth\"\ntype = \"fusionauth\"\n\
             keys = [{{ alg = \"HS256\", secret_file = \"hook.key\" }}]\n{source}\n{tables}"
        )
    }
}

/// What `REFRESH_AUDIT_*` asks of the tests is no setting of what they start.
fn without_test_variables(command: &mut Command) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REFRESH_AUDIT_")) {
        command.env_remove(name);
    }
}

impl TestApp {
    /// Writes config and key, starts it and waits until it is ready.
    pub fn start(settings: Settings) -> Self {
        let mut app = Self::prepare(settings);
        app.launch();
        app
    }

    /// Writes config and key only.
    pub fn prepare(settings: Settings) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let dir = tempfile::Builder::new().prefix("refresh-audit-").tempdir().unwrap();
        fs::write(dir.path().join("hook.key"), KEY).unwrap();
        fs::write(dir.path().join("sink.key"), SINK_KEY).unwrap();
        fs::write(dir.path().join("config.toml"), settings.config(listen, admin)).unwrap();
        Self { dir, listen, admin, settings, child: None }
    }

    /// Starts it and waits until it is ready.
    pub fn launch(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let binary = env!("CARGO_BIN_EXE_refresh-audit").to_owned();
        let words: Vec<String> = self.settings.under.iter().cloned().chain([binary]).collect();
        let log = |name| File::options().create(true).append(true).open(self.dir.path().join(name)).unwrap();
        let mut command = Command::new(&words[0]);
        without_test_variables(&mut command);
        command.args(&words[1..]).arg("serve").arg("--config").arg(self.path("config.toml"));
        command.current_dir(self.dir.path()).env_remove("RUST_LOG").envs(self.settings.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(log("out.txt")).stderr(log("log.txt"));
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it answers `/readyz` with 200.
    pub fn wait_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/readyz").is_none_or(|(status, _)| status != 200) {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not ready within {PATIENCE:?}:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it had ended by itself with {status}:\n{}", self.log());
    }

    /// SIGTERM without waiting.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref().unwrap();
        if self.settings.under.is_empty() { child.id() } else { child_of(child.id()) }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        eventually("it ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// SIGTERM; it must end with 0.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait();
        assert!(status.success(), "SIGTERM ended it with {status}:\n{}", self.log());
    }

    /// Runs another command of the same binary with the same config.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with("config.toml", arguments)
    }

    /// The same with another config of its directory.
    pub fn run_with(&self, config: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refresh-audit"));
        without_test_variables(&mut command);
        command.args(arguments).arg("--config").arg(self.path(config)).current_dir(self.dir.path());
        command.env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
    }

    /// `refresh-audit verify`, which must find nothing wrong.
    pub fn verify(&self) {
        let output = self.run(&["verify"]);
        assert!(output.status.success(), "verify: {output:?}");
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log.txt")).unwrap_or_default()
    }

    /// What signs for it.
    pub fn signer(&self) -> Signer {
        Signer::new(KEY)
    }

    /// A connection to the public listener.
    pub fn client(&self) -> Client {
        Client::connect(self.listen).unwrap()
    }

    /// Reads the journal with the test's own reader. Nobody may be sending.
    pub fn journal(&self) -> Journal {
        journal::read(&self.data())
    }

    /// `GET` on the admin listener; `None` when it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = Client::connect(self.admin).ok()?.get(path).ok()?;
        Some((answer.status, answer.text()))
    }

    /// The value of one series of `/metrics`, by its exact name and labels in any order; `None` when there is none.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (_, text) = self.get("/metrics")?;
        let line = text.lines().find(|line| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']));
            rest.is_some_and(|rest| labels.iter().all(|(key, value)| rest.contains(&format!("{key}=\"{value}\""))))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The lines of every file of the file sink, rotated ones too.
    pub fn file_sink_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.data()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.file_name().unwrap().to_str().unwrap().starts_with("audit") {
                let bytes = journal::read_plain(&path);
                lines.extend(String::from_utf8(bytes).unwrap().lines().map(str::to_owned));
            }
        }
        lines
    }
}

/// The first child of a process.
fn child_of(parent: u32) -> u32 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // Behind the name in parentheses: state, parent.
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(parent.to_string().as_str())
    })
    .unwrap_or_else(|| panic!("process {parent} has no child"))
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if self.child.is_some() && !self.settings.under.is_empty() {
            self.terminate();
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = self.log();
        let alarms: Vec<&str> = log.lines().filter(|line| line.contains(" alarm raised: ")).collect();
        if std::thread::panicking() {
            let from = log.lines().count().saturating_sub(40);
            eprintln!("the end of its log:\n{}", log.lines().skip(from).collect::<Vec<_>>().join("\n"));
        }
        eprintln!(
            "{} alarms raised{}",
            alarms.len(),
            alarms.iter().map(|line| format!("\n{line}")).collect::<String>()
        );
    }
}
