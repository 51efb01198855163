//! `sinks parked`: what a sink refused for good, a page at a time, and what an operator decides about it.

use serde_json::{Value, json};

use super::{Ended, Format, action, done, files, journal, show, values};
use crate::{
    cli::{admin::Admin, print},
    config::{Config, SinkEntry},
    deliver::{
        Journal, Triage, Which,
        books::Books,
        parked::{PAGE_MAX, Page},
    },
    record::Seq,
};

/// Members of a parked record, in the order of the table's columns.
const COLUMNS: &[&str] = &["seq", "parked_at", "key", "reason"];

/// The records in full are printed as they come; the table has to know all of its rows, but not those.
pub(super) async fn list(format: Format, config: &Config, admin: &Admin, sink: &SinkEntry) -> anyhow::Result<Ended> {
    let mut pages = Pages { config, admin, sink, full: format == Format::Json, from: 1, files: None };
    if format == Format::Json {
        return print_json(&mut pages).await;
    }
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await? {
        rows.extend(page);
    }
    show(format, COLUMNS, rows)
}

/// One array, of which no more than a page is held.
async fn print_json(pages: &mut Pages<'_>) -> anyhow::Result<Ended> {
    let mut before: Option<String> = None;
    while let Some(page) = pages.next().await? {
        match before {
            Some(rows) => print(&format!("{rows},"))?,
            None => print("[")?,
        }
        let text = serde_json::to_string_pretty(&page)?;
        before = Some(text.trim_start_matches("[\n").trim_end_matches("\n]").to_owned());
    }
    match before {
        Some(rows) => print(&format!("{rows}\n]"))?,
        None => print("[]")?,
    }
    Ok(Ended::Well)
}

/// The parked records of a running service, else of the files.
struct Pages<'a> {
    config: &'a Config,
    admin: &'a Admin,
    sink: &'a SinkEntry,
    full: bool,
    from: Seq,
    files: Option<Books>,
}

impl Pages<'_> {
    /// `None` at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Vec<Value>>> {
        let (from, full) = (self.from, self.full);
        let path = format!("/api/sinks/{}/parked?from={from}&limit={PAGE_MAX}&full={full}", self.sink.name);
        let told = if self.files.is_none() { self.admin.get(&path).await? } else { None };
        let mut rows: Vec<Value> = match told {
            Some(rows) => rows,
            None => {
                let load = || anyhow::Ok(files(self.config, self.sink, &journal(self.config)?).load());
                let books = self.files.take().map_or_else(load, Ok)?;
                values(&self.files.insert(books).parked_page(Page { from, limit: PAGE_MAX, full })?)?
            }
        };
        // A service of before there were pages tells of all of them each time.
        rows.retain(|row| row["seq"].as_u64().is_some_and(|seq| seq >= from));
        self.from = rows.last().and_then(|row| row["seq"].as_u64()).map_or(from, |last| last + 1);
        Ok(Some(rows).filter(|rows| !rows.is_empty()))
    }
}

/// Does what the operator decided, and says so.
pub(super) async fn change(config: &Config, admin: &Admin, sink: &SinkEntry, triage: &Triage) -> anyhow::Result<Ended> {
    let (verb, will_be) = match triage {
        Triage::Retry(_) => ("retry", "will be tried again"),
        Triage::Drop(_) => ("drop", "given up"),
        Triage::Park(_) => ("park", "will be parked when it is their turn"),
    };
    let (all, seqs) = match triage.which() {
        Which::All => (true, &[][..]),
        Which::Seqs(seqs) => (false, &seqs[..]),
    };
    let asked = json!({ "action": verb, "seqs": seqs, "all": all });
    let asked = admin.post(&format!("/api/sinks/{}/parked", sink.name), &asked).await;
    let action = action(triage.name(), &sink.name, triage.which().to_string());
    let check = |journal: &Journal| files(config, sink, journal).check_triage(triage);
    let count = done(asked, config, check, |_| Some(action), |journal| files(config, sink, journal).triage(triage))?;
    print(&format!("{}: {count} records {will_be}", sink.name))?;
    Ok(Ended::Well)
}
