//! What must hold between settings, and the bounds of single ones. Each failure names the setting, its place and what
//! to write instead.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Component, Path, PathBuf},
};

use super::{Config, document::Document, error::ConfigError};
use crate::{
    privacy::{Mode, truncated_to},
    sink::SinkConfig,
    telemetry,
    units::{ByteSize, Span},
};

/// A smaller segment would be mostly file system overhead.
const SEGMENT_MIN: ByteSize = ByteSize::new(64 << 10);
/// A sealed segment is compressed in one go, and recovery reads the last one whole.
const SEGMENT_MAX: ByteSize = ByteSize::from_mib(4 << 10);
/// Less than one sync of a slow disk would make every answer a 503.
const ACK_DEADLINE_MIN: Span = Span::from_millis(50);
/// No sender waits longer; FusionAuth's usual read timeout is 1 to 2 s.
const ACK_DEADLINE_MAX: Span = Span::from_secs(30);
/// FusionAuth sends its retries back to back; less than this forgets one that a slow network holds up.
const WINDOW_MIN: Span = Span::from_secs(60);
/// The documented example event is about 2 KiB.
const BODY_MIN: ByteSize = ByteSize::new(4 << 10);
/// A quarter of the room that all bodies together have (`web::webhook`).
const BODY_MAX: ByteSize = ByteSize::from_mib(16);
/// Each is a thread; more than any machine has processors.
const WORKERS_MAX: usize = 1_024;
/// Each checkpoint is kept for ever.
const CHECKPOINT_EVERY_MIN: Span = Span::from_secs(1);
/// Names become directories, metric labels and parts of environment variables.
const NAME_CHARS_MAX: usize = 64;

/// Checks everything that no single type can.
pub(super) fn check(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    names(config, document)?;
    listeners(config, document)?;
    journal(config, document)?;
    files(config, document)?;
    networks(config, document)?;
    kept(config, document)?;
    for (number, sink) in config.sinks.iter().enumerate() {
        if let Err(error) = sink.delivery.validate() {
            return Err(document.error(&format!("sinks.{number}"), format!("[[sinks]] \"{}\": {error}", sink.name)));
        }
    }
    log_level(&config.log.level, document)?;
    Ok(())
}

/// What has no `=` is a level: as a filter a misspelt one would be the name of a part, and turn everything else off.
fn log_level(level: &str, document: &Document<'_>) -> Result<(), ConfigError> {
    if telemetry::filter(level).is_some() {
        return Ok(());
    }
    let error = document.error("log.level", "log.level is not a filter");
    Err(error.hint("write error, warn, info, debug, trace or e.g. \"info,refresh_audit=debug\""))
}

