//! `file` against a bare append and `fdatasync` of the same batches, on the same disk.

use std::{fs::File, io::Write as _};

use crate::{
    messages::{RECORDS, batches_of_lines, deliver, messages, runtime, sink},
    turns::compare,
};

pub fn run() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sink = sink("file", "path = 'audit.jsonl'\nrotate_size = '100MiB'\nkeep = 1\ncompress = false", dir.path());
    let (messages, runtime) = (messages(&sink), runtime());
    let batches = batches_of_lines(&messages);
    let mut bare = File::create(dir.path().join("bare")).unwrap();
    let bytes = batches.iter().map(Vec::len).sum();
    compare(
        "file",
        RECORDS,
        bytes,
        || deliver(&runtime, &sink, &messages),
        || {
            for batch in &batches {
                bare.write_all(batch).unwrap();
                bare.sync_data().unwrap();
            }
        },
    );
}
