//! Checkpoints: signed statements "the record `seq` of this journal has this hash", in the C2SP signed-note form.
//!
//! A note is three lines (origin `<node>/<journal>`, seq, hash in hex), an empty line, and one line
//! `— <name> <base64 of 4-byte key hash and Ed25519 signature over the three lines>`. Notes follow each other with an
//! empty line between them. Keys are in the note format of C2SP: `PRIVATE+KEY+…` and `<name>+<key hash>+<key>`.
//!
//! Other bytes between notes are damage: they stay where they are, and cost no note but the one that they are in.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{chain, chain::Hash};
use crate::{files, record::Seq, secret::Secret};

/// Signature algorithm byte of C2SP signed notes: Ed25519.
const ED25519_TYPE: u8 = 1;

/// Why a key or a note is not usable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoteError(String);

/// Signs checkpoints.
pub struct Signer {
    name: String,
    key_hash: [u8; 4],
    pair: Ed25519KeyPair,
}

/// Checks them, by one key or several: the one in use, and those before it.
pub struct Verifier(Vec<PublicKey>);

struct PublicKey {
    name: String,
    key_hash: [u8; 4],
    bytes: Vec<u8>,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// `<node>/<journal>`.
    pub origin: String,
    /// The record.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
}

/// First 4 bytes of SHA-256(name, LF, type, public key), as C2SP signed-note says.
pub fn key_hash(name: &str, public: &[u8]) -> [u8; 4] {
    let digest = Sha256::new().chain_update(name).chain_update([b'\n', ED25519_TYPE]).chain_update(public).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Makes a new key: the private text and the public text.
pub fn generate(name: &str) -> Result<(Secret, String), NoteError> {
    let mut seed = zeroize::Zeroizing::new([0_u8; 33]);
    seed[0] = ED25519_TYPE;
    aws_lc_rs::rand::fill(&mut seed[1..]).map_err(|_| NoteError("the system gives no random bytes".to_owned()))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed[1..]).map_err(|error| NoteError(error.to_string()))?;
    let public = pair.public_key().as_ref();
    let id = hex::encode(key_hash(name, public));
    let private = format!("PRIVATE+KEY+{name}+{id}+{}", STANDARD.encode(&seed[..]));
    let public = format!("{name}+{id}+{}", STANDARD.encode([&[ED25519_TYPE], public].concat()));
    Ok((Secret::new(private.into_bytes()), public))
}

/// `name+hash+base64(1 || key)`, split and checked in form.
fn split_key(text: &str) -> Option<(String, [u8; 4], Vec<u8>)> {
    let (name, rest) = text.trim().split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    let mut hash = [0; 4];
    hex::decode_to_slice(id, &mut hash).ok()?;
    let key = STANDARD.decode(key).ok()?;
    (key.len() == 33 && key[0] == ED25519_TYPE).then(|| (name.to_owned(), hash, key[1..].to_vec()))
}

impl Signer {
    /// Reads a private key.
    pub fn parse(secret: &Secret) -> Result<Self, NoteError> {
        let bad =
            || NoteError("not a checkpoint key: make one with `refresh-audit keygen checkpoint --out FILE`".to_owned());
        let text = std::str::from_utf8(secret.expose()).map_err(|_| bad())?;
        let (name, key_hash, seed) = split_key(text.strip_prefix("PRIVATE+KEY+").ok_or_else(bad)?).ok_or_else(bad)?;
        let seed = zeroize::Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| bad())?;
        if self::key_hash(&name, pair.public_key().as_ref()) != key_hash {
            return Err(bad());
        }
        Ok(Self { name, key_hash, pair })
    }

    /// The public half as text.
    pub fn public_text(&self) -> String {
        let key = [&[ED25519_TYPE], self.pair.public_key().as_ref()].concat();
        format!("{}+{}+{}", self.name, hex::encode(self.key_hash), STANDARD.encode(key))
    }

    pub(super) fn note(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let signature = [&self.key_hash, self.pair.sign(text.as_bytes()).as_ref()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(signature))
    }
}

