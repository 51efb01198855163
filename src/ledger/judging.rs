//! Where the thread meets detection: the judgement of an event, the records that follow from it, what an operator hears of
//! the gate.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Command, Entry, Ledger, admit::Admitter};
use crate::{
    detect::{
        incidents::Snapshot,
        judge::{Case, Notice, Ruling},
        overview::{Overview, busiest, overviews},
        state::{application::Application, spilled::Guests, table::Table},
    },
    record::{Draft, Evidence, Kind, OperatorAction},
    telemetry::Alarm,
    time::ReceivedAt,
};

/// Judging takes microseconds; where it took this long something is wrong, and nobody is refused for it.
const JUDGE_MAX: Duration = Duration::from_millis(50);

impl Ledger {
    /// What is known of the `most` busiest applications, and of all others as one; none while the thread cannot say.
    pub async fn applications(&self, most: usize) -> Option<Vec<Overview>> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Applications(reply)).ok()?;
        // Worked out here: the thread has better things to do.
        answer.await.ok().map(|applications| busiest(overviews(&applications), most))
    }

    /// The incidents that are open; none while the thread cannot say.
    pub async fn open_incidents(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Incidents(reply)).ok()?;
        answer.await.ok()
    }
}

impl Admitter {
    /// Judges an event whose record comes next.
    pub(super) fn judge(&mut self, entry: &Entry, guests: Guests, evidence: &Evidence, at: ReceivedAt) -> Ruling {
        let (Some(core), Some(facts)) = (&mut self.core, &entry.facts) else { return Ruling::default() };
        let started = Instant::now();
        let case = Case { event: &entry.event, facts, evidence, at, seq: core.tail.next };
        let ruling = core.judge.event(case, guests, &|| started.elapsed() > JUDGE_MAX);
        self.spill.put(core.judge.take_spilled());
        self.settings.metrics.found(&ruling.findings);
        self.settings.metrics.failed_rules.inc_by(u64::from(ruling.failed_rules));
        if let Some(notice) = ruling.notice {
            self.hear(notice, entry);
        }
        ruling
    }

    fn hear(&self, notice: Notice, entry: &Entry) {
        let (alarms, metrics) = (&self.settings.alarms, &self.settings.metrics);
        let whose = entry.event.user_id.as_ref().map_or("of nobody known", |id| id.as_str());
        match notice {
            Notice::Capped => {
                metrics.gate_allowed("capped");
                let cap = self.settings.policy.gate.max_denials_per_minute;
                let message = format!(
                    "the gate refused {cap} refreshes within a minute (gate.max_denials_per_minute) and lets the rest \
                     through: look at the incidents; `refresh-audit gate stop` ends all refusals"
                );
                alarms.raise(Alarm::GateCapped, None, message);
            }
            Notice::Loop => {
                let message = format!(
                    "a client is refused again and again and does not give up, user {whose}: end the session at the \
                     identity provider, or let it through (gate.allow)"
                );
                alarms.raise(Alarm::GateLoop, None, message);
            }
            Notice::Late => {
                metrics.gate_allowed("late");
                tracing::warn!("judging an event took over {JUDGE_MAX:?}; it was let through");
            }
            Notice::Failed => {
                metrics.gate_allowed("failed");
                tracing::error!("judging an event failed; it was let through and has no findings");
            }
        }
    }

    /// Puts the incident records that follow from what was judged behind it.
    pub(super) fn stage_incidents(&mut self, at: ReceivedAt) {
        let Some(core) = &mut self.core else { return };
        for incident in core.judge.take_unwritten() {
            let head = Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Incident, at);
            if let Some(seq) = self.batch.stage(core, &Draft { incident: Some(&incident), ..head }) {
                core.dedupe.pass(seq);
            }
        }
    }

    /// Records what decides from here on, where that is not what was last recorded; and what the end of the journal
    /// lacks of the incidents.
    pub(super) fn stage_config(&mut self) {
        let at = self.now();
        self.stage_incidents(at);
        let Some(core) = &mut self.core else { return };
        for change in core.judge.configure(&self.settings.policy) {
            let head = Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Config, at);
            if let Some(seq) = self.batch.stage(core, &Draft { config: Some(&change), ..head }) {
                core.dedupe.pass(seq);
            }
        }
        self.tell_stopped();
    }

    /// An operator's action is staged: it counts from the next event on.
    pub(super) fn operated(&mut self, action: &OperatorAction) {
        if let Some(core) = &mut self.core {
            core.judge.operator(action);
        }
        if [OperatorAction::GATE_STOP, OperatorAction::GATE_START].contains(&action.action.as_str()) {
            self.tell_stopped();
        }
    }

    fn tell_stopped(&self) {
        let alarms = &self.settings.alarms;
        match self.core.as_ref().is_some_and(|core| core.judge.is_stopped()) {
            true => {
                let message = "an operator stopped the gate: nothing is refused until `refresh-audit gate start`";
                alarms.raise(Alarm::GateStopped, None, message);
            }
            false => alarms.clear(Alarm::GateStopped, None, "the gate works again"),
        }
    }

    /// What is known of applications, to whoever asked; nothing is sent while nothing is loaded.
    pub(super) fn tell_applications(&self, reply: oneshot::Sender<Table<Application>>) {
        if let Some(core) = &self.core {
            let _ = reply.send(core.judge.applications());
        }
    }

    /// What incidents are open, likewise.
    pub(super) fn tell_incidents(&self, reply: oneshot::Sender<Snapshot>) {
        if let Some(core) = &self.core {
            let _ = reply.send(core.judge.open_incidents());
        }
    }

    /// What time brings: incidents close, the gate's trouble is over.
    pub(super) fn pass_time(&mut self) {
        let at = self.now();
        let Some(core) = &mut self.core else { return };
        core.judge.tick(at);
        let calm = core.judge.calm(at);
        self.stage_incidents(at);
        let alarms = &self.settings.alarms;
        if calm.cap {
            alarms.clear(Alarm::GateCapped, None, "the cap was not reached for two minutes");
        }
        if calm.clients {
            alarms.clear(Alarm::GateLoop, None, "no client was refused again and again for ten minutes");
        }
        self.tell_stopped();
    }
}
