//! Whether an id that may be known is: the index is asked first, the journal too where the index takes its time, and the
//! first answer that is certain counts. Only where neither can tell does a sender hear so. And what follows where it is known.

use super::{
    Admission, Unavailable,
    admit::{Admitter, Waiting, cut},
    asked::JournalSearch,
    dedupe::{Known, Lookup},
    link::Reply,
    lookup::{self, Answer},
};
use crate::{
    detect::judge::Case,
    record::{Draft, Kind, Replay},
};

impl Admitter {
    pub(super) fn index_says(&mut self, generation: u64, reply: Reply) {
        match self.index.heard(generation, reply) {
            Some(Reply::Indexed(seq)) => {
                if let Some(core) = &mut self.core {
                    core.dedupe.indexed(seq);
                }
            }
            Some(Reply::Found { token, known, indexed }) => {
                let trusted = self.core.as_ref().is_some_and(|core| core.dedupe.trusts(indexed));
                if known.is_some() || trusted {
                    self.resolve(token, known);
                } else if let Some(question) = self.asked.get(token) {
                    // It has not come far enough to say no.
                    question.index_asked = None;
                    match question.journal {
                        JournalSearch::Untried => self.ask_journal(token),
                        JournalSearch::Searching => {}
                        JournalSearch::Failed => self.lookup_failed(token),
                    }
                }
            }
            Some(Reply::Broken(_) | Reply::Outdated(_)) | None => {}
        }
    }

    pub(super) fn ask_journal(&mut self, token: u64) {
        let synced = *self.synced.borrow();
        let Some(question) = self.asked.get(token) else { return };
        question.journal = JournalSearch::Searching;
        let Some(first) = question.waiting.first() else { return };
        let asked = lookup::Question {
            token,
            key: question.key,
            id: first.entry.event.id.to_string(),
            body: cut(&first.entry.body_sha256),
            stretches: question.stretches.clone(),
            synced,
            asked: first.asked,
        };
        if !self.lookup.ask(asked) {
            self.journal_says(Answer { token, found: Err(()) });
        }
    }

    pub(super) fn journal_says(&mut self, answer: Answer) {
        match answer.found {
            Ok(known) => self.resolve(answer.token, known),
            Err(()) => match self.asked.get(answer.token) {
                // The index may still tell.
                Some(question) if question.index_asked.is_some() => question.journal = JournalSearch::Failed,
                _ => self.lookup_failed(answer.token),
            },
        }
    }

    /// Neither could tell.
    pub(super) fn lookup_failed(&mut self, token: u64) {
        for waiting in self.asked.close(token).into_iter().flat_map(|question| question.waiting) {
            waiting.reply.send(Admission::Unavailable(Unavailable::LookupFailed));
        }
    }

    /// The id is known, or certainly not. Of several that wait, the first is recorded and makes the others duplicates.
    fn resolve(&mut self, token: u64, known: Option<Known>) {
        let Some(question) = self.asked.close(token) else { return };
        for waiting in question.waiting {
            let Some(core) = &self.core else { return };
            match (core.dedupe.lookup(&question.key), known) {
                (Lookup::Known(known), _) | (_, Some(known)) => self.duplicate(waiting, known),
                _ => self.record(waiting),
            }
        }
    }

    pub(super) fn duplicate(&mut self, waiting: Waiting, known: Known) {
        let answer = Admission::Duplicate { seq: known.seq, denied: known.denied };
        let fits = !self.keeper.is_full(self.batch.lines.len());
        let is_replay = known.body != cut(&waiting.entry.body_sha256) && !known.replayed && fits;
        if is_replay {
            self.replay(&waiting, known);
        }
        if is_replay || known.seq > *self.synced.borrow() {
            self.batch.answers.push((waiting.reply, (answer, Some(waiting.entry))));
        } else {
            waiting.reply.send_back((answer, Some(waiting.entry)));
        }
    }

    /// Records that a known id came again with another body; once per id.
    fn replay(&mut self, waiting: &Waiting, known: Known) {
        let entry = &waiting.entry;
        let at = self.now();
        let Some(core) = &mut self.core else { return };
        let findings = match &entry.facts {
            Some(facts) => {
                let case = Case { event: &entry.event, facts, evidence: &entry.evidence, at, seq: core.tail.next };
                core.judge.replayed(case, known.seq)
            }
            None => Vec::new(),
        };
        self.settings.metrics.found(&findings);
        let draft = Draft {
            source: Some(&entry.source),
            evidence: Some(&entry.evidence),
            event: Some(&entry.event_json),
            findings: &findings,
            replay: Some(Replay { of: known.seq }),
            ..Draft::new(&self.places.journal, &self.settings.node, core.tail.next, Kind::Replay, at)
        };
        let Some(seq) = self.batch.stage(core, &draft) else {
            core.judge.take_unwritten();
            return;
        };
        let known = Known { replayed: true, ..known };
        core.dedupe.update(waiting.key, known, seq);
        self.batch.ids.push((waiting.key, known));
        self.stage_incidents(at);
    }
}
