//! `stdout` against bare writes of the same batches, into a pipe whose reader throws away.

use std::{
    io::{Read as _, Write as _, pipe},
    thread,
};

use refresh_audit::sink::stdout::Stdout;

use crate::{
    messages::{RECORDS, batches_of_lines, deliver, messages, runtime},
    turns::compare,
};

/// Reads until the other end is gone.
fn read_to() -> std::io::PipeWriter {
    let (mut from, to) = pipe().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while from.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    to
}

pub fn run() {
    let (sink, mut bare) = (Stdout::to(read_to()), read_to());
    let (messages, runtime) = (messages(&sink), runtime());
    let batches = batches_of_lines(&messages);
    let bytes = batches.iter().map(Vec::len).sum();
    compare(
        "stdout",
        RECORDS,
        bytes,
        || deliver(&runtime, &sink, &messages),
        || {
            for batch in &batches {
                bare.write_all(batch).unwrap();
            }
        },
    );
}
