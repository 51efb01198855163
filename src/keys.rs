//! Making key files: whole or not at all, never over an existing one, readable by their owner only. Knows what keys
//! look like on disk; knows of the configuration only where the three default files are.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    config::{Config, SourceEntry},
    files,
    ledger::checkpoint::{self, NoteError, Signer, Verifier},
    secret::Secret,
};

/// 256 bits: the strength of HMAC-SHA-256.
const KEY_BYTES: usize = 32;

/// Why a key file could not be made; says which and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is one.
    #[error("{0} exists and is never overwritten: name another file, or move it away")]
    Exists(PathBuf),
    /// The disk says no.
    #[error("cannot make {path}: {cause}; check that its directory can be written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Nobody can tell whether there is one.
    #[error("cannot see whether {path} is there: {cause}; give the service's user its directory")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// Not what [`make_checkpoint`] writes.
    #[error("{path}: {problem}")]
    NotACheckpointKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The public half would have the same path.
    #[error("{0} ends in .pub, as the public half beside it does: name it e.g. checkpoint.key")]
    PublicName(PathBuf),
    /// It cannot be a key's name.
    #[error("`{0}` cannot name a key: use letters, digits, `.`, `_` and `-`")]
    Name(String),
}

/// Which of the default key files were made since the last start that came to say so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Made {
    /// `webhook.key`: the operator must give it to the sender, too.
    pub webhook: bool,
    /// `fingerprint.key`: fingerprints from before no longer compare.
    pub fingerprint: bool,
    /// `checkpoint.key`, and `checkpoint.pub` with it: notes from before are by another key.
    pub checkpoint: bool,
}

impl Made {
    /// What a start made that failed before anybody was told.
    fn untold(data_dir: &Path) -> Self {
        let kept = fs::read(data_dir.join(MADE)).ok();
        kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default()
    }

    fn note(&mut self, file: &Path) {
        match file.file_name().and_then(|name| name.to_str()) {
            Some(WEBHOOK) => self.webhook = true,
            Some(FINGERPRINT) => self.fingerprint = true,
            _ => self.checkpoint = true,
        }
    }

    /// Whoever has to know has been told: the next start has nothing to say of it.
    pub fn told(data_dir: &Path) -> io::Result<()> {
        match fs::remove_file(data_dir.join(MADE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The three that are made where they are missing.
const DEFAULTS: [&str; 3] = [WEBHOOK, FINGERPRINT, "checkpoint.key"];
const WEBHOOK: &str = "webhook.key";
const FINGERPRINT: &str = "fingerprint.key";
/// In `data_dir`, what was made and not yet told of.
const MADE: &str = "keys-made.json";

/// Those of them that the configuration uses: in the data directory, or in `data` beside the configuration, which is where
/// the shipped one names the first of them, whatever `data_dir` is.
pub fn default_keys(config: &Config) -> Vec<PathBuf> {
    let of_sources = config.sources.iter().flat_map(|source| &source.files).map(|file| config.path(file));
    let used: Vec<PathBuf> = of_sources.chain([config.fingerprint_key_file(), config.checkpoint_key_file()]).collect();
    let mut places = vec![config.data_dir.clone(), config.path(Path::new("data"))];
    places.dedup();
    let named = DEFAULTS.iter().flat_map(|name| places.iter().map(move |place| place.join(name)));
    named.filter(|file| used.contains(file)).collect()
}

/// The one of them that a sender must know, too, and the source that it sends to.
pub fn default_webhook_key(config: &Config) -> Option<(PathBuf, &SourceEntry)> {
    let key = default_keys(config).into_iter().find(|file| file.ends_with(WEBHOOK))?;
    let uses = |source: &&SourceEntry| source.files.iter().any(|file| config.path(file) == key);
    let source = config.sources.iter().find(uses)?;
    Some((key, source))
}

/// Makes those of [`default_keys`] that do not exist. A missing key file anywhere else is left for its user to report. What
/// exists is used as it is: on a full or read-only disk, too.
pub fn ensure_default_keys(config: &Config) -> Result<Made, KeyError> {
    files::create_dir(&config.data_dir).map_err(|cause| cannot_make(&config.data_dir, cause))?;
    let mut made = Made::untold(&config.data_dir);
    let mut missing = Vec::new();
    for file in default_keys(config) {
        if is_missing(&file)? {
            made.note(&file);
            missing.push(file);
        }
    }
    if !missing.is_empty() {
        // Before they are made: a start that fails after it is followed by one that still knows.
        let path = config.data_dir.join(MADE);
        let kept = serde_json::to_vec(&made).map_err(io::Error::other).and_then(|made| files::replace(&path, &made));
        kept.map_err(|cause| cannot_make(&path, cause))?;
    }
    for file in missing {
        match file.ends_with("checkpoint.key") {
            true => unless_made(make_private(&file, &config.node))?,
            false => unless_made(make_hmac(&file))?,
        }
    }
    for file in default_keys(config).iter().filter(|file| file.ends_with("checkpoint.key")) {
        if let Err(error) = show_public_half(file, &public_half(file)?) {
            tracing::warn!(%error, "the checkpoint key's public half cannot be written: `verify` needs it");
        }
    }
    Ok(made)
}

/// Puts the public half beside its key: also after a crash between the two files. The one of a key that was taken away stays
/// as a further file: notes from before are checked with it.
fn show_public_half(key: &Path, public: &str) -> Result<(), KeyError> {
    let path = public_path(key);
    let found = fs::read_to_string(&path).unwrap_or_default();
    if found == public {
        return Ok(());
    }
    if let Ok(other) = Verifier::parse(&found) {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let kept = path.with_file_name(format!("{stem}-{}.pub", other.key_ids()));
        files::rename(&path, &kept).map_err(|cause| cannot_make(&kept, cause))?;
        tracing::warn!(kept = %kept.display(), "the checkpoint key is another one; the public half of before is kept");
    }
    files::replace(&path, public.as_bytes()).map_err(|cause| cannot_make(&path, cause))
}

/// What checks notes by a key and by those that were in use before it: its public half, and each `checkpoint*.pub` beside it.
/// `None` where its own half is not there.
pub fn verifier(key: &Path) -> Result<Option<Verifier>, NoteError> {
    let path = public_path(key);
    // Where that cannot be told, reading it says why.
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let mut verifier = Verifier::from_file(&path)?;
    let beside = fs::read_dir(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    for other in beside.into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("checkpoint") && name.ends_with(".pub") {
            // What is no key says nothing, and is nobody's.
            Verifier::from_file(&other).into_iter().for_each(|other| verifier.add(other));
        }
    }
    Ok(Some(verifier))
}

fn is_missing(path: &Path) -> Result<bool, KeyError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(cause) => Err(KeyError::Unreadable { path: path.to_owned(), cause }),
    }
}

/// Another process that made it first is as good.
fn unless_made(made: Result<(), KeyError>) -> Result<(), KeyError> {
    match made {
        Err(KeyError::Exists(_)) => Ok(()),
        made => made,
    }
}

/// A key for as long as the process runs.
pub fn random() -> Result<Secret, KeyError> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| KeyError::Random)?;
    Ok(Secret::new(key))
}

