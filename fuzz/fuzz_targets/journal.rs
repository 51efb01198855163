//! Any bytes as the last segment: reading, recovering and verifying never panic, and what recovery leaves reads the same
//! twice.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use refresh_audit::ledger::{
    read::{Item, Reader},
    recovery, verify,
};

fn lines(dir: &std::path::Path) -> Vec<(u64, Vec<u8>)> {
    let mut reader = Reader::new(dir, 1);
    let mut found = Vec::new();
    loop {
        let items = reader.read(u64::MAX, 100, usize::MAX).expect("a plain file is readable");
        if items.is_empty() {
            return found;
        }
        for item in items {
            if let Item::Line { seq, text } = item {
                found.push((seq, text.to_vec()));
            }
        }
    }
}

fuzz_target!(|segment: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    fs::create_dir(&journal).expect("a directory");
    fs::write(journal.join("00000000000000000001.jsonl"), segment).expect("a file");
    let before = lines(&journal);
    let own = verify::Own::read(dir.path(), None).expect("the checkpoints are read");
    let _ = verify::verify(dir.path(), 1, u64::MAX, own, &[], &mut |_| {});
    recovery::recover(&journal, &dir.path().join("damaged"), 1 << 20).expect("it always starts");
    assert!(lines(&journal) == before, "recovery lost a good line, or made one up");
});
