//! Making key files: whole or not at all, never over an existing one, readable by their owner only. Knows what keys
//! look like on disk; knows of the configuration only where the three default files are.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    files,
    ledger::checkpoint::{self, Signer},
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
        #[source]
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

/// Which of the default key files were made just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// `webhook.key`: the operator must import it into FusionAuth.
    pub webhook: bool,
    /// `fingerprint.key`: fingerprints from before no longer compare.
    pub fingerprint: bool,
    /// `checkpoint.key`, and `checkpoint.pub` with it.
    pub checkpoint: bool,
}

/// The three that are made where they are missing.
const DEFAULTS: [&str; 3] = ["webhook.key", "fingerprint.key", "checkpoint.key"];

/// Those of them that the configuration uses.
pub fn default_keys(config: &Config) -> Vec<PathBuf> {
    let of_sources = config.sources.iter().flat_map(|source| &source.files).map(|file| config.path(file));
    let used: Vec<PathBuf> = of_sources.chain([config.fingerprint_key_file(), config.checkpoint_key_file()]).collect();
    DEFAULTS.map(|name| config.data_dir.join(name)).into_iter().filter(|file| used.contains(file)).collect()
}

/// Makes those of `webhook.key`, `fingerprint.key` and `checkpoint.key` in the data directory that the configuration
/// uses and that do not exist. A missing key file anywhere else is left for its user to report.
pub fn ensure_default_keys(config: &Config) -> Result<Made, KeyError> {
    files::create_dir(&config.data_dir).map_err(|cause| cannot_make(&config.data_dir, cause))?;
    let default = |name: &str| config.data_dir.join(name);
    let used = default_keys(config);
    let is_used = |file: &PathBuf| used.contains(file);
    let [webhook, fingerprint, checkpoint] = DEFAULTS.map(default);
    let made = Made {
        webhook: is_used(&webhook) && unless_there(make_hmac(&webhook))?,
        fingerprint: is_used(&fingerprint) && unless_there(make_hmac(&fingerprint))?,
        checkpoint: is_used(&checkpoint) && unless_there(make_private(&checkpoint, &config.node))?,
    };
    if is_used(&checkpoint) {
        // Also after a crash between the two files, and over the public half of a key that was taken away.
        let public = public_half(&checkpoint)?;
        let path = public_path(&checkpoint);
        if fs::read_to_string(&path).ok().as_deref() != Some(&public) {
            files::replace(&path, public.as_bytes()).map_err(|cause| cannot_make(&path, cause))?;
        }
    }
    Ok(made)
}

/// Whether it was made; another process that made it first is as good.
fn unless_there(result: Result<(), KeyError>) -> Result<bool, KeyError> {
    match result {
        Ok(()) => Ok(true),
        Err(KeyError::Exists(_)) => Ok(false),
        Err(error) => Err(error),
    }
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
    let mut file = files::private().write(true).create_new(true).open(path)?;
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
}
