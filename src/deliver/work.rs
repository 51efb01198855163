//! A batch on its way: what of it is still to be sent, and what an attempt came to. Pure.
//!
//! In order, the cursor passes a part as far as it is settled without a gap; out of order, as a whole. What a sink settled
//! of a part in advance ([`SinkError::Partly`]) is remembered here and not sent again; a crash forgets it, and the
//! idempotency key stands for it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use super::{batch::Batch, halving::Halving};
use crate::{
    record::Seq,
    sink::{Ack, Message, SinkError},
};

/// A batch on its way.
pub(super) struct Work {
    pub(super) batch: Arc<Batch>,
    pub(super) halving: Halving,
    /// Settled ahead of the cursor, by index in the batch: `None` is delivered, a reason is refused.
    settled: BTreeMap<usize, Option<String>>,
    /// What the other side said of those that it took.
    ack: Ack,
}

/// Kept of a reason, whoever gives it: it goes into the log, the journal and every sink.
const REASON_CHARS_MAX: usize = 1_000;

/// Why a record is parked that was not sent.
const PARKED_BY_OPERATOR: &str = "not sent: an operator had it parked";

/// What is settled at the beginning of a part, as of [`Outcome::Settled`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) part: Range<usize>,
    pub(super) refused: Vec<(usize, String)>,
    pub(super) ack: Ack,
}

/// What an attempt came to.
pub(super) enum Outcome {
    /// The part is settled; these were refused, by their index in the batch. What was said of the others.
    Settled(Vec<(usize, String)>, Ack),
    /// To be tried in halves.
    Split,
    /// To be tried then; nothing is wrong.
    Later(String, Duration),
    /// To be tried again; whether some of it is settled by this attempt, which is no sign of a sink that takes nothing.
    Failed { reason: String, after: Option<Duration>, fault: bool, got_on: bool },
}

impl Work {
    /// `fits` says how many of the first of some messages one call of the sink takes.
    pub(super) fn new(batch: Batch, fits: impl Fn(&[Message]) -> usize) -> Self {
        let part = |start| fits(batch.messages.get(start..).unwrap_or_default());
        let halving = Halving::new(batch.messages.len(), part);
        Self { halving, batch: Arc::new(batch), settled: BTreeMap::new(), ack: Ack::none() }
    }

    /// A part of one, whole.
    pub(super) fn of(batch: Arc<Batch>, part: Range<usize>) -> Self {
        Self { halving: Halving::of(part), batch, settled: BTreeMap::new(), ack: Ack::none() }
    }

    /// Settles what an operator wants parked, as refused; whether something was.
    pub(super) fn park(&mut self, seqs: &BTreeSet<Seq>) -> bool {
        let before = self.settled.len();
        for at in self.halving.left() {
            if self.batch.messages.get(at).is_some_and(|message| seqs.contains(&message.seq)) {
                self.settled.entry(at).or_insert_with(|| Some(PARKED_BY_OPERATOR.to_owned()));
            }
        }
        self.settled.len() > before
    }

    /// What to send next; empty when only the cursor has to move.
    pub(super) fn part(&self) -> Range<usize> {
        let len = self.batch.messages.len();
        self.halving.next().unwrap_or(len..len)
    }