/// Writes a new HMAC secret: 43 base64url characters of 32 random bytes, no line end. For FusionAuth it is a text.
pub fn make_hmac(path: &Path) -> Result<(), KeyError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *key).map_err(|_| KeyError::Random)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*key));
    write_new(path, text.as_bytes())
}

/// Writes a new Ed25519 key in the forms of C2SP's signed-note: the private half to `path`, the public half beside it
/// with the extension `pub`. Returns the public half's path.
pub fn make_checkpoint(path: &Path, name: &str) -> Result<PathBuf, KeyError> {
    let public_path = public_path(path);
    if public_path == path {
        return Err(KeyError::PublicName(path.to_owned()));
    }
    if public_path.symlink_metadata().is_ok() {
        return Err(KeyError::Exists(public_path));
    }
    make_private(path, name)?;
    write_new(&public_path, public_half(path)?.as_bytes())?;
    Ok(public_path)
}

fn make_private(path: &Path, name: &str) -> Result<(), KeyError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return Err(KeyError::Name(name.to_owned()));
    }
    let (private, _) = checkpoint::generate(name).map_err(|_| KeyError::Random)?;
    write_new(path, private.expose())
}

/// Where the public half of a checkpoint key is.
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// What signs checkpoints, by the private key in a file.
pub fn signer(path: &Path) -> Result<Signer, KeyError> {
    let key = Secret::from_file(path).map_err(|error| error.to_string());
    let signer = key.and_then(|key| Signer::parse(&key).map_err(|error| error.to_string()));
    signer.map_err(|problem| KeyError::NotACheckpointKey { path: path.to_owned(), problem })
}

/// The public half, in signed-note form with LF, of the private key in a file.
fn public_half(path: &Path) -> Result<String, KeyError> {
    Ok(format!("{}\n", signer(path)?.public_text()))
}

/// Writes a file that does not exist: under another name first, synced, then given its name. Unlike a rename, a link
/// fails where another process was faster.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let mut name = files::temporary(path).into_os_string();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = files::create_dir(path.parent().unwrap_or(Path::new("")))
        .and_then(|()| write_synced(&temporary, bytes))
        .and_then(|()| fs::hard_link(&temporary, path));
    // What is left of a failure is nobody's.
    let _ = fs::remove_file(&temporary);
    written.and_then(|()| files::sync_parent(path)).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => cannot_make(path, cause),
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A new file, never what somebody has put in its place.
    let _ = fs::remove_file(path);
    let mut file = files::make(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn cannot_make(path: &Path, cause: io::Error) -> KeyError {
    KeyError::Io { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_half_is_what_another_implementation_says() {
        // The example keys of Go's golang.org/x/mod/sumdb/note.
        let file = tempfile::NamedTempFile::new().unwrap();
        let private = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n";
        fs::write(file.path(), private).unwrap();
        let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n";
        assert_eq!(public_half(file.path()).unwrap(), public);
    }

    #[test]
    fn where_all_keys_are_there_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::parse(crate::config::EMBEDDED, "config.toml", dir.path(), []).unwrap();
        let all = Made { webhook: true, fingerprint: true, checkpoint: true };
        assert_eq!(ensure_default_keys(&config).unwrap(), all);
        // The next start knows, too, until one of them has said so.
        assert_eq!(ensure_default_keys(&config).unwrap(), all);
        Made::told(&config.data_dir).unwrap();
        // A file that comes and goes leaves the directory changed.
        let before = std::time::SystemTime::UNIX_EPOCH;
        fs::File::open(&config.data_dir).unwrap().set_modified(before).unwrap();
        assert_eq!(ensure_default_keys(&config).unwrap(), Made::default());
        assert_eq!(fs::metadata(&config.data_dir).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn the_keys_of_the_shipped_configuration_are_made_whatever_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = [("REFRESH_AUDIT_DATA_DIR".to_owned(), "var".to_owned())];
        let config = Config::parse(crate::config::EMBEDDED, "config.toml", dir.path(), elsewhere).unwrap();
        assert!(ensure_default_keys(&config).unwrap().webhook);
        assert!(dir.path().join("data/webhook.key").is_file() && dir.path().join("var/fingerprint.key").is_file());
    }
}
