//! Making key files: whole or not at all, never over an existing one, readable by their owner only. Knows what keys
//! look like on disk; knows of the configuration only where the three default files are.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    config::Config,
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

/// Makes those of `webhook.key`, `fingerprint.key` and `checkpoint.key` in the data directory that the configuration
/// uses and that do not exist. A missing key file anywhere else is left for its user to report.
pub fn ensure_default_keys(config: &Config) -> Result<Made, KeyError> {
    make_dir(&config.data_dir)?;
    let default = |name: &str| config.data_dir.join(name);
    let webhook = default("webhook.key");
    let wants_webhook = config.sources.iter().flat_map(|source| &source.files).any(|file| config.path(file) == webhook);
    let checkpoint = default("checkpoint.key");
    let made = Made {
        webhook: wants_webhook && unless_there(make_hmac(&webhook))?,
        fingerprint: config.fingerprint_key_file() == default("fingerprint.key")
            && unless_there(make_hmac(&config.fingerprint_key_file()))?,
        checkpoint: config.checkpoint_key_file() == checkpoint
            && unless_there(make_private(&checkpoint, &config.node))?,
    };
    if config.checkpoint_key_file() == checkpoint {
        // Also after a crash between the two files, and over the public half of a key that was taken away.
        let public = public_half(&checkpoint)?;
        let path = public_path(&checkpoint);
        if fs::read_to_string(&path).ok().as_deref() != Some(&public) {
            write_new(&path, public.as_bytes(), Existing::Replace)?;
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
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*key));
    write_new(path, text.as_bytes(), Existing::Keep)
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
    write_new(&public_path, public_half(path)?.as_bytes(), Existing::Keep)?;
    Ok(public_path)
}

fn make_private(path: &Path, name: &str) -> Result<(), KeyError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+') {
        return Err(KeyError::Name(name.to_owned()));
    }
    let (private, _) = checkpoint::generate(name).map_err(|_| KeyError::Random)?;
    write_new(path, private.expose(), Existing::Keep)
}

/// Where the public half of a checkpoint key is.
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// The public half, in signed-note form with LF, of the private key in a file.
fn public_half(path: &Path) -> Result<String, KeyError> {
    let signer = Secret::from_file(path).map_err(|error| error.to_string());
    let signer = signer.and_then(|key| Signer::parse(&key).map_err(|error| error.to_string()));
    let signer = signer.map_err(|problem| KeyError::NotACheckpointKey { path: path.to_owned(), problem })?;
    Ok(format!("{}\n", signer.public_text()))
}

/// What to do with a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// Makes a directory, readable by its owner only; one that exists stays as it is.
fn make_dir(dir: &Path) -> Result<(), KeyError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|cause| KeyError::Io { path: dir.to_owned(), cause })
}

/// Writes a file whole: under another name first, synced, then given its name.
fn write_new(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), KeyError> {
    if existing == Existing::Keep && path.symlink_metadata().is_ok() {
        return Err(KeyError::Exists(path.to_owned()));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(dir)?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{file_name}.{}.new", std::process::id()));
    let written = write_synced(&temporary, bytes).and_then(|()| match existing {
        // Unlike a rename, a link fails where another process was faster.
        Existing::Keep => fs::hard_link(&temporary, path),
        Existing::Replace => fs::rename(&temporary, path),
    });
    // Gone already after a rename.
    let _ = fs::remove_file(&temporary);
    written.and_then(|()| File::open(dir)?.sync_all()).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::Io { path: path.to_owned(), cause },
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a killed process with the same id left behind is nobody's.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
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