    /// The messages of a part that are not settled.
    pub(super) fn open(&self, part: Range<usize>) -> Cow<'_, [Message]> {
        let messages = self.batch.messages.get(part.clone()).unwrap_or_default();
        if self.settled.range(part.clone()).next().is_none() {
            return Cow::Borrowed(messages);
        }
        let open = part.zip(messages).filter(|(at, _)| !self.settled.contains_key(at));
        open.map(|(_, message)| message.clone()).collect()
    }

    /// What is settled at the beginning of the next part, where the rest is not: the cursor may pass it.
    pub(super) fn ahead(&self) -> Option<Ahead> {
        let part = self.part();
        let end = part.clone().find(|at| !self.settled.contains_key(at)).filter(|end| *end > part.start)?;
        let done = self.settled.range(..end);
        let refused = done.filter_map(|(at, refusal)| Some((*at, refusal.clone()?))).collect();
        let seqs: BTreeSet<Seq> = self.batch.seqs(part.start..end).collect();
        let records = self.ack.records.iter().filter(|(seq, _)| seqs.contains(seq)).cloned().collect();
        Some(Ahead { part: part.start..end, refused, ack: Ack { text: self.ack.text.clone(), records } })
    }

    /// The cursor has passed it.
    pub(super) fn passed(&mut self, ahead: Range<usize>) {
        self.settled = self.settled.split_off(&ahead.end);
        let seqs: BTreeSet<Seq> = self.batch.seqs(ahead.clone()).collect();
        self.ack.records.retain(|(seq, _)| !seqs.contains(seq));
        self.halving.settled_to(ahead.end);
    }

    /// Whether something is settled that the cursor has not passed.
    pub(super) fn is_ahead(&self) -> bool {
        !self.settled.is_empty()
    }

    /// What the attempt to send `seqs`, the open messages of a part, came to.
    pub(super) fn outcome(&mut self, part: Range<usize>, seqs: &[Seq], result: Result<Ack, SinkError>) -> Outcome {
        match result {
            Ok(ack) => self.took(ack),
            Err(SinkError::Retry { reason, after, fault }) => {
                return Outcome::Failed { reason: brief(&reason), after, fault, got_on: false };
            }
            Err(SinkError::Refused { .. }) if seqs.len() > 1 => return Outcome::Split,
            Err(SinkError::Refused { reason }) => {
                self.refuse(&part, seqs.iter().map(|seq| (*seq, reason.clone())).collect());
            }
            Err(SinkError::Reject { refused, ack }) => {
                self.took(ack);
                self.refuse(&part, refused);
            }
            Err(SinkError::Partly { again, refused, ack, reason, after, fault }) => {
                let before = self.settled.len();
                self.took(ack);
                self.refuse(&part, refused);
                self.settle_all_but(part, &again);
                let got_on = self.settled.len() > before;
                return Outcome::Failed { reason: brief(&reason), after, fault, got_on };
            }
            Err(SinkError::Later { again, refused, ack, reason, after }) => {
                self.took(ack);
                self.refuse(&part, refused);
                self.settle_all_but(part, &again);
                return Outcome::Later(brief(&reason), after);
            }
        }
        let later = self.settled.split_off(&part.end);
        let done = std::mem::replace(&mut self.settled, later);
        let refused = done.into_iter().filter_map(|(at, refusal)| Some((at, refusal?))).collect();
        Outcome::Settled(refused, std::mem::take(&mut self.ack))
    }

    /// What came of a part could not be written down: the next attempt sends none of it again.
    pub(super) fn put_back(&mut self, part: Range<usize>, refused: Vec<(usize, String)>, ack: Ack) {
        self.settled.extend(part.map(|at| (at, None)));
        self.settled.extend(refused.into_iter().map(|(at, reason)| (at, Some(reason))));
        self.took(ack);
    }

    fn settle_all_but(&mut self, part: Range<usize>, again: &[Seq]) {
        let again: BTreeSet<Seq> = again.iter().copied().collect();
        for at in part {
            if self.batch.messages.get(at).is_some_and(|message| !again.contains(&message.seq)) {
                self.settled.entry(at).or_insert(None);
            }
        }
    }

    fn took(&mut self, ack: Ack) {
        if !ack.text.is_empty() {
            self.ack.text = ack.text;
        }
        self.ack.records.extend(ack.records);
    }

    fn refuse(&mut self, part: &Range<usize>, refused: Vec<(Seq, String)>) {
        let mut reasons: BTreeMap<Seq, String> = refused.into_iter().collect();
        // Whatever else a sink names that it was not given is not refused.
        for at in part.clone() {
            let reason = self.batch.messages.get(at).and_then(|message| reasons.remove(&message.seq));
            if let Some(reason) = reason {
                self.settled.insert(at, Some(brief(&reason)));
            }
        }
    }
}

