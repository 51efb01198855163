//! Signed notes, read and verified a second time, from <https://c2sp.org/signed-note> alone.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The text that a note signs, once one of its signatures is by this key (`<name>+<hash>+<key>`) and right.
pub fn open<'n>(note: &'n str, vkey: &str) -> Result<&'n str, String> {
    let mut parts = vkey.trim_end().splitn(3, '+');
    let (name, id, key) =
        (parts.next().unwrap(), parts.next().unwrap(), STANDARD.decode(parts.next().unwrap()).unwrap());
    let [1, public @ ..] = &key[..] else { panic!("{vkey} is no Ed25519 key") };
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
    assert_eq!(id, hex::encode(&hash.as_ref()[..4]), "the hash in {vkey}");

    let (text, signatures) = note.rsplit_once("\n\n").ok_or("no signatures")?;
    // The last line's end belongs to the text.
    let text = &note[..=text.len()];
    let signatures = signatures.strip_suffix('\n').ok_or("the end is missing")?;
    for line in signatures.split('\n') {
        let (by, signature) =
            line.strip_prefix("— ").and_then(|line| line.split_once(' ')).ok_or("no signature line")?;
        let signature = STANDARD.decode(signature).map_err(|error| error.to_string())?;
        if by == name && signature[..4] == hash.as_ref()[..4] {
            let right = UnparsedPublicKey::new(&ED25519, public).verify(text.as_bytes(), &signature[4..]);
            return right.map(|()| text).map_err(|_| "the signature is wrong".to_owned());
        }
    }
    Err("not signed by this key".to_owned())
}

/// Origin, seq and hash of a checkpoint's text.
pub fn read(text: &str) -> (&str, u64, &str) {
    let lines: Vec<&str> = text.strip_suffix('\n').unwrap().split('\n').collect();
    let [origin, seq, hash] = lines[..] else { panic!("{text:?} is not three lines") };
    (origin, seq.parse().unwrap(), hash)
}

/// The example of the specification's first implementation (golang.org/x/mod/sumdb/note).
#[test]
fn the_known_note_is_taken_and_an_altered_one_is_not() {
    let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let note = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\
                \n\
                — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    assert_eq!(open(note, key), Ok(&note[..note.find("\n\n").unwrap() + 1]));
    assert_eq!(open(&note.replace("answer", "anwser"), key), Err("the signature is wrong".to_owned()));
}
