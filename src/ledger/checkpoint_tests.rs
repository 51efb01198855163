//! Notes as they are written and read, and what else may stand between them.

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

#[test]
fn what_is_no_note_stays_and_costs_no_other() {
    let (private, public) = generate("audit-1").unwrap();
    let verifier = Verifier::parse(&public).unwrap();
    for junk in [&b"\xff\xfe\x01 binary"[..], &[0; 300], b"junk\njunk\n", b"a\n\n\xe2\x80\x94 b", &[b'x'; 9_000]] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Log::open(dir.path(), Signer::parse(&private).unwrap()).unwrap();
        for bad_first in [true, false] {
            let _ = fs::remove_file(path(dir.path()));
            if !bad_first {
                open().append(&checkpoint(1)).unwrap();
            }
            let before = [&fs::read(path(dir.path())).unwrap_or_default()[..], junk].concat();
            fs::write(path(dir.path()), &before).unwrap();
            let told = read(dir.path(), None).unwrap().pop().unwrap();
            let mut log = open();
            log.append(&checkpoint(2)).unwrap();
            log.append(&checkpoint(3)).unwrap();
            assert!(fs::read(path(dir.path())).unwrap().starts_with(&before), "it is evidence");
            let found = read(dir.path(), Some(&verifier)).unwrap();
            let good = found.iter().filter(|note| note.signed == Some(true));
            let good: Vec<_> = good.map(|note| note.checkpoint.as_ref().unwrap().seq).collect();
            assert_eq!(good, if bad_first { &[2, 3][..] } else { &[1, 2, 3] }, "{junk:?}");
            let bad: Vec<_> = found.iter().filter(|note| note.checkpoint.is_none()).collect();
            assert_eq!(bad.len(), 1, "{junk:?}");
            assert_eq!(bad[0].place, told.place, "{junk:?}: listed once");
            assert_eq!(bad[0].place.start, before.len() - junk.len(), "{junk:?}");
        }
    }
}

#[test]
fn notes_of_a_key_that_was_in_use_before_are_taken_with_its_public_half() {
    let dir = tempfile::tempdir().unwrap();
    let [(old, old_public), (new, new_public)] = ["audit-1", "audit-1"].map(|name| generate(name).unwrap());
    for (key, seq) in [(&old, 1), (&new, 2)] {
        Log::open(dir.path(), Signer::parse(key).unwrap()).unwrap().append(&checkpoint(seq)).unwrap();
    }
    let signed = |verifier: &Verifier| -> Vec<_> {
        read(dir.path(), Some(verifier)).unwrap().iter().map(|note| note.signed).collect()
    };
    let mut verifier = Verifier::parse(&new_public).unwrap();
    assert_eq!(signed(&verifier), [Some(false), Some(true)]);
    verifier.add(Verifier::parse(&old_public).unwrap());
    assert_eq!(signed(&verifier), [Some(true), Some(true)]);
}
