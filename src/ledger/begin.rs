//! Where the journal begins: a signed note "what came up to the record `seq`, with this hash, was let go", by retention or to
//! make room. Without it a file that somebody deleted would look like one that had passed its retention.
//!
//! `journal/begins` holds one such note, in the form of a [`checkpoint`] whose origin is `<node>/<journal>/begins`, so that no
//! checkpoint passes for one. Who checks it also compares the hash, so that no other journal's note passes either.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    chain::Hash,
    checkpoint::{self, Checkpoint, Found, Signer, Verifier},
};
use crate::{files, record::Seq};

/// Of the alarm `damage_found` where records are missing at the beginning.
pub const SUBJECT: &str = "begin";
/// The hash of a record that could not be read any more.
pub const UNREADABLE: Hash = [0; 32];
/// How the origin ends.
const ENDING: &str = "/begins";

/// Where it is kept.
pub fn path(journal_dir: &Path) -> PathBuf {
    journal_dir.join("begins")
}

/// Signs that everything up to `seq` may be missing; before it is deleted.
pub fn write(journal_dir: &Path, signer: &Signer, of: (&str, &str), (seq, hash): (Seq, Hash)) -> io::Result<()> {
    let (node, journal) = of;
    let note = signer.note(&Checkpoint { origin: format!("{node}/{journal}{ENDING}"), seq, hash });
    files::replace(&path(journal_dir), note.as_bytes())?;
    // An old one that came back would accuse us of what is deleted next.
    files::sync_dir(journal_dir)
}

/// The last record of those that may be missing; none where nobody said so. An error in words where what is there is no such
/// note, or `verifier` does not take it.
pub fn read(journal_dir: &Path, verifier: Option<&Verifier>) -> io::Result<Result<Option<Checkpoint>, &'static str>> {
    let path = path(journal_dir);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        read => read.map_err(|error| files::at(&path, error))?,
    };
    Ok(match &checkpoint::parse(&bytes, verifier)[..] {
        [Found { signed: Some(false), .. }] => Err("the signature of the file `begins` is wrong"),
        [Found { checkpoint: Some(note), .. }] if note.origin.ends_with(ENDING) => Ok(Some(note.clone())),
        _ => Err("the file `begins` does not hold the note that it should"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_for_it_says_where_a_journal_begins() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = checkpoint::generate("a").unwrap();
        let (signer, verifier) = (Signer::parse(&private).unwrap(), Verifier::parse(&public).unwrap());
        let (other, _) = checkpoint::generate("a").unwrap();
        let other = Signer::parse(&other).unwrap();
        let read = || read(dir.path(), Some(&verifier)).unwrap();
        assert_eq!(read(), Ok(None));
        write(dir.path(), &signer, ("a", "3f9a1c2e"), (78, [7; 32])).unwrap();
        assert_eq!(read().unwrap().map(|begin| (begin.seq, begin.hash)), Some((78, [7; 32])));
        let note = fs::read_to_string(path(dir.path())).unwrap();
        let checkpoint = signer.note(&Checkpoint { origin: "a/3f9a1c2e".to_owned(), seq: 78, hash: [7; 32] });
        let by_another = other.note(&Checkpoint { origin: "a/3f9a1c2e/begins".to_owned(), seq: 78, hash: [7; 32] });
        for wrong in ["", "78\n", &note.replace("78", "79"), &checkpoint, &by_another, &format!("{note}\n{note}")] {
            fs::write(path(dir.path()), wrong).unwrap();
            assert!(read().is_err(), "{wrong}");
        }
    }
}
