//! The configuration: the parts' own Configs composed, read from a file and the environment, and checked against each
//! other. Nothing stringly leaves this module.
//!
//! Knows the shape of every part's Config and nothing of what the parts do. Reads no key file: building the parts does.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    deliver::DeliveryConfig,
    detect, enrich,
    ledger::{DedupeConfig, JournalConfig},
    privacy,
    scope::Scope,
    secret::{Fingerprinter, Secret, SecretError},
    sink::SinkConfig,
    source::SourceConfig,
    telemetry::LogConfig,
    web::{AdminConfig, ServerConfig, certificate},
};

mod document;
mod error;
mod overrides;
mod policy;
mod thresholds;
mod validate;

use document::{Document, Origin};
use error::Place;
use policy::RuleTests;

pub use error::{At, ConfigError, suggest};

/// What applies where no file is found; also the documentation of every key.
pub const EMBEDDED: &str = include_str!("../config.toml");

/// Below this a key can be tried out.
const SECRET_BYTES_MIN: usize = 16;

/// Every key at the top.
const ROOT_KEYS: &[&str] = &[
    "data_dir",
    "node",
    "server",
    "admin",
    "log",
    "sources",
    "scope",
    "privacy",
    "fingerprint",
    "dedupe",
    "journal",
    "enrich",
    "detect",
    "rules",
    "gate",
    "suppress",
    "sinks",
];

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything durable is; already relative to `base`.
    pub data_dir: PathBuf,
    /// This instance's name in records; the host name where none is set.
    pub node: String,
    /// `[server]`.
    pub server: ServerConfig,
    /// `[admin]`.
    pub admin: AdminConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[[sources]]`, at least one.
    pub sources: Vec<SourceEntry>,
    /// `[scope]`.
    pub scope: Scope,
    /// `[privacy]`.
    pub privacy: privacy::Config,
    /// `[fingerprint]`.
    pub fingerprint: FingerprintConfig,
    /// `[dedupe]`.
    pub dedupe: DedupeConfig,
    /// `[journal]`.
    pub journal: JournalConfig,
    /// `[enrich]`.
    pub enrich: enrich::Config,
    /// `[detect]`, `[[rules]]`, `[gate]` and `[[suppress]]`.
    pub policy: detect::Policy,
    /// `[[sinks]]`.
    pub sinks: Vec<SinkEntry>,
    /// What relative paths are relative to: the config file's directory.
    pub base: PathBuf,
    /// The configuration itself.
    pub at: At,
}

/// One of `[[sources]]`.
#[derive(Clone, Debug)]
pub struct SourceEntry {
    /// Its name: `POST /webhooks/<name>`.
    pub name: String,
    /// The source's own.
    pub config: SourceConfig,
    /// The files its members name, as written.
    pub files: Vec<PathBuf>,
    /// Where it is.
    pub at: At,
}

/// One of `[[sinks]]`.
#[derive(Clone, Debug)]
pub struct SinkEntry {
    /// Its name.
    pub name: String,
    /// Its `type`.
    pub kind: String,
    /// What every sink has.
    pub delivery: DeliveryConfig,
    /// The sink's own.
    pub config: SinkConfig,
    /// Where it is.
    pub at: At,
}

/// `[fingerprint]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FingerprintConfig {
    /// The key that new fingerprints are made with; `fingerprint.key` in the data directory where none is set.
    pub key_file: Option<PathBuf>,
    /// Keys that older fingerprints were made with.
    pub previous_key_files: Vec<PathBuf>,
}

