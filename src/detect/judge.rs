//! What the ledger sees of detection: one thing that is shown every record in the journal's order, says what belongs into
//! it, and comes back from its own durable copy and the records after it.

use serde::{Deserialize, Serialize};

use super::{Config, Engine, Facts, state::State};
use crate::{
    event::RefreshEvent,
    record::{ConfigChange, Evidence, Finding, Kind, Record, Seq, Verdict},
    time::ReceivedAt,
};

/// Raised whenever what is remembered, or what follows from it, changes: an older copy is then made anew.
pub const STATE_FORMAT: u32 = 2;

/// What belongs into the record of an event.
#[derive(Debug, Default)]
pub struct Ruling {
    /// What was found.
    pub findings: Vec<Finding>,
    /// What is answered; none where detection is off.
    pub verdict: Option<Verdict>,
    /// What the event showed, for whoever tunes.
    pub signals: super::signals::Signals,
}

/// See the module.
pub struct Judge {
    engine: Engine,
}

/// Everything that is remembered.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Memory {
    /// What rules know.
    pub state: State,
    /// The configuration that was last recorded, as JSON.
    pub config: Option<String>,
}

impl Judge {
    /// Remembers what `memory` says; judges by what was last recorded as the configuration, else by `config`.
    pub fn new(config: &Config, memory: Memory) -> Self {
        let recorded = memory.config.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Self { engine: Engine::with(recorded.unwrap_or_else(|| config.clone()), memory.state) }
    }

    /// What is remembered; a copy costs next to nothing.
    pub fn memory(&self) -> Memory {
        Memory { state: self.engine.state().clone(), config: serde_json::to_string(self.engine.config()).ok() }
    }

    /// How many sessions and users are remembered.
    pub fn remembered(&self) -> usize {
        self.engine.state().sessions.len() + self.engine.state().users.len()
    }

    /// Judges an event and learns from it.
    pub fn event(&mut self, event: &RefreshEvent, facts: &Facts, evidence: &Evidence, at: ReceivedAt) -> Ruling {
        if !self.engine.config().enabled {
            return Ruling::default();
        }
        let judgement = self.engine.observe(event, facts, evidence, at);
        let verdict =
            judgement.risk.map(|risk| Verdict { action: crate::record::Action::Allow, would: None, risk: Some(risk) });
        Ruling { findings: judgement.findings, verdict, signals: judgement.signals }
    }

    /// What is found about an id that came again with another body.
    pub fn replayed(&self, of: Seq) -> Vec<Finding> {
        if self.engine.config().enabled { self.engine.replayed(of) } else { Vec::new() }
    }

    /// The record that has to be written before the next event is judged, where the configuration is another than the one
    /// that was last recorded. Applies it.
    pub fn configure(&mut self, config: &Config) -> Option<ConfigChange> {
        if self.engine.config() == config {
            return None;
        }
        self.engine.configure(config.clone());
        let text = serde_json::to_string(config).ok()?;
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&text));
        Some(ConfigChange { what: "detect".to_owned(), digest, now: serde_json::from_str(&text).ok() })
    }

    /// Learns from a record of before what was learned from it then.
    pub fn remember(&mut self, record: &Record) {
        match (record.kind, &record.event, &record.config) {
            (Kind::Event, Some(event), _) => {
                let evidence = record.evidence.clone().unwrap_or_default();
                self.event(event, &Facts::of(event), &evidence, record.received_at);
            }
            (Kind::Config, _, Some(ConfigChange { now: Some(now), .. })) => {
                if let Ok(config) = serde_json::from_value(now.clone()) {
                    self.engine.configure(config);
                }
            }
            _ => {}
        }
    }
}