fn names(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    if !is_node(&config.node) {
        let error = document.error("node", format!("`node` is not 1 to {NAME_CHARS_MAX} of A-Z a-z 0-9 . _ -"));
        return Err(error.hint("write e.g. node = \"audit-1\""));
    }
    if config.data_dir.as_os_str().is_empty() {
        return Err(document
            .error("data_dir", "`data_dir` is empty")
            .hint("name a directory of its own, e.g. \"data\""));
    }
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        return Err(document
            .error("data_dir", format!("`data_dir` ({}) is not a directory", config.data_dir.display()))
            .hint("name a directory of its own, e.g. \"data\""));
    }
    if config.sources.is_empty() {
        return Err(document.error("sources", "there is no source").hint("add a [[sources]] entry"));
    }
    let sources: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    let sinks: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    for (list, names) in [("sources", sources), ("sinks", sinks)] {
        let mut seen = BTreeMap::new();
        for (number, name) in names.into_iter().enumerate() {
            let path = format!("{list}.{number}.name");
            if !is_name(name) {
                let what = format!("the name `{name}` in [[{list}]] is not 1 to {NAME_CHARS_MAX} of a-z 0-9 _ -");
                return Err(document.error(&path, what).hint("choose another"));
            }
            if seen.insert(name, number).is_some() {
                let what = format!("two entries of [[{list}]] are named `{name}`");
                return Err(document.error(&path, what).hint("rename one"));
            }
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// What a signed checkpoint's key may be called as well: no space, no `+`.
pub(super) fn is_node(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || [b'.', b'_', b'-'].contains(&b))
}

fn listeners(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let (server, admin) = (&config.server, &config.admin);
    if !admin.listen.ip().is_loopback() && admin.token_file.is_none() {
        let what = format!("admin.listen = \"{}\" is reachable from outside this machine", admin.listen);
        let error = document.error("admin.listen", what);
        return Err(error.hint("set admin.token_file, or listen on 127.0.0.1"));
    }
    if clash(server.listen, admin.listen) {
        let error = document.error("admin.listen", "admin.listen and server.listen are the same");
        return Err(error.hint("the admin API is never on the senders' listener: choose another port"));
    }
    within(document, "server.ack_deadline", server.ack_deadline, ACK_DEADLINE_MIN, ACK_DEADLINE_MAX)?;
    if server.max_body < BODY_MIN || server.max_body > BODY_MAX {
        return Err(document.error("server.max_body", "server.max_body is not between 4KiB and 16MiB"));
    }
    if server.workers.is_some_and(|workers| workers.get() > WORKERS_MAX) {
        let error = document.error("server.workers", format!("server.workers is more than {WORKERS_MAX}"));
        return Err(error.hint("one per processor is usual: leave it out"));
    }
    Ok(())
}

/// Whether the second could not be bound after the first.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let unspecified = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (unspecified || one.ip() == other.ip())
}

fn journal(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let (journal, window) = (&config.journal, config.dedupe.window);
    if window < WINDOW_MIN {
        return Err(document.error("dedupe.window", "dedupe.window is shorter than 1m").hint("write e.g. \"7d\""));
    }
    if journal.retention < window {
        let what =
            format!("journal.retention = \"{}\" is shorter than dedupe.window = \"{window}\"", journal.retention);
        let path = if document.has("journal.retention") { "journal.retention" } else { "dedupe.window" };
        return Err(document.error(path, what).hint("an id can be remembered only as long as its record is kept"));
    }
    if journal.segment < SEGMENT_MIN || journal.segment > SEGMENT_MAX {
        return Err(document.error("journal.segment", "journal.segment is not between 64KiB and 4GiB"));
    }
    if journal.max_bytes.get() < 2 * journal.segment.get() {
        let error = document.error("journal.max_bytes", "journal.max_bytes is less than two segments");
        return Err(error.hint("only whole sealed segments can be deleted: raise it, or lower journal.segment"));
    }
    if journal.checkpoint_every < CHECKPOINT_EVERY_MIN {
        return Err(document.error("journal.checkpoint_every", "journal.checkpoint_every is shorter than 1s"));
    }
    Ok(())
}

/// What in `data_dir` only the service itself may write.
const OWN: &[&str] = &[
    "journal",
    "index",
    "state",
    "sinks",
    "damaged",
    "lock",
    "keys-made.json",
    "webhook.key",
    "fingerprint.key",
    "checkpoint.key",
    "checkpoint.pub",
];

/// Two that write one file would write into each other's lines, and into what somebody reads.
fn files(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let read = files_read(config, document);
    let fingerprint_key = real(&config.fingerprint_key_file());
    if other_keys(config).any(|file| fingerprint_key == real(&file)) {
        let what = format!("the fingerprint key {} is another key, too", config.fingerprint_key_file().display());
        let hint = "who has to know the other could try out what tokens are called: give it a file of its own";
        return Err(document.error("fingerprint.key_file", what).hint(hint));
    }
    for (number, sink) in config.sinks.iter().enumerate() {
        let SinkConfig::File(file) = &sink.config else { continue };
        let (path, setting) = (real(&config.path(file.path())), format!("sinks.{number}.path"));
        let wrong = |what: String| Err(document.error(&setting, what).hint("choose another"));
        if let Some(own) = OWN.iter().find(|own| path.starts_with(real(&config.data_dir.join(own)))) {
            return wrong(format!(
                "the file of sink `{}` is in {own} of data_dir, which is the service's own",
                sink.name
            ));
        }
        if let Some((what, _)) = read.iter().find(|(_, file)| path == real(file)) {
            return wrong(format!("the file of sink `{}` is {what}", sink.name));
        }
        if let Some(other) = taken.insert(path, &sink.name) {
            let what = format!("the sinks `{other}` and `{}` write to one file", sink.name);
            return Err(document.error(&setting, what).hint("give each its own"));
        }
    }
    Ok(())
}

