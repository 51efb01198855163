//! Checkpoints: signed statements "the record `seq` of this journal has this hash", in the C2SP signed-note form.
//!
//! A note is three lines (origin `<node>/<journal>`, seq, hash in hex), an empty line, and one line
//! `— <name> <base64 of 4-byte key hash and Ed25519 signature over the three lines>`. Notes follow each other with an
//! empty line between them. Keys are in the note format of C2SP: `PRIVATE+KEY+…` and `<name>+<key hash>+<key>`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{chain, chain::Hash};
use crate::{record::Seq, secret::Secret};

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

/// Checks them.
pub struct Verifier {
    name: String,
    key_hash: [u8; 4],
    public: Vec<u8>,
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
        let bad = || NoteError("not a checkpoint key: make one with `refresh-audit keygen checkpoint`".to_owned());
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
        let (name, key_hash, public) = split_key(text).ok_or_else(bad)?;
        if self::key_hash(&name, &public) != key_hash {
            return Err(bad());
        }
        Ok(Self { name, key_hash, public })
    }

    /// Reads a public key file.
    pub fn from_file(path: &Path) -> Result<Self, NoteError> {
        let text = fs::read_to_string(path).map_err(|error| NoteError(format!("{}: {error}", path.display())))?;
        Self::parse(&text)
    }

    /// Whether one of the signature lines is this key's and right.
    fn accepts(&self, text: &str, signatures: &[&str]) -> bool {
        signatures.iter().any(|line| {
            let Some((name, encoded)) = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' ')) else {
                return false;
            };
            let Ok(bytes) = STANDARD.decode(encoded) else { return false };
            name == self.name
                && bytes.len() == 68
                && bytes[..4] == self.key_hash
                && UnparsedPublicKey::new(&ED25519, &self.public).verify(text.as_bytes(), &bytes[4..]).is_ok()
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
    signer: Signer,
}

/// Longer than any note: origin, seq, hash and one signature line.
const NOTE_BYTES_MAX: u64 = 4_096;

impl Log {
    /// Opens it; what a crash left half-written at its end is cut off.
    pub fn open(journal_dir: &Path, signer: Signer) -> io::Result<Self> {
        let path = path(journal_dir);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        let from = len.saturating_sub(NOTE_BYTES_MAX);
        let mut tail = vec![0; usize::try_from(len - from).unwrap_or(0)];
        file.read_exact_at(&mut tail, from)?;
        let len = from + last_note_end(&tail) as u64;
        file.set_len(len)?;
        file.sync_data()?;
        super::segment::sync_dir(journal_dir)?;
        Ok(Self { file, len, signer })
    }

    /// Appends one and syncs it. After an error the next one is written in its place.
    pub fn append(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        let gap = if self.len == 0 { "" } else { "\n" };
        let text = format!("{gap}{}", self.signer.note(checkpoint));
        self.file.set_len(self.len)?;
        self.file.write_all_at(text.as_bytes(), self.len)?;
        self.file.sync_data()?;
        self.len += text.len() as u64;
        Ok(())
    }
}

/// Length up to the end of the last whole signature line.
fn last_note_end(text: &[u8]) -> usize {
    let mut end = text.len();
    while let Some(at) = memchr::memmem::rfind(&text[..end], "\n\n\u{2014} ".as_bytes()) {
        if let Some(line_end) = memchr::memchr(b'\n', &text[at + 2..]) {
            return at + 2 + line_end + 1;
        }
        end = at;
    }
    0
}

/// One note as found: its checkpoint if it is one, and whether the verifier accepts it.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says; `None` = not readable.
    pub checkpoint: Option<Checkpoint>,
    /// Whether its signature is right; `None` without a verifier.
    pub signed: Option<bool>,
}