impl Verifier {
    /// Reads a public key.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = || NoteError("not a checkpoint public key (`name+hash+key`)".to_owned());
        let (name, key_hash, bytes) = split_key(text).ok_or_else(bad)?;
        if self::key_hash(&name, &bytes) != key_hash {
            return Err(bad());
        }
        Ok(Self(vec![PublicKey { name, key_hash, bytes }]))
    }

    /// Takes what the other one takes, too.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The keys' hashes, in hex.
    pub fn key_ids(&self) -> String {
        self.0.iter().map(|key| hex::encode(key.key_hash)).collect::<Vec<_>>().join("-")
    }

    /// Reads a public key file.
    pub fn from_file(path: &Path) -> Result<Self, NoteError> {
        let text = fs::read_to_string(path).map_err(|error| NoteError(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| NoteError(format!("{}: {error}", path.display())))
    }

    /// Whether one of the signature lines is by one of the keys, and right.
    fn accepts(&self, text: &str, signatures: &str) -> bool {
        signatures.lines().any(|line| {
            let Some((name, encoded)) = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' ')) else {
                return false;
            };
            let Ok(bytes) = STANDARD.decode(encoded) else { return false };
            bytes.len() == 68
                && self.0.iter().any(|key| {
                    name == key.name
                        && bytes[..4] == key.key_hash
                        && UnparsedPublicKey::new(&ED25519, &key.bytes).verify(text.as_bytes(), &bytes[4..]).is_ok()
                })
        })
    }
}

impl Checkpoint {
    /// The instance that signed it.
    pub fn node(&self) -> &str {
        self.origin.rsplit_once('/').map_or("", |(node, _)| node)
    }

    /// The journal that it is about.
    pub fn journal(&self) -> &str {
        self.origin.rsplit_once('/').map_or("", |(_, journal)| journal)
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.seq, hex::encode(self.hash))
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, seq, hash) = (lines.next()?, lines.next()?, lines.next()?);
        let canonical = !origin.is_empty() && lines.next().is_none() && seq.parse::<Seq>().ok()?.to_string() == seq;
        canonical.then_some(())?;
        Some(Self { origin: origin.to_owned(), seq: seq.parse().ok()?, hash: chain::parse_hash(hash.as_bytes())? })
    }
}

/// Where checkpoints are kept.
pub fn path(journal_dir: &Path) -> PathBuf {
    journal_dir.join("checkpoints")
}

/// The file of checkpoints, open for appending.
pub struct Log {
    file: File,
    len: u64,
    /// Whether its end is damaged: then the next note keeps its distance.
    is_end_bad: bool,
    signer: Signer,
}

/// Longer than any note: origin, seq, hash and one signature line.
const NOTE_BYTES_MAX: u64 = 4_096;

impl Log {
    /// Opens it; what a crash left half-written at its end is cut off, anything else stays.
    pub fn open(journal_dir: &Path, signer: Signer) -> io::Result<Self> {
        let file = files::open_or_make(&path(journal_dir))?;
        let len = file.metadata()?.len();
        let from = len.saturating_sub(NOTE_BYTES_MAX);
        let mut tail = vec![0; usize::try_from(len - from).unwrap_or(0)];
        file.read_exact_at(&mut tail, from)?;
        let end = last_note_end(&tail);
        let is_end_bad = !is_torn(&tail[end..]);
        let len = if is_end_bad { len } else { from + end as u64 };
        file.set_len(len)?;
        file.sync_data()?;
        files::sync_dir(journal_dir)?;
        Ok(Self { file, len, is_end_bad, signer })
    }

    /// Who signs.
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Appends one and syncs it. After an error the next one is written in its place.
    pub fn append(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let gap = match (self.len, self.is_end_bad) {
            (0, _) => "",
            (_, true) => "\n\n",
            _ => "\n",
        };
        let text = format!("{gap}{}", self.signer.note(checkpoint));
        self.file.set_len(self.len)?;
        self.file.write_all_at(text.as_bytes(), self.len)?;
        self.file.sync_data()?;
        (self.len, self.is_end_bad) = (self.len + text.len() as u64, false);
        Ok(())
    }
}

#[cfg(test)]
impl Log {
    /// From here on every write fails.
    pub(super) fn break_it(&mut self, journal_dir: &Path) {
        self.file = File::open(path(journal_dir)).unwrap();
    }

    /// And succeeds again.
    pub(super) fn mend_it(&mut self, journal_dir: &Path) {
        self.file = files::open_or_make(&path(journal_dir)).unwrap();
    }
}

/// How a signature line begins.
const DASH: &[u8] = "\u{2014} ".as_bytes();
/// The end of a note's text, and the beginning of its first signature line.
const TEXT_END: &[u8] = "\n\n\u{2014} ".as_bytes();

/// Length up to the end of the last whole signature line.
fn last_note_end(text: &[u8]) -> usize {
    let mut end = text.len();
    while let Some(at) = memchr::memmem::rfind(&text[..end], TEXT_END) {
        if let Some(line_end) = memchr::memchr(b'\n', &text[at + 2..]) {
            return at + 2 + line_end + 1;
        }
        end = at;
    }
    0
}

