//! Every alarm, named in one list; which are raised, and the changes that the journal has not taken yet.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use super::{AlarmLabels, Metrics};
use crate::record::{AlarmChange, AlarmState};

macro_rules! alarms {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// Every alarm there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Alarm { $($(#[$doc])* $variant),* }

        impl Alarm {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in logs, metrics and records.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

alarms! {
    /// A source sent nothing for longer than its `quiet_after`.
    SourceSilent = "source_silent",
    /// A sink has been refusing or failing for a while.
    SinkStuck = "sink_stuck",
    /// A sink refused single records for good; they wait in `parked.jsonl`.
    RecordParked = "record_parked",
    /// A sink with `checkpoints = true` does not take them.
    CheckpointsUndelivered = "checkpoints_undelivered",
    /// A sink's cursor lies past the end of the journal, or belongs to another journal.
    CursorAhead = "cursor_ahead",
    /// The wall clock jumped.
    ClockJump = "clock_jump",
    /// The id index hung or broke and is being rebuilt.
    IndexAbandoned = "index_abandoned",
    /// Damage was found in the journal.
    DamageFound = "damage_found",
    /// Free disk space or the journal's share of it is nearly used up.
    DiskLow = "disk_low",
    /// Undelivered records were dropped to make room (`journal.when_full = "drop_undelivered"`).
    RecordsDropped = "records_dropped",
    /// The journal cannot be written.
    StorageFailed = "storage_failed",
    /// Events were answered 2xx without a record (`on_storage_failure = "fail_open"`).
    EventsUnrecorded = "events_unrecorded",
    /// What detection remembers of sessions and users that are not in memory cannot be written, or is lost.
    StateNotSpilled = "state_not_spilled",
    /// A source's JWKS cannot be refreshed.
    JwksStale = "jwks_stale",
    /// A file of `[enrich]` has changed and cannot be used; what was read before it did is used.
    EnrichmentStale = "enrichment_stale",
    /// The fingerprint key was made anew; older fingerprints no longer compare.
    FingerprintKeyNew = "fingerprint_key_new",
    /// The gate refused `gate.max_denials_per_minute` refreshes within a minute, and lets the rest through.
    GateCapped = "gate_capped",
    /// A client that the gate refuses tries again and again.
    GateLoop = "gate_retry_loop",
    /// An operator stopped the gate.
    GateStopped = "gate_stopped",
}

/// An alarm that is raised, as it is kept from one run to the next.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RaisedAlarm {
    /// See [`Alarm::name`].
    pub name: String,
    /// What it concerns.
    pub subject: Option<String>,
    /// What was said when it was raised.
    pub message: String,
}

/// See the module.
#[derive(Clone)]
pub struct Alarms {
    state: Arc<Mutex<AlarmsState>>,
    metrics: Arc<Metrics>,
}

/// By alarm and subject: what was said when it was raised.
type Messages = BTreeMap<(Alarm, Option<String>), String>;

#[derive(Default)]
struct AlarmsState {
    raised: Messages,
    /// What is raised as far as the journal says.
    recorded: Messages,
    /// Changes that the journal has not taken, each with its number, which counts from 1.
    pending: VecDeque<(u64, Alarm, AlarmChange)>,
    changes: u64,
    /// The last change that the ledger has asked for.
    staged: u64,
}

/// Changes kept for a journal that cannot be written; past it only how each alarm stands in the end is (all were logged).
const PENDING_CHANGES_MAX: usize = 1_024;

impl Alarms {
    /// None raised.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        for alarm in Alarm::ALL {
            metrics.alarm.get_or_create(&AlarmLabels { name: alarm.name() }).set(0);
        }
        Self { state: Arc::default(), metrics }
    }

    /// Raises it for `subject`; where it is raised already, only its message is what it says now.
    pub fn raise(&self, alarm: Alarm, subject: Option<&str>, message: impl Into<String>) {
        let message = message.into();
        let key = (alarm, subject.map(str::to_owned));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = state.raised.get_mut(&key) {
            *said = message;
            return;
        }
        tracing::error!(alarm = alarm.name(), subject, "alarm raised: {message}");
        self.metrics.alarm.get_or_create(&AlarmLabels { name: alarm.name() }).inc();
        state.push(alarm, subject, AlarmState::Raised, message.clone());
        state.raised.insert(key, message);
    }

    /// Clears it for `subject`, if it is raised.
    pub fn clear(&self, alarm: Alarm, subject: Option<&str>, message: impl Into<String>) {
        let key = (alarm, subject.map(str::to_owned));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.raised.remove(&key).is_some() {
            let message = message.into();
            tracing::warn!(alarm = alarm.name(), subject, "alarm cleared: {message}");
            self.metrics.alarm.get_or_create(&AlarmLabels { name: alarm.name() }).dec();
            state.push(alarm, subject, AlarmState::Cleared, message);
        }
    }

    /// The changes after number `after` that wait for the journal, with their numbers, oldest first. The ledger confirms with
    /// [`Alarms::journaled`].
    pub fn pending(&self, after: u64) -> Vec<(u64, AlarmChange)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.staged = state.changes;
        let waiting = state.pending.iter().filter(|(number, ..)| *number > after);
        waiting.map(|(number, _, change)| (*number, change.clone())).collect()
    }

    /// Whether a change after that number waits; cheap, for the ledger's loop.
    pub fn any_pending(&self, after: u64) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.back().is_some_and(|(number, ..)| *number > after)
    }

    /// The changes up to number `last` are in the journal, synced. Returns what is raised as far as it says: the next start
    /// takes that up, and tells whatever was raised or cleared since.
    pub fn journaled(&self, last: u64) -> Vec<RaisedAlarm> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.pending.front().is_some_and(|(number, ..)| *number <= last)
            && let Some((_, alarm, change)) = state.pending.pop_front()
        {
            let key = (alarm, change.subject);
            match change.state {
                AlarmState::Raised => state.recorded.insert(key, change.message),
                AlarmState::Cleared => state.recorded.remove(&key),
            };
        }
        listed(&state.recorded)
    }

    /// Takes up where the last run ended: these are raised, and their records are written already.
    pub fn restore(&self, raised: Vec<RaisedAlarm>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for RaisedAlarm { name, subject, message } in raised {
            // An alarm of another version is nobody's to clear.
            let Some(alarm) = Alarm::ALL.iter().find(|alarm| alarm.name() == name) else { continue };
            tracing::warn!(alarm = alarm.name(), subject, "alarm still raised: {message}");
            self.metrics.alarm.get_or_create(&AlarmLabels { name: alarm.name() }).inc();
            state.recorded.insert((*alarm, subject.clone()), message.clone());
            state.raised.insert((*alarm, subject), message);
        }
    }

    /// What is raised now.
    pub fn raised(&self) -> Vec<RaisedAlarm> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        listed(&state.raised)
    }
}