/// Every note of a journal, in order; a half-written last one is left out.
pub fn read(journal_dir: &Path, verifier: Option<&Verifier>) -> io::Result<Vec<Found>> {
    match fs::read(path(journal_dir)) {
        Ok(bytes) => Ok(parse(&bytes, verifier)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Every note of a text, wherever it was kept.
pub fn parse(bytes: &[u8], verifier: Option<&Verifier>) -> Vec<Found> {
    let text = String::from_utf8_lossy(bytes);
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let mut found = Vec::new();
    for pair in blocks.chunks(2) {
        let [text, signatures] = pair else {
            // A text without its signature line: the writer was stopped in between, or someone wrote here.
            if !pair.concat().trim().is_empty() {
                found.push(Found { checkpoint: None, signed: Some(false) });
            }
            continue;
        };
        let text = format!("{text}\n");
        let lines: Vec<&str> = signatures.lines().collect();
        found.push(Found {
            checkpoint: Checkpoint::parse(&text),
            signed: verifier.map(|verifier| verifier.accepts(&text, &lines)),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(seq: Seq) -> Checkpoint {
        Checkpoint { origin: "audit-1/3f9a1c2e".to_owned(), seq, hash: [u8::try_from(seq).unwrap(); 32] }
    }

    #[test]
    fn the_key_hash_is_that_of_the_go_checksum_database() {
        // The public key that the Go command ships: sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8
        let known = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        assert!(Verifier::parse(known).is_ok());
        assert!(Verifier::parse(&known.replace("033de0ae", "033de0af")).is_err());
    }

    #[test]
    fn notes_are_read_back_and_an_altered_one_shows() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = generate("audit-1").unwrap();
        let verifier = Verifier::parse(&public).unwrap();
        let mut log = Log::open(dir.path(), Signer::parse(&private).unwrap()).unwrap();
        log.append(&checkpoint(1)).unwrap();
        log.append(&checkpoint(2)).unwrap();
        let found = read(dir.path(), Some(&verifier)).unwrap();
        assert_eq!(
            found.iter().map(|note| note.checkpoint.clone().unwrap()).collect::<Vec<_>>(),
            [checkpoint(1), checkpoint(2)]
        );
        assert!(found.iter().all(|note| note.signed == Some(true)));

        let text = fs::read_to_string(path(dir.path())).unwrap();
        fs::write(path(dir.path()), text.replacen("\n2\n", "\n3\n", 1)).unwrap();
        let signed: Vec<_> = read(dir.path(), Some(&verifier)).unwrap().iter().map(|note| note.signed).collect();
        assert_eq!(signed, [Some(true), Some(false)]);
    }

    #[test]
    fn a_note_that_openssl_signed_is_taken() {
        // With the key of RFC 8032, section 7.1, test 1; `fixtures/formats/make_records.py` has the note.
        let verifier = Verifier::parse("audit-1+7d0a0de6+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea").unwrap();
        let line = include_str!("../../fixtures/formats/records/checkpoint.json");
        let note = serde_json::from_str::<crate::record::Record>(line).unwrap().checkpoint.unwrap().note;
        let found = parse(note.as_bytes(), Some(&verifier));
        assert_eq!((found.len(), found[0].signed), (1, Some(true)));
        assert_eq!(found[0].checkpoint.as_ref().unwrap().seq, 6);
    }

    #[test]
    fn a_half_written_note_is_cut_at_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = generate("audit-1").unwrap();
        let verifier = Verifier::parse(&public).unwrap();
        let open = || Log::open(dir.path(), Signer::parse(&private).unwrap()).unwrap();
        open().append(&checkpoint(1)).unwrap();
        let one = fs::read(path(dir.path())).unwrap();
        open().append(&checkpoint(2)).unwrap();
        let two = fs::read(path(dir.path())).unwrap();
        for cut in one.len()..two.len() {
            fs::write(path(dir.path()), &two[..cut]).unwrap();
            open().append(&checkpoint(3)).unwrap();
            let found = read(dir.path(), Some(&verifier)).unwrap();
            let seqs: Vec<_> = found.iter().map(|note| note.checkpoint.as_ref().unwrap().seq).collect();
            assert_eq!(seqs, [1, 3], "cut at {cut}");
            assert!(found.iter().all(|note| note.signed == Some(true)), "cut at {cut}");
        }
    }
}
