//! The end of a batch: append, sync, say so. And what follows from a sync that failed.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    Admission, Unavailable,
    admit::{Admitter, Batch},
    chain::Hash,
    checkpoint::Checkpoint,
    clock::{self, Jump},
    copies::STATE_EVERY,
    core,
    keeper::Job,
    recovery,
    reply::{Answer, Reply},
    start,
};
use crate::{
    files,
    record::Seq,
    telemetry::{Alarm, Alarms},
    time::ReceivedAt,
};

/// A failed journal is tried again this often.
const REOPEN_EVERY: Duration = Duration::from_millis(250);
/// How often old ids are forgotten and the clock is compared.
const CHORES_EVERY: Duration = Duration::from_secs(10);
/// How often the open segment is looked at while nothing is written.
const SEGMENT_CHECK_EVERY: Duration = Duration::from_secs(1);
/// Records after which a durable copy of the filters is made, so that a start has little to read: 150,000 records take
/// 0.7 s. Not more often: the copy is a few MB, and its syncs hold up the journal's.
const FILTERS_EVERY_SEQS: Seq = 150_000;

impl Admitter {
    /// Makes the batch durable and answers everyone in it; on failure tells them that nothing is known.
    pub(super) fn commit(&mut self) {
        self.spill.flush();
        let batch = std::mem::take(&mut self.batch);
        let (Some(first), Some(at)) = (batch.first, batch.at) else {
            answer(batch.answers);
            return;
        };
        if let Err(error) = self.write(&batch, first, at) {
            self.fail(&error, batch);
            return;
        }
        if self.is_unproved {
            self.written_again();
        }
        let Some(core) = &self.core else { return };
        let last = core.tail.next - 1;
        self.cut_to = core.writer.position();
        self.keeper.written(batch.lines.len());
        self.synced.send_replace(last);
        self.committed = batch.answers.len();
        answer(batch.answers);
        self.settings.metrics.synced_seq.set(i64::try_from(last).unwrap_or(i64::MAX));
        self.journaled(batch.alarms);
        self.index.insert(first, last, batch.ids);
        // The buffer's room is kept for the next batch.
        self.batch.lines = batch.lines;
        self.batch.lines.clear();
    }

