//! Finding single records from outside, the newest first: reads the files, needs no lock and no index.

use std::{io, path::Path};

use memchr::memmem::Finder;
use serde::Deserialize;

use super::{
    chain,
    read::LineReader,
    segment::{self, Segment},
};
use crate::record::{Kind, Record, Seq};

#[derive(Deserialize)]
struct Found {
    kind: Kind,
    source: Option<String>,
    event: Option<FoundEvent>,
}

#[derive(Deserialize)]
struct FoundEvent {
    id: String,
}

/// What tells one event from all others.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The event's id.
    pub id: &'a str,
    /// Who sent it; none: anyone.
    pub source: Option<&'a str>,
    /// Of which kind its record is.
    pub kinds: &'a [Kind],
}

/// The seq of the newest such record, none past `until`. `progress` hears of every segment.
pub fn event(dir: &Path, wanted: Wanted<'_>, until: Seq, progress: &mut dyn FnMut()) -> io::Result<Option<Seq>> {
    let needle = format!("\"id\":{}", serde_json::to_string(wanted.id)?);
    let is_it = |line: &[u8]| {
        serde_json::from_slice(line).is_ok_and(|found: Found| {
            wanted.kinds.contains(&found.kind)
                && found.event.is_some_and(|event| event.id == wanted.id)
                && wanted.source.is_none_or(|source| found.source.as_deref() == Some(source))
        })
    };
    Ok(newest(dir, &needle, until, &is_it, progress)?.map(|(seq, _)| seq))
}

/// The newest record that says what applies of a part of the configuration (`gate`), none past `until`.
pub fn config(dir: &Path, part: &str, until: Seq) -> io::Result<Option<Record>> {
    let read = |line: &[u8]| serde_json::from_slice::<Record>(line).ok();
    let is_it = |line: &[u8]| read(line).is_some_and(|record| record.config.is_some_and(|config| config.what == part));
    Ok(newest(dir, "\"kind\":\"config\"", until, &is_it, &mut || {})?.and_then(|(_, line)| read(&line)))
}

/// The newest line that is it, of those that have the needle. Newest segments first, since what is asked for is mostly young.
fn newest(
    dir: &Path,
    needle: &str,
    until: Seq,
    is_it: &dyn Fn(&[u8]) -> bool,
    progress: &mut dyn FnMut(),
) -> io::Result<Option<(Seq, Vec<u8>)>> {
    let finder = Finder::new(needle);
    for segment in segment::list(dir)?.iter().rev().filter(|segment| segment.first <= until) {
        if let Some(found) = last_in(segment, &finder, until, is_it)? {
            return Ok(Some(found));
        }
        progress();
    }
    Ok(None)
}

fn last_in(
    segment: &Segment,
    finder: &Finder<'_>,
    until: Seq,
    is_it: &dyn Fn(&[u8]) -> bool,
) -> io::Result<Option<(Seq, Vec<u8>)>> {
    let mut lines = match LineReader::open(segment) {
        // Retention took it since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lines => lines?,
    };
    let mut last = None;
    while let Some(line) = lines.next_line()? {
        // The text first: of millions of lines few have it, and only those are worth a hash and a parse.
        if finder.find(&line).is_none() {
            continue;
        }
        let Some(checked) = chain::check_line(&line).filter(|checked| checked.seq <= until) else { continue };
        if is_it(&line) {
            last = Some((checked.seq, line.to_vec()));
        }
    }
    Ok(last)
}