fn listed(messages: &Messages) -> Vec<RaisedAlarm> {
    let raised = |((alarm, subject), message): (&(Alarm, Option<String>), &String)| RaisedAlarm {
        name: alarm.name().to_owned(),
        subject: subject.clone(),
        message: message.clone(),
    };
    messages.iter().map(raised).collect()
}

impl AlarmsState {
    fn push(&mut self, alarm: Alarm, subject: Option<&str>, state: AlarmState, message: String) {
        if self.pending.len() >= PENDING_CHANGES_MAX {
            self.keep_last();
        }
        self.changes += 1;
        let (name, subject) = (alarm.name().to_owned(), subject.map(str::to_owned));
        self.pending.push_back((self.changes, alarm, AlarmChange { name, subject, state, message }));
    }

    /// Of each alarm the last change, unless it is as the journal says. What the ledger writes at this moment stays.
    fn keep_last(&mut self) {
        let mut journal: BTreeSet<_> = self.recorded.keys().cloned().collect();
        let mut last = BTreeMap::new();
        for (number, alarm, change) in &self.pending {
            let key = (*alarm, change.subject.clone());
            match (*number <= self.staged, change.state) {
                (true, AlarmState::Raised) => drop(journal.insert(key)),
                (true, AlarmState::Cleared) => drop(journal.remove(&key)),
                (false, _) => drop(last.insert(key, *number)),
            }
        }
        let staged = self.staged;
        self.pending.retain(|(number, alarm, change)| {
            let key = (*alarm, change.subject.clone());
            let news = journal.contains(&key) != (change.state == AlarmState::Raised);
            *number <= staged || (news && last.get(&key) == Some(number))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(raised: Vec<RaisedAlarm>) -> Vec<String> {
        raised.into_iter().filter_map(|alarm| alarm.subject).collect()
    }

    #[test]
    fn what_is_kept_for_the_next_start_is_what_the_journal_says() {
        let alarms = Alarms::new(Metrics::new());
        alarms.raise(Alarm::SinkStuck, Some("a"), "refuses");
        let staged = alarms.pending(0).last().unwrap().0;
        // Between staging and the sync.
        alarms.raise(Alarm::SinkStuck, Some("b"), "refuses");
        alarms.clear(Alarm::SinkStuck, Some("a"), "takes");
        assert_eq!(subjects(alarms.journaled(staged)), ["a"]);
        assert_eq!(subjects(alarms.raised()), ["b"]);
        let next: Vec<_> =
            alarms.pending(staged).into_iter().map(|(_, change)| (change.subject, change.state)).collect();
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(next, [(named("b"), AlarmState::Raised), (named("a"), AlarmState::Cleared)]);
        assert_eq!(subjects(alarms.journaled(staged + 2)), ["b"]);
        assert!(!alarms.any_pending(0));
    }

    /// The journal cannot be written, and sinks come and go.
    #[test]
    fn of_too_many_changes_each_alarm_s_last_one_is_kept_and_what_is_staged() {
        let alarms = Alarms::new(Metrics::new());
        let raise = |name: &str| alarms.raise(Alarm::SinkStuck, Some(name), "refuses");
        let clear = |name: &str| alarms.clear(Alarm::SinkStuck, Some(name), "takes");
        raise("recorded");
        raise("ended");
        alarms.journaled(2);
        clear("ended");
        raise("staged");
        let staged = alarms.pending(0).last().unwrap().0;
        clear("staged");
        clear("recorded");
        raise("recorded");
        for _ in 0..PENDING_CHANGES_MAX {
            raise("a");
            clear("a");
        }
        raise("b");
        let left = || alarms.pending(0).into_iter().map(|(_, change)| (change.subject.unwrap(), change.state));
        let told = |change: &(String, AlarmState)| change.0 == "a";
        let (of_a, others): (Vec<_>, Vec<_>) = left().partition(told);
        let [raised, cleared] = [AlarmState::Raised, AlarmState::Cleared];
        let named = |name: &str, state| (name.to_owned(), state);
        assert!(of_a.len() < PENDING_CHANGES_MAX && of_a.len() % 2 == 0, "raised and cleared as often: {}", of_a.len());
        assert_eq!(
            others,
            [named("ended", cleared), named("staged", raised), named("staged", cleared), named("b", raised)]
        );
        assert_eq!(subjects(alarms.journaled(staged)), ["recorded", "staged"]);
        assert_eq!(subjects(alarms.journaled(u64::MAX)), ["b", "recorded"]);
    }
}