impl Config {
    /// Loads `file`, else `./config.toml`, else the embedded default, with the environment's overrides.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, RuleTests::MustHold)
    }

    /// The same for whoever runs the tests of `[[rules]]`.
    pub fn load_untested(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_with(file, RuleTests::AreLeft)
    }

    fn load_with(file: Option<&Path>, tests: RuleTests) -> Result<Self, ConfigError> {
        let here = Path::new("config.toml");
        let file = file.or_else(|| here.is_file().then_some(here));
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let variables: Vec<_> = env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        let Some(file) = file else {
            let embedded = embedded(&variables);
            return Self::parse_with(&embedded, "the embedded config.toml", Path::new(""), variables, tests);
        };
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| {
            ConfigError::new(format!("cannot read the config file {name}: {error}"), Place::Nowhere)
        })?;
        Self::parse_with(&text, &name, file.parent().unwrap_or(Path::new("")), variables, tests)
    }

    /// Reads a configuration. `name` is how errors name the text, `base` what relative paths are relative to,
    /// `variables` the environment.
    pub fn parse(
        text: &str,
        name: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::parse_with(text, name, base, variables, RuleTests::MustHold)
    }

    fn parse_with(
        text: &str,
        name: &str,
        base: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        tests: RuleTests,
    ) -> Result<Self, ConfigError> {
        let overrides = overrides::among(variables);
        let origin = Origin { file: name, text, overrides: &overrides };
        let mut as_text = BTreeSet::new();
        loop {
            match Self::read(origin, base, &as_text, tests) {
                // `REFRESH_AUDIT_NODE=7` looks like a number, but is meant as the text that the key takes.
                Err(error) if error.mistyped_variable().is_some_and(|index| as_text.insert(index)) => {}
                result => return result,
            }
        }
    }

    fn read(origin: Origin<'_>, base: &Path, as_text: &BTreeSet<usize>, tests: RuleTests) -> Result<Self, ConfigError> {
        let mut document = Document::parse(origin, as_text)?;
        let sources = sources(&mut document)?;
        let sinks = sinks(&mut document)?;
        let policy = policy::take(&mut document, tests)?;
        let config = Self {
            data_dir: base.join(document.take_if_there::<PathBuf>("data_dir")?.unwrap_or_else(|| "data".into())),
            node: document.take_if_there("node")?.unwrap_or_else(host_name),
            server: document.take("server")?,
            admin: document.take("admin")?,
            log: document.take("log")?,
            sources,
            scope: document.take("scope")?,
            privacy: document.take("privacy")?,
            fingerprint: document.take("fingerprint")?,
            dedupe: document.take("dedupe")?,
            journal: document.take("journal")?,
            enrich: document.take("enrich")?,
            policy,
            sinks,
            base: base.to_owned(),
            at: document.whole(),
        };
        document.finish(ROOT_KEYS)?;
        validate::check(&config, &document)?;
        Ok(config)
    }

    /// A path as the configuration means it: relative ones are relative to the config file.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// Where the key of new fingerprints is.
    pub fn fingerprint_key_file(&self) -> PathBuf {
        self.fingerprint.key_file.as_ref().map_or_else(|| self.data_dir.join("fingerprint.key"), |file| self.path(file))
    }

    /// Where the key of checkpoints is.
    pub fn checkpoint_key_file(&self) -> PathBuf {
        let file = self.journal.checkpoint_key_file.as_ref();
        file.map_or_else(|| self.data_dir.join("checkpoint.key"), |file| self.path(file))
    }

    /// Reads the token of the admin listener, where it needs one: one that can come in a header.
    pub fn admin_token(&self) -> Result<Option<Secret>, SecretError> {
        let Some(file) = self.admin.token_file.as_ref().map(|file| self.path(file)) else { return Ok(None) };
        let token = Secret::from_file(&file)?;
        if token.has_byte_order_mark() {
            return Err(SecretError::Marked(file.display().to_string()));
        }
        if !token.is_header_value() {
            return Err(SecretError::NoHeaderValue(file.display().to_string()));
        }
        Ok(Some(token))
    }

    /// Reads the certificate and key of the public listener, where it has any.
    pub fn tls(&self) -> Result<Option<rustls::ServerConfig>, String> {
        let tls = self.server.tls.as_ref();
        tls.map(|tls| certificate::tls(&self.path(&tls.cert), &self.path(&tls.key))).transpose()
    }

    /// Reads the fingerprint keys: the one that writes, then the previous ones.
    pub fn fingerprinter(&self) -> Result<Fingerprinter, SecretError> {
        let previous = self.fingerprint.previous_key_files.iter().map(|file| Secret::from_file(&self.path(file)));
        let keys: Result<Vec<_>, _> = std::iter::once(self.fingerprint_key()).chain(previous).collect();
        Ok(Fingerprinter::new(&keys?))
    }

    /// Reads the key of new fingerprints.
    pub fn fingerprint_key(&self) -> Result<Secret, SecretError> {
        let file = self.fingerprint_key_file();
        Secret::from_file(&file)?.of_at_least(SECRET_BYTES_MIN, &file)
    }
}

/// The embedded default. What it names in `data/`, a key and the sink's file, follows the data directory, wherever a variable
/// puts that: nobody wrote these paths.
fn embedded(variables: &[(String, String)]) -> Cow<'static, str> {
    let moved = variables.iter().find(|(name, dir)| name == "REFRESH_AUDIT_DATA_DIR" && !dir.is_empty());
    // JSON's escapes are TOML's, too.
    let dir = moved.and_then(|(_, dir)| serde_json::to_string(dir.trim_end_matches('/')).ok());
    let Some(dir) = dir.as_deref().and_then(|dir| dir.strip_suffix('"')) else { return EMBEDDED.into() };
    EMBEDDED.replace("\"data/", &format!("{dir}/")).into()
}

fn sources(document: &mut Document<'_>) -> Result<Vec<SourceEntry>, ConfigError> {
    let mut sources = Vec::new();
    for entry in document.entries("sources", SourceConfig::TYPES)? {
        let name = entry.name.clone();
        let (files, at) = (entry.files().into_iter().map(PathBuf::from).collect(), document.at(&entry));
        let (NoMembers {}, config) = document.split(entry, &[], SourceConfig::parse)?;
        sources.push(SourceEntry { name, config, files, at });
    }
    Ok(sources)
}

fn sinks(document: &mut Document<'_>) -> Result<Vec<SinkEntry>, ConfigError> {
    let mut sinks = Vec::new();
    for entry in document.entries("sinks", SinkConfig::TYPES)? {
        let (name, kind, at) = (entry.name.clone(), entry.kind.clone(), document.at(&entry));
        let (delivery, config) = document.split(entry, DeliveryConfig::KEYS, SinkConfig::parse)?;
        sinks.push(SinkEntry { name, kind, delivery, config, at });
    }
    Ok(sinks)
}

/// What every source has beside its `name`, its `type` and its own members: nothing.
#[derive(Deserialize)]
struct NoMembers {}

/// The machine's name, put into the characters that a node's name may have.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name: String = uname.nodename().to_string_lossy().chars().take(64).collect();
    let name = name.replace(|c: char| !validate::is_node(c.encode_utf8(&mut [0; 4])), "-");
    if name.is_empty() { "audit".to_owned() } else { name }
}
