//! Finding an event's record by its id, from outside: reads the files, needs no lock and no index.

use std::{io, path::Path};

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{
    chain,
    read::LineReader,
    segment::{self, Segment},
};
use crate::record::{Kind, Seq};

#[derive(Deserialize)]
struct Found {
    kind: Kind,
    event: Option<FoundEvent>,
}

#[derive(Deserialize)]
struct FoundEvent {
    id: String,
}

/// The seq of the newest record of kind `event` with this id, none past `until`. Newest segments first, since what is
/// asked for is mostly young; `progress` hears of every segment.
pub fn event(dir: &Path, id: &str, until: Seq, progress: &mut dyn FnMut()) -> io::Result<Option<Seq>> {
    let text = serde_json::to_string(id)?;
    let needle = format!("\"id\":{text}");
    let finder = Finder::new(&needle);
    for segment in segment::list(dir)?.iter().rev().filter(|segment| segment.first <= until) {
        if let Some(seq) = last_in(segment, &finder, id, until)? {
            return Ok(Some(seq));
        }
        progress();
    }
    Ok(None)
}

fn last_in(segment: &Segment, finder: &Finder<'_>, id: &str, until: Seq) -> io::Result<Option<Seq>> {
    let mut lines = match LineReader::open(segment) {
        // Retention took it since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lines => lines?,
    };
    let mut last = None;
    while let Some(line) = lines.next_line()? {
        // The text first: of millions of lines one has it, and only that one is worth a hash and a parse.
        if finder.find(&line).is_none() {
            continue;
        }
        let Some(checked) = chain::check_line(&line).filter(|checked| checked.seq <= until) else { continue };
        let is_it = |found: Found| found.kind == Kind::Event && found.event.is_some_and(|event| event.id == id);
        if serde_json::from_slice(&line).is_ok_and(is_it) {
            last = Some(checked.seq);
        }
    }
    Ok(last)
}