/// Whether these bytes can be the beginning of a note whose writing was cut short, or nothing at all.
fn is_torn(rest: &[u8]) -> bool {
    let gap = rest.iter().take_while(|byte| **byte == b'\n').count();
    let mut lines = rest[gap..].split(|byte| *byte == b'\n');
    let mut has_only = |takes: fn(u8) -> bool| lines.next().is_none_or(|line| line.iter().all(|byte| takes(*byte)));
    (rest.len() as u64) < NOTE_BYTES_MAX
        && has_only(|byte| byte.is_ascii_graphic())
        && has_only(|byte| byte.is_ascii_digit())
        && has_only(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && has_only(|_| false)
        && lines.next().is_none_or(|line| line.starts_with(&DASH[..line.len().min(DASH.len())]))
        && lines.next().is_none()
}

/// A note among other bytes, or what stands where one should be.
pub(super) struct Piece<'b> {
    /// Where it begins. Before it there are ends of lines, or other bytes.
    pub(super) begin: usize,
    /// Behind its signatures.
    pub(super) end: usize,
    /// What it says; `None` = not readable.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The text that is signed, and the signature lines.
    parts: (&'b str, &'b str),
}

/// The first one of which the end is there.
pub(super) fn first_piece(bytes: &[u8]) -> Option<Piece<'_>> {
    let at = memchr::memmem::find(bytes, TEXT_END)?;
    let line_end = |from: usize| memchr::memchr(b'\n', &bytes[from..]).map(|length| from + length + 1);
    let mut end = line_end(at + 2)?;
    while let Some(more) = Some(end).filter(|end| bytes[*end..].starts_with(DASH)).and_then(line_end) {
        end = more;
    }
    // Three lines, whatever is before them.
    let begin = memchr::memrchr_iter(b'\n', &bytes[..at]).nth(2).map_or(0, |before| before + 1);
    let text = std::str::from_utf8(&bytes[begin..end]).unwrap_or_default();
    let parts = text.split_at_checked(at + 1 - begin).unwrap_or_default();
    Some(Piece { begin, end, checkpoint: Checkpoint::parse(parts.0), parts })
}

/// One note as found: its checkpoint if it is one, and whether the verifier accepts it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says; `None` = not readable.
    pub checkpoint: Option<Checkpoint>,
    /// Whether its signature is right; `None` without a verifier.
    pub signed: Option<bool>,
    /// Which bytes.
    pub place: Range<usize>,
}

/// Every note of a journal, in order; a half-written last one is left out.
pub fn read(journal_dir: &Path, verifier: Option<&Verifier>) -> io::Result<Vec<Found>> {
    let path = path(journal_dir);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| files::at(&path, error))?,
    };
    let (mut found, end) = notes(&bytes, verifier);
    if !is_torn(&bytes[end..]) {
        found.extend(other(&bytes, end..bytes.len()));
    }
    Ok(found)
}

/// Every note of a text, wherever it was kept.
pub fn parse(bytes: &[u8], verifier: Option<&Verifier>) -> Vec<Found> {
    // The end of the last line may have been lost on the way.
    let bytes = [bytes, b"\n"].concat();
    let (mut found, end) = notes(&bytes, verifier);
    found.extend(other(&bytes, end..bytes.len()));
    found
}

/// What is there and is no note; without the ends of lines around it, which come to be more when a note follows.
fn other(bytes: &[u8], place: Range<usize>) -> Option<Found> {
    let is_something = |byte: &u8| !byte.is_ascii_whitespace();
    let begin = place.start + bytes[place.clone()].iter().position(is_something)?;
    let end = place.start + bytes[place].iter().rposition(is_something)? + 1;
    Some(Found { checkpoint: None, signed: Some(false), place: begin..end })
}

/// Every note, what stands between them, and where the last one ends.
fn notes(bytes: &[u8], verifier: Option<&Verifier>) -> (Vec<Found>, usize) {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(piece) = first_piece(&bytes[from..]) {
        let Piece { begin, end, checkpoint, parts: (text, signatures) } = piece;
        found.extend(other(bytes, from..from + begin));
        let place = from + begin..from + end;
        if checkpoint.is_some() {
            let signed = verifier.map(|verifier| verifier.accepts(text, signatures));
            found.push(Found { checkpoint, signed, place });
        } else {
            found.extend(other(bytes, place));
        }
        from += end;
    }
    (found, from)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
