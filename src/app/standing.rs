//! What a start has to say of its configuration, and which alarms of before it ends: those about what is not there any more.

use std::{fs, path::Path, time::Duration};

use crate::{
    config::Config,
    keys::{self, Made},
    ledger::{KeyScheme, Ledger},
    telemetry::{Alarm, Alarms, RaisedAlarm},
};

/// What an operator must know of a gate that enforces.
const ENFORCING: &str = "the gate enforces: FusionAuth undoes a refresh that is answered 403 only where the tenant's \
                         transaction setting for jwt.refresh is \"All the webhooks must succeed\" (AbsoluteMajority); \
                         under \"None\" and, with other webhooks, \"Any\" or a majority it goes through all the same";

/// What an operator must know of a source that was added to a journal.
const ONE_SOURCE_ONCE: &str = "several sources are configured, but this journal began with one: sinks get the event's id alone as \
                               its key, so an id that two sources send is one record to whoever goes by it (Elasticsearch, \
                               JetStream); a journal of its own for the new source, or a new one for all, keeps them apart";

/// Alarms about a source.
const OF_SOURCES: &[Alarm] = &[Alarm::SourceSilent, Alarm::JwksStale];
/// Alarms about a sink.
const OF_SINKS: &[Alarm] = &[Alarm::SinkStuck, Alarm::RecordParked, Alarm::CheckpointsUndelivered, Alarm::CursorAhead];

/// Says what enforcing needs of FusionAuth, and what of the gate's settings does nothing.
pub(super) fn of_gate(config: &Config) {
    for note in config.policy.idle_gate() {
        tracing::warn!("{note}");
    }
    if config.policy.gate.enforces() {
        tracing::warn!("{ENFORCING}");
    }
}

/// All that follows from how the ledger was found: which keys are new, what is there no more.
pub(super) fn of_start(made: Made, ledger: &Ledger, config: &Config, alarms: &Alarms) {
    of_fingerprint_key(made.fingerprint, ledger, config, alarms);
    of_checkpoint_key(made.checkpoint, ledger, config, alarms);
    of_webhook_key(made.webhook, ledger, config);
    if let Err(error) = Made::told(&config.data_dir) {
        tracing::warn!(%error, "the next start will say once more which keys are new");
    }
    of_what_is_gone(config, alarms);
    of_bare_keys(ledger, config);
}

/// Says that two sources share one space of keys.
fn of_bare_keys(ledger: &Ledger, config: &Config) {
    if ledger.meta().keys == KeyScheme::EventId && config.sources.len() > 1 {
        tracing::warn!("{ONE_SOURCE_ONCE}");
    }
}

/// Ends alarms about sources and sinks that are configured no more: nobody else would.
fn of_what_is_gone(config: &Config, alarms: &Alarms) {
    let sources: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    let sinks: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    for (list, names, known) in [("sources", OF_SOURCES, sources), ("sinks", OF_SINKS, sinks)] {
        for alarm in names {
            let subjects = raised(alarms, *alarm).filter_map(|raised| raised.subject);
            for name in subjects.filter(|name| !known.contains(&name.as_str())) {
                alarms.clear(*alarm, Some(&name), format!("[[{list}]] names no {name} any more"));
            }
        }
    }
}

/// Without the key of before, sessions count as new. That is over when it is back, or named among the previous ones, or when
/// no session of before is remembered any more.
fn of_fingerprint_key(made: bool, ledger: &Ledger, config: &Config, alarms: &Alarms) {
    let previous = !config.fingerprint.previous_key_files.is_empty();
    let key_id = config.fingerprinter().ok().map(|keys| keys.key_id().to_owned());
    if made && !previous && *ledger.synced().borrow() > 0 {
        let message = "the fingerprint key was missing and made anew: fingerprints from before no longer compare; \
                       put the old key back, or name it in fingerprint.previous_key_files";
        // Which key it is about: another one in its place is the old one, put back.
        alarms.raise(Alarm::FingerprintKeyNew, key_id.as_deref(), message);
        return;
    }
    let forgotten = is_older(&config.fingerprint_key_file(), config.policy.detect.session_kept.get());
    for raised in raised(alarms, Alarm::FingerprintKeyNew) {
        let put_back = raised.subject.is_some() && raised.subject != key_id;
        let why = match (previous, put_back, forgotten) {
            (true, ..) => "the keys of before are named in fingerprint.previous_key_files",
            (_, true, _) => "another key is in its place",
            (.., true) => "no session from before the new key is remembered any more (detect.session_kept)",
            _ => continue,
        };
        alarms.clear(Alarm::FingerprintKeyNew, raised.subject.as_deref(), why);
    }
}

/// With another key the notes from before are checked by its public half, where that is left. It is over with the next start:
/// there is nothing that could be put right any more.
fn of_checkpoint_key(made: bool, ledger: &Ledger, config: &Config, alarms: &Alarms) {
    const SUBJECT: Option<&str> = Some("checkpoint key");
    if made && *ledger.synced().borrow() > 0 {
        let message = format!(
            "the checkpoint key {} was missing and made anew: what it signs is checked with the new public half, notes from \
             before with the old one (checkpoint-<id>.pub), where it is left; give the new one to whoever has the old one, or put \
             the old key back; who took it away could sign a rewritten journal",
            config.checkpoint_key_file().display()
        );
        alarms.raise(Alarm::DamageFound, SUBJECT, message);
    } else {
        alarms.clear(Alarm::DamageFound, SUBJECT, "the checkpoint key was there at this start");
    }
}

/// Events were signed by another one before.
fn of_webhook_key(made: bool, ledger: &Ledger, config: &Config) {
    if let Some((key, source)) = keys::default_webhook_key(config).filter(|_| made && *ledger.synced().borrow() > 0) {
        tracing::warn!(
            "the webhook key {} was missing and made anew: put the old one back, or import this one into {}; until \
             then what is signed with another key is refused",
            key.display(),
            source.config.set_up().sender
        );
    }
}

/// What is raised of one kind.
pub(super) fn raised(alarms: &Alarms, alarm: Alarm) -> impl Iterator<Item = RaisedAlarm> {
    alarms.raised().into_iter().filter(move |raised| raised.name == alarm.name())
}

fn is_older(file: &Path, age: Duration) -> bool {
    let modified = fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed > age)
}