    fn write(&mut self, batch: &Batch, first: Seq, at: ReceivedAt) -> io::Result<()> {
        let Some(core) = &mut self.core else { return Err(io::Error::other("the journal is not open")) };
        // One that is not vouched for yet is followed by no other: this one grows meanwhile.
        if core.writer.is_full(at) && self.keeper.is_sealed() {
            core.writer.roll(first)?;
            self.cut_to = core.writer.position();
            self.sealed(first - 1, batch.prev);
        }
        let Some(core) = &mut self.core else { return Err(io::Error::other("the journal is not open")) };
        core.writer.append(&batch.lines, at)?;
        let started = Instant::now();
        core.writer.sync()?;
        self.settings.metrics.sync_seconds.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Alarm changes are in the journal: remembers what is raised, for the next start.
    fn journaled(&self, last: u64) {
        if last == 0 {
            return;
        }
        let kept = serde_json::to_vec(&self.settings.alarms.journaled(last)).map_err(io::Error::from);
        if let Err(error) = kept.and_then(|kept| files::replace(&self.places.alarms_file(), &kept)) {
            tracing::warn!(%error, "what is raised cannot be remembered; the next start raises it again");
        }
    }

    /// A segment ended with `last`: vouch for it and let it be compressed.
    fn sealed(&mut self, last: Seq, hash: Hash) {
        let sealed = self.checkpoint(last, hash);
        self.keeper.sealed(sealed);
    }

    /// The next checkpoint, which is to be signed now.
    fn checkpoint(&mut self, seq: Seq, hash: Hash) -> Checkpoint {
        self.checkpointed = (Instant::now(), seq);
        Checkpoint { origin: format!("{}/{}", self.settings.node, self.places.journal), seq, hash }
    }

    /// Drops everything held in memory; the next entry finds the journal closed.
    fn fail(&mut self, error: &io::Error, batch: Batch) {
        self.core = None;
        self.spill.end();
        self.tried = Instant::now();
        let message = format!("the journal cannot be written: {error}; check the disk under the data directory");
        self.settings.alarms.raise(Alarm::StorageFailed, None, message);
        for (reply, _) in batch.answers {
            reply.send(Admission::Unavailable(Unavailable::StorageFailed));
        }
        let asked = self.asked.drain().into_iter().flat_map(|question| question.waiting);
        for waiting in asked.chain(self.cold.drain()).chain(self.roomless.drain()) {
            waiting.reply.send(Admission::Unavailable(Unavailable::StorageFailed));
        }
    }

    /// Whether the journal can be written; tries to open it again where it could not, now and then.
    pub(super) fn is_open(&mut self) -> bool {
        if self.core.is_none() && self.tried.elapsed() >= REOPEN_EVERY {
            self.tried = Instant::now();
            match self.reopen() {
                // That it can be opened does not say that it can be written: on a full disk it can. Its alarm's own record tells,
                // where that waits.
                Ok(()) if self.settings.alarms.any_pending(0) => self.is_unproved = true,
                Ok(()) => self.written_again(),
                Err(error) => tracing::debug!(%error, "the journal still cannot be opened"),
            }
        }
        self.core.is_some()
    }

    fn written_again(&mut self) {
        self.is_unproved = false;
        self.settings.alarms.clear(Alarm::StorageFailed, None, "the journal can be written again");
    }

    /// Cuts back to what was synced and loads everything again, as a start would.
    fn reopen(&mut self) -> io::Result<()> {
        let (first, len) = self.cut_to;
        recovery::cut_back(&self.places.journal_dir(), first, len)?;
        let (core, found, store) = core::load(&self.places, self.clock.last())?;
        start::report(&found, &self.settings.alarms);
        self.settings.consumers.copied(found.copied);
        self.spill = self.spill.anew(store)?;
        self.cut_to = core.synced;
        self.keeper.opened(core.synced.0);
        self.core = Some(core);
        self.stage_config();
        Ok(())
    }

    /// What is due now and then.
    pub(super) fn look_around(&mut self) {
        let now = Instant::now();
        for token in self.asked.overdue(now) {
            self.ask_journal(token);
        }
        for token in self.asked.lost(now) {
            self.lookup_failed(token);
        }
        self.index.watch(now);
        if now - self.checked >= SEGMENT_CHECK_EVERY {
            self.checked = now;
            if let Some(Err(error)) = self.core.as_ref().map(|core| core.writer.check()) {
                self.fail(&error, Batch::default());
            }
        }
        if self.core.is_none() {
            // What this stages comes with the next batch: nobody vouches for it, and nothing is kept of it, before that is synced.
            self.is_open();
            return;
        }
        let Some(core) = &self.core else { return };
        let (last, hash, remembered) = (core.tail.next - 1, core.tail.hash, core.judge.remembered());
        self.settings.metrics.state.spilled.set(i64::try_from(core.judge.outside()).unwrap_or(i64::MAX));
        if last >= self.filters_saved + FILTERS_EVERY_SEQS {
            self.save_filters();
        }
        // A copy costs what is remembered, so it is made once for as many records at least.
        let (saved, state) = self.state_saved;
        let is_due = last > state && now - saved >= STATE_EVERY;
        if is_due || last >= state + FILTERS_EVERY_SEQS.max(remembered as Seq) {
            self.save_state();
        }
        self.copy_if_asked();
        if last > self.checkpointed.1 && self.checkpointed.0.elapsed() >= self.settings.journal.checkpoint_every.get() {
            let latest = self.checkpoint(last, hash);
            self.keeper.sign(latest);
        }
        if now - self.chores >= CHORES_EVERY {
            self.chores = now;
            self.expire();
            self.compare_clock();
            self.pass_time();
        }
    }

    fn save_filters(&mut self) {
        let Some(core) = &self.core else { return };
        self.filters_saved = core.dedupe.filters().covered();
        self.keeper.hand(Job::SaveFilters(Box::new(core.dedupe.filters().clone())));
    }

    fn save_state(&mut self) {
        let Some(core) = &self.core else { return };
        let last = core.tail.next - 1;
        self.state_saved = (Instant::now(), last);
        let memory = Box::new(core.judge.memory());
        let needed = self.spill.save(&memory.state);
        self.keeper.save_state(last, memory, needed);
    }

    /// Segments wait for a copy; how often they may have one is theirs to say.
    fn copy_if_asked(&mut self) {
        let Some(why) = self.keeper.wants_copy() else { return };
        let retention = self.settings.journal.retention.get();
        let is_early = |(asked, cost): (Instant, Duration)| asked.elapsed() < why.every(retention, cost);
        if !self.state_asked.is_some_and(is_early) {
            let begun = Instant::now();
            self.save_state();
            self.state_asked = Some((begun, begun.elapsed()));
        }
    }

    fn expire(&mut self) {
        let Some(at) = self.clock.tick_to_forget(ReceivedAt::wall(), clock::steady()) else { return };
        self.keeper.forget_as_of(at);
        if let Some(before) = self.core.as_mut().and_then(|core| core.dedupe.expire(at)) {
            self.index.expire(before);
        }
    }

    fn compare_clock(&self) {
        tell_jump(&self.settings.alarms, self.clock.jumped(ReceivedAt::wall(), clock::steady()));
    }

    /// Leaves everything so that the next start has little to do.
    pub(super) fn finish(mut self) {
        self.commit();
        if let Some(core) = &self.core {
            let (last, hash) = (core.tail.next - 1, core.tail.hash);
            if last > self.checkpointed.1 {
                let latest = self.checkpoint(last, hash);
                self.keeper.sign(latest);
            }
            self.save_filters();
            self.save_state();
        }
        self.index.stop();
        self.keeper.stop();
    }
}

fn answer(answers: Vec<(Reply, Answer)>) {
    for (reply, answer) in answers {
        reply.send_back(answer);
    }
}

/// One alarm for each direction: what is said of the one is wrong of the other.
pub(super) fn tell_jump(alarms: &Alarms, jump: Option<Jump>) {
    let (ahead, behind) = (Some("ahead"), Some("behind"));
    let (raised, message) = match jump {
        Some(Jump::Forward(by)) => (
            ahead,
            format!(
                "the wall clock is {} s ahead of where the journal expects it; records keep to the steady clock, and no \
                 id is forgotten for it; check the time service",
                by.as_secs()
            ),
        ),
        Some(Jump::Unseen(by)) => (
            ahead,
            format!(
                "the last record is {} s old, more than dedupe.window: either nothing came for so long, or the wall clock was \
                 set forward before this start; no id is forgotten in the next 10 minutes; check the time service",
                by.as_secs()
            ),
        ),
        Some(Jump::Backward(by)) => (
            behind,
            format!(
                "the wall clock is {} s behind the journal; the instants of records go on half as fast until it has caught \
                 up; check the time service",
                by.as_secs()
            ),
        ),
        None => (None, String::new()),
    };
    // Without a subject: as an earlier version raised it.
    for other in [None, ahead, behind].into_iter().filter(|subject| jump.is_none() || *subject != raised) {
        alarms.clear(Alarm::ClockJump, other, "the wall clock agrees again, or is off the other way");
    }
    if jump.is_some() {
        alarms.raise(Alarm::ClockJump, raised, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn a_clock_that_is_behind_is_not_said_to_be_ahead() {
        let alarms = Alarms::new(Metrics::new());
        let raised = || {
            let raised = alarms.raised();
            raised.iter().map(|alarm| (alarm.subject.clone().unwrap(), alarm.message.clone())).collect::<Vec<_>>()
        };
        tell_jump(&alarms, Some(Jump::Forward(Duration::from_secs(700_000))));
        assert_eq!(raised()[0].0, "ahead");
        tell_jump(&alarms, Some(Jump::Backward(Duration::from_secs(690_000))));
        let [(subject, message)] = &raised()[..] else { panic!("{:?}", raised()) };
        assert!(subject == "behind" && message.starts_with("the wall clock is 690000 s behind"), "{message}");
        tell_jump(&alarms, None);
        assert_eq!(raised(), []);
    }
}