/// What is read, and so is nobody's to write.
fn files_read(config: &Config, document: &Document<'_>) -> Vec<(&'static str, PathBuf)> {
    let previous = config.fingerprint.previous_key_files.iter().map(|file| config.path(file));
    let public_half = config.checkpoint_key_file().with_extension("pub");
    let keys = other_keys(config).chain(previous).chain([config.fingerprint_key_file(), public_half]);
    let configuration = ("the configuration itself", PathBuf::from(document.file()));
    keys.map(|file| ("a key or certificate that the configuration names", file)).chain([configuration]).collect()
}

/// The keys, secrets and certificates that the service reads beside those of fingerprints.
fn other_keys(config: &Config) -> impl Iterator<Item = PathBuf> {
    let tls = config.server.tls.iter().flat_map(|tls| [&tls.cert, &tls.key]);
    let of_sources = config.sources.iter().flat_map(|source| &source.files);
    let named = of_sources.chain(&config.admin.token_file).chain(tls).map(|file| config.path(file));
    named.chain([config.checkpoint_key_file()])
}

/// What is to be less exact, or not there, must not be kept whole beside it: not every spelling of it would be found.
fn kept(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let privacy = &config.privacy;
    let modes = [
        ("ip", privacy.ip),
        ("user_agent", privacy.user_agent),
        ("device", privacy.device),
        ("location", privacy.location),
    ];
    for (at, source) in config.sources.iter().enumerate() {
        for (number, member, key) in source.config.keeps_personal() {
            if modes.contains(&(key, Mode::Keep)) {
                continue;
            }
            let what = format!("`keep` of source `{}` stores {member}, which privacy.{key} is to change", source.name);
            return Err(document
                .error(&format!("sources.{at}.keep.{number}"), what)
                .hint(format!("take it out, or write privacy.{key} = \"keep\"")));
        }
    }
    Ok(())
}

/// Findings and verdicts go by what `[privacy]` leaves of an address: a network that it can never lie in protects and
/// silences nobody.
fn networks(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    let allowed = config.policy.gate.allow.networks.iter().enumerate();
    let allowed = allowed.map(|(number, net)| (format!("gate.allow.networks.{number}"), net.network()));
    let silenced = config.policy.suppressions.iter().enumerate();
    let silenced =
        silenced.filter_map(|(number, one)| Some((format!("suppress.{number}.network"), one.network?.network())));
    for (path, network) in allowed.chain(silenced) {
        let mode = match config.privacy.ip {
            Mode::Keep => continue,
            Mode::Truncate if network.prefix_len() <= truncated_to(&network) => continue,
            Mode::Truncate => format!("truncate\" leaves the /{}", truncated_to(&network)),
            Mode::Pseudonym => "pseudonym\" leaves none".to_owned(),
            Mode::Drop => "drop\" leaves none".to_owned(),
        };
        let what = format!("no address is ever known to be in {network}: privacy.ip = \"{mode}");
        return Err(document
            .error(&path, what)
            .hint("name users or applications instead, or keep more of the address"));
    }
    Ok(())
}

/// Where a path leads: links are followed as far as there is anything.
fn real(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = whole.ancestors().find_map(|dir| Some((dir.canonicalize().ok()?, whole.strip_prefix(dir).ok()?)));
    let Some((mut real, rest)) = there else { return whole };
    for part in rest.components() {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            part => real.push(part),
        }
    }
    real
}

fn within(document: &Document<'_>, path: &str, value: Span, min: Span, max: Span) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(document.error(path, format!("{path} = \"{value}\" is not between {min} and {max}")))
}
