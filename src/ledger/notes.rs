//! Checkpoints read forward, one after the other, while more are written: for whoever hands them on.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::checkpoint::{self, Checkpoint};
use crate::record::Seq;

/// A whole note as it stands in the file, with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Byte for byte, up to the LF of its last line.
    pub text: String,
}

/// A place among a journal's notes. Signatures are not checked. Blocking.
#[derive(Clone, Debug)]
pub struct Notes {
    path: PathBuf,
    journal: Arc<str>,
    offset: u64,
}

/// Read at a time; more than any note.
const READ_BYTES: usize = 64 << 10;

impl Notes {
    /// At the first note. What another journal's say (of which this one is a restored copy) is none of this one's.
    pub fn new(journal_dir: &Path, journal: &Arc<str>) -> Self {
        Self { path: checkpoint::path(journal_dir), journal: Arc::clone(journal), offset: 0 }
    }

    /// Back to the first note.
    pub fn rewind(&mut self) {
        self.offset = 0;
    }

    /// The next ones, `max` at most, with rising seqs behind `after` and up to `until`; the first one past that is left for
    /// a later call. What is no whole note is passed over, but for one at the end that may still be under way.
    pub fn read(&mut self, mut after: Seq, until: Seq, max: usize) -> io::Result<Vec<Note>> {
        let mut notes = Vec::new();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(notes),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() < self.offset {
            // A write that failed was taken back. What was read before is left out by its seq.
            self.offset = 0;
        }
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let have = read_full(&file, &mut chunk, self.offset)?;
            let mut at = 0;
            while let Some((note, len)) = first_note(&chunk[at..have]) {
                let note = note.filter(|note| note.checkpoint.journal() == &*self.journal);
                if notes.len() == max || note.as_ref().is_some_and(|note| note.checkpoint.seq > until) {
                    self.offset += at as u64;
                    return Ok(notes);
                }
                at += len;
                if let Some(note) = note.filter(|note| note.checkpoint.seq > after) {
                    after = note.checkpoint.seq;
                    notes.push(note);
                }
            }
            if have < READ_BYTES {
                self.offset += at as u64;
                return Ok(notes);
            }
            // A chunk without the end of a note holds none.
            self.offset += if at == 0 { have } else { at } as u64;
        }
    }
}

/// Fills the buffer from there, as far as the file goes.
fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => return Ok(filled),
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is there up to the end of the first note's signatures, if it is one, and its length.
fn first_note(bytes: &[u8]) -> Option<(Option<Note>, usize)> {
    let piece = checkpoint::first_piece(bytes)?;
    let text = String::from_utf8_lossy(&bytes[piece.begin..piece.end]).into_owned();
    Some((piece.checkpoint.map(|checkpoint| Note { checkpoint, text }), piece.end))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::checkpoint::{Log, Signer, generate, path};

    fn checkpoint(seq: Seq) -> Checkpoint {
        Checkpoint { origin: "audit-1/3f9a1c2e".to_owned(), seq, hash: [seq.to_le_bytes()[0]; 32] }
    }

    #[test]
    fn notes_are_read_forward_while_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let (private, _) = generate("audit-1").unwrap();
        let new = || Notes::new(dir.path(), &"3f9a1c2e".into());
        let mut notes = new();
        assert_eq!(notes.read(0, 9, 9).unwrap(), []);
        let mut log = Log::open(dir.path(), Signer::parse(&private).unwrap()).unwrap();
        let text = |seq| Signer::parse(&private).unwrap().note(&checkpoint(seq));
        log.append(&Checkpoint { origin: "audit-1/00c0ffee".to_owned(), ..checkpoint(90) }).unwrap();
        for seq in [1, 2, 2, 5] {
            log.append(&checkpoint(seq)).unwrap();
        }
        let seqs = |found: &[Note]| found.iter().map(|note| note.checkpoint.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&notes.read(0, 4, 1).unwrap()), [1], "one at most");
        let second = notes.read(1, 4, 9).unwrap();
        assert_eq!((seqs(&second), &second[0].text), (vec![2], &text(2)), "each once, none past the end");
        assert_eq!(notes.read(2, 4, 9).unwrap(), []);
        assert_eq!(seqs(&notes.read(2, 5, 9).unwrap()), [5], "it was left for later");
        assert_eq!(seqs(&new().read(1, 9, 9).unwrap()), [2, 5], "only what comes behind");

        // Half a note is none yet; what is none at all costs nothing but itself.
        let whole = fs::read(path(dir.path())).unwrap();
        let half = [&whole[..], b"\n", &text(7).as_bytes()[..50]].concat();
        fs::write(path(dir.path()), &half).unwrap();
        assert_eq!(notes.read(5, 9, 9).unwrap(), []);
        let damaged = [&whole[..], b"\nsomething\n\n\xe2\x80\x94 else\n\n", text(7).as_bytes()].concat();
        fs::write(path(dir.path()), &damaged).unwrap();
        assert_eq!(seqs(&notes.read(5, 9, 9).unwrap()), [7]);
        // Shorter than it was: what comes now is found all the same.
        fs::write(path(dir.path()), [&whole[..], b"\n", text(8).as_bytes()].concat()).unwrap();
        assert_eq!(seqs(&notes.read(7, 9, 9).unwrap()), [8]);
        // Longer than what is read at once, with more than that of something else before it.
        let many: String = (9..1_009).map(|seq| format!("\n{}", text(seq))).collect();
        fs::write(path(dir.path()), [&vec![b'x'; 200_000][..], many.as_bytes()].concat()).unwrap();
        assert_eq!(new().read(0, Seq::MAX, 9_999).unwrap().len(), 1_000, "it costs none of them");
    }
}