/// One line, not longer than anybody reads.
fn brief(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kept, Kind};

    fn work(count: u64) -> Work {
        let mut batch = Batch::default();
        for seq in 1..=count {
            let (key, line) = (seq.to_string(), "{}".into());
            let head = Kept::default();
            batch.add(Message {
                seq,
                kind: Kind::Event,
                key,
                head,
                body: line,
                line: "{}".into(),
                media_type: "application/json",
            });
        }
        Work::new(batch, <[Message]>::len)
    }

    fn open(work: &Work) -> Vec<Seq> {
        work.open(work.part()).iter().map(|message| message.seq).collect()
    }

    fn attempt(work: &mut Work, result: Result<Ack, SinkError>) -> Outcome {
        let seqs = open(work);
        work.outcome(work.part(), &seqs, result)
    }

    #[test]
    fn what_could_not_be_written_down_is_not_sent_again() {
        let mut work = work(3);
        let ack = || Ack { text: "two".to_owned(), records: vec![(1, "one".to_owned())] };
        let refused = vec![(2, "no 2".to_owned())];
        let part = work.part();
        let Outcome::Settled(parked, told) = attempt(&mut work, Err(SinkError::Reject { refused, ack: ack() })) else {
            panic!("not settled")
        };
        work.put_back(part.clone(), parked, told);
        assert_eq!((open(&work), work.part()), (vec![], part));
        let Outcome::Settled(parked, told) = attempt(&mut work, Ok(Ack::none())) else { panic!("not settled") };
        assert_eq!((parked, told.text, told.records), (vec![(1, "no 2".to_owned())], ack().text, ack().records));
    }

    fn partly(again: &[Seq], refused: &[Seq]) -> Result<Ack, SinkError> {
        let refused = refused.iter().map(|seq| (*seq, format!("no {seq}"))).collect();
        let ack = Ack { text: "some".to_owned(), records: vec![(1, "one".to_owned())] };
        Err(SinkError::Partly {
            again: again.to_vec(),
            refused,
            ack,
            reason: "busy".to_owned(),
            after: None,
            fault: false,
        })
    }

    #[test]
    fn what_is_settled_is_not_sent_again() {
        let mut work = work(6);
        assert!(matches!(attempt(&mut work, partly(&[2, 5], &[4])), Outcome::Failed { got_on: true, .. }));
        assert_eq!(open(&work), [2, 5]);
        let later = Err(SinkError::passing("down"));
        assert!(matches!(attempt(&mut work, later), Outcome::Failed { got_on: false, .. }));
        assert_eq!(open(&work), [2, 5], "a failure settles nothing");
        let Outcome::Settled(refused, ack) = attempt(&mut work, Ok(Ack::new("rest"))) else { panic!("not settled") };
        assert_eq!(refused, [(3, "no 4".to_owned())], "by index");
        assert_eq!((&*ack.text, &ack.records[..]), ("rest", &[(1, "one".to_owned())][..]));
        assert!(work.settled.is_empty());
        let mut work = self::work(2);
        assert!(matches!(attempt(&mut work, partly(&[1, 2], &[])), Outcome::Failed { got_on: false, .. }));
    }

    #[test]
    fn the_cursor_may_pass_what_is_settled_before_a_gap() {
        let mut work = work(4);
        assert_eq!(work.ahead(), None);
        assert!(matches!(attempt(&mut work, partly(&[3], &[2])), Outcome::Failed { .. }));
        let ack = Ack { text: "some".to_owned(), records: vec![(1, "one".to_owned())] };
        assert_eq!(work.ahead(), Some(Ahead { part: 0..2, refused: vec![(1, "no 2".to_owned())], ack }));
        work.passed(0..2);
        assert_eq!((work.ahead(), open(&work), work.is_ahead()), (None, vec![3], true), "4 is behind the gap");
        let Outcome::Settled(refused, ack) = attempt(&mut work, Ok(Ack::none())) else { panic!("not settled") };
        assert_eq!((refused, ack.records, work.part()), (vec![], vec![], 2..4));
        assert!(!work.is_ahead());
    }

    #[test]
    fn halves_leave_out_what_is_settled() {
        let mut work = work(4);
        assert!(matches!(attempt(&mut work, partly(&[3, 4], &[])), Outcome::Failed { .. }));
        let whole = || Err(SinkError::Refused { reason: "too much".to_owned() });
        assert!(matches!(attempt(&mut work, whole()), Outcome::Split));
        work.halving.refused();
        assert_eq!(open(&work), [] as [Seq; 0], "the first half is settled without a call");
        assert!(matches!(attempt(&mut work, Ok(Ack::none())), Outcome::Settled(refused, _) if refused.is_empty()));
        work.halving.settled();
        assert_eq!(open(&work), [3, 4]);
        assert!(matches!(attempt(&mut work, whole()), Outcome::Split));
        work.halving.refused();
        let Outcome::Settled(refused, _) = attempt(&mut work, whole()) else { panic!("not settled") };
        assert_eq!(refused, [(2, "too much".to_owned())]);
    }

    #[test]
    fn what_is_to_be_parked_is_settled_where_it_is_still_to_be_sent() {
        let mut work = work(6);
        assert!(matches!(attempt(&mut work, Ok(Ack::none())), Outcome::Settled(..)));
        work.halving = Halving::new(6, |_| 2);
        work.halving.settled();
        assert!(!work.park(&BTreeSet::from([1, 2, 7])), "those are through, and this is not of it");
        assert!(work.park(&BTreeSet::from([2, 4, 6])) && !work.park(&BTreeSet::from([4])));
        assert_eq!(open(&work), [3]);
        let Outcome::Settled(refused, _) = attempt(&mut work, Ok(Ack::none())) else { panic!("not settled") };
        assert_eq!(refused, [(3, PARKED_BY_OPERATOR.to_owned())]);
        work.halving.settled();
        assert_eq!(open(&work), [5], "6 waits for its part's turn");
    }

    #[test]
    fn what_a_sink_was_not_given_is_not_refused() {
        let mut work = work(2);
        let refused = vec![(2, "no".to_owned()), (9, "no".to_owned())];
        let result = Err(SinkError::Reject { refused, ack: Ack::none() });
        let Outcome::Settled(refused, _) = attempt(&mut work, result) else { panic!("not settled") };
        assert_eq!(refused, [(1, "no".to_owned())]);
    }
}
