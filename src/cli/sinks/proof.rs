//! `sinks proof`: for every sink what became of one record, and what the other side said to it.

use anyhow::Context as _;
use serde_json::json;

use super::{Ended, Format, files, synced_journal, values};
use crate::{
    cli::{admin::Admin, print, printable, say, scan},
    config::Config,
    record::{Kind, Seq},
};

const COLUMNS: &[&str] = &["sink", "state", "delivered_at", "batch", "attempt", "ack", "checkpoint", "reason"];

pub(super) async fn run(
    format: Format,
    config: &Config,
    admin: &Admin,
    id: Option<&str>,
    seq: Option<Seq>,
) -> anyhow::Result<Ended> {
    let journal = synced_journal(config, admin).await?;
    let found = match (seq, id) {
        (Some(seq), _) => Some(seq).filter(|seq| (1..=journal.synced).contains(seq)),
        (None, Some(id)) => scan::find(&journal.dir, id, &[Kind::Event], journal.synced)?,
        (None, None) => None,
    };
    let Some(seq) = found else {
        let what = id.map_or_else(|| "this seq".to_owned(), |id| format!("the event id {}", printable(id)));
        say(&format!("the journal has no record with {what} (seqs 1 to {})", journal.synced));
        return Ok(Ended::WithProblem);
    };
    let proofs = config.sinks.iter().map(|sink| {
        let proof = files(config, sink, &journal).proof(seq);
        proof.with_context(|| format!("the proofs of sink {} cannot be read", sink.name))
    });
    let mut rows = values(&proofs.collect::<anyhow::Result<Vec<_>>>()?)?;
    if format == Format::Json {
        let whole = json!({ "event_id": id, "seq": seq, "sinks": rows });
        print(&serde_json::to_string_pretty(&whole)?)?;
        return Ok(Ended::Well);
    }
    for row in &mut rows {
        if let (Some(first), Some(last)) = (row["batch"][0].as_u64(), row["batch"][1].as_u64()) {
            row["batch"] = format!("{first} to {last}").into();
        }
        let again: Vec<String> = row["again"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some(format!("again {}: {}", one["delivered_at"].as_str()?, one["ack"].as_str()?)))
            .collect();
        if !again.is_empty() {
            let reason = row["reason"].as_str().map(str::to_owned);
            row["reason"] = reason.into_iter().chain(again).collect::<Vec<_>>().join("; ").into();
        }
    }
    print(&format!("record {seq}"))?;
    super::show(format, COLUMNS, rows)
}
