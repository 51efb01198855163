//! Making key files: whole or not at all, never over an existing one, readable by their owner only. Knows what keys
//! look like on disk; knows of the configuration only where the three default files are.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    rand,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::config::Config;

/// 256 bits: the strength of HMAC-SHA-256, and the length of an Ed25519 seed.
const KEY_BYTES: usize = 32;
/// The signature type of Ed25519 in C2SP's signed notes.
const NOTE_ED25519: u8 = 1;

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
    #[error("{0} is not a signing key in signed-note form (PRIVATE+KEY+<name>+<hash>+<base64>)")]
    NotACheckpointKey(PathBuf),
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
    let key = random()?;
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
    let seed = random()?;
    let (private, _) = note_keys(name, &*seed)?;
    write_new(path, private.as_bytes(), Existing::Keep)
}

/// Where the public half of a checkpoint key is.
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// The public half, in signed-note form with LF, of the private key in a file.
fn public_half(path: &Path) -> Result<String, KeyError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|cause| KeyError::Io { path: path.to_owned(), cause })?);
    let wrong = || KeyError::NotACheckpointKey(path.to_owned());
    // PRIVATE+KEY+<name>+<hash>+<base64>; base64 may hold a `+` of its own.
    let mut parts = text.trim_end().splitn(5, '+');
    let (Some("PRIVATE"), Some("KEY"), Some(name), Some(_), Some(key)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    let key = Zeroizing::new(STANDARD.decode(key).map_err(|_| wrong())?);
    match key.split_first() {
        Some((&NOTE_ED25519, seed)) if seed.len() == KEY_BYTES => Ok(note_keys(name, seed)?.1),
        _ => Err(wrong()),
    }
}

/// The private and the public half in signed-note form, each with LF.
fn note_keys(name: &str, seed: &[u8]) -> Result<(Zeroizing<String>, String), KeyError> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Random)?;
    let tagged = |key: &[u8]| Zeroizing::new([&[NOTE_ED25519], key].concat());
    let public = tagged(pair.public_key().as_ref());
    let id = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&*public).finalize();
    let head = format!("{name}+{}", hex::encode(&id[..4]));
    let private = Zeroizing::new(format!("PRIVATE+KEY+{head}+{}\n", *Zeroizing::new(STANDARD.encode(&*tagged(seed)))));
    Ok((private, format!("{head}+{}\n", STANDARD.encode(&*public))))
}

fn random() -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::fill(&mut *bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
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
    fn note_keys_have_the_form_of_the_specification() {
        // The example of C2SP's signed-note and Go's golang.org/x/mod/sumdb/note.
        let (private, public) = (
            "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz",
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        );
        let seed = STANDARD.decode(private.splitn(5, '+').last().unwrap()).unwrap();
        let made = note_keys("PeterNeumann", &seed[1..]).unwrap();
        assert_eq!(made.0.trim_end(), private);
        assert_eq!(made.1.trim_end(), public);
    }
}
