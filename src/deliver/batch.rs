//! A batch: which records of the journal a sink gets, encoded, and what lies between them. Pure.

use std::ops::Range;

use super::{
    DeliveryConfig, KeyScheme,
    acks::{Entry, Fate, Run, extend},
    parked::ParkedRecord,
};
use crate::{
    event::{ApplicationId, TenantId},
    format::Format,
    ledger::read::Item,
    record::{Head, Kind, Seq, Severity},
    scope::Scope,
    sink::{Message, Pack, Sink},
    slice::Slice,
    time::ReceivedAt,
};

/// Records that the cursor passes without sending them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Left out by scope, kinds or findings.
    pub skipped: u64,
    /// Not in the journal any more.
    pub dropped: u64,
    /// Not readable.
    pub damaged: u64,
}

impl Passed {
    /// All of them.
    pub fn total(self) -> u64 {
        self.skipped + self.dropped + self.damaged
    }
}

/// What a sink wants and in which form.
#[derive(Clone, Debug)]
pub struct Selection {
    /// `None` = all.
    scope: Option<Scope>,
    kinds: Vec<Kind>,
    findings_at_least: Option<Severity>,
    format: Format,
    pack: Pack,
    keys: KeyScheme,
}

impl Selection {
    /// As the configuration says, for a sink.
    pub fn of_sink(config: &DeliveryConfig, sink: &impl Sink, keys: KeyScheme) -> Self {
        Self::new(config, sink.kinds(), sink.pack(), keys)
    }

    /// As the configuration says, of these kinds unless it names others; `None` = all.
    pub fn new(config: &DeliveryConfig, kinds: Option<&[Kind]>, pack: Pack, keys: KeyScheme) -> Self {
        let scope = &config.scope;
        let all = scope.tenants.is_empty() && scope.applications.is_empty() && scope.allow.is_empty();
        Self {
            scope: (!all).then(|| scope.clone()),
            kinds: config.kinds.as_deref().or(kinds).unwrap_or(Kind::ALL).to_vec(),
            findings_at_least: config.findings_at_least,
            format: config.format,
            pack,
            keys,
        }
    }

    fn wants(&self, head: &Head<'_>) -> bool {
        let bad_enough = |least| head.worst_finding().is_some_and(|worst| worst >= least);
        if !self.kinds.contains(&head.kind)
            || (head.kind == Kind::Event && !self.findings_at_least.is_none_or(bad_enough))
        {
            return false;
        }
        let Some(scope) = &self.scope else { return true };
        let tenant = |id: Option<&str>| id.map(TenantId::new);
        let application = |id: Option<&str>| id.map(ApplicationId::new);
        match (&head.event, &head.incident) {
            (Some(event), _) => scope.takes_ids(
                tenant(event.tenant_id.as_deref()).as_ref(),
                application(event.application_id.as_deref()).as_ref(),
            ),
            // It names people and addresses of its events, and is for whoever may see those.
            (None, Some(incident)) => scope.takes_common(
                tenant(incident.tenant_id.as_deref()).as_ref(),
                application(incident.application_id.as_deref()).as_ref(),
            ),
            (None, None) => true,
        }
    }

    /// The message of a line, ready to be sent, whether or not the sink wants it.
    pub fn message(&self, line: &Slice) -> serde_json::Result<Message> {
        let head = Head::read(line)?;
        self.ready(&head, self.keys.key(&head), line)
    }

    /// The message of a line under a key of its own.
    pub fn message_as(&self, line: &Slice, key: String) -> serde_json::Result<Message> {
        self.ready(&Head::read(line)?, key, line)
    }

    fn ready(&self, head: &Head<'_>, key: String, line: &Slice) -> serde_json::Result<Message> {
        let mut message = self.encode(head, key, line)?;
        self.pack.pack(std::slice::from_mut(&mut message));
        Ok(message)
    }

    /// Not packed.
    fn encode(&self, head: &Head<'_>, key: String, text: &Slice) -> serde_json::Result<Message> {
        let line = text.bytes();
        let body = self.format.encode(&line, &key)?;
        // The line itself still knows what is beside it.
        let body = if std::ptr::eq(&raw const *body, &raw const *line) { text.clone() } else { body.into() };
        let media_type = self.format.media_type();
        Ok(Message { seq: head.seq, kind: head.kind, key, head: head.keep(), line, body, media_type })
    }
}

/// Messages in order, and what the cursor passes before, between and after them.
#[derive(Debug, Default)]
pub struct Batch {
    /// To be sent.
    pub messages: Vec<Message>,
    /// What is passed before, between and after them, in order.
    passed: Vec<(Fate, Run)>,
    /// How many of those are before each message.
    before: Vec<usize>,
    /// All of it.
    span: Option<Run>,
    /// Bytes of all records in their format.
    bytes: usize,
    /// The oldest record of it, sent or not.
    pub oldest: Option<ReceivedAt>,
}

impl Batch {
    /// Takes what was read at once.
    pub fn take(&mut self, items: impl IntoIterator<Item = Item>, selection: &Selection) {
        let begin = self.messages.len();
        for item in items {
            match item {
                Item::Line { seq, text } => {
                    if let Err(error) = self.read(&text, selection) {
                        tracing::error!(seq, %error, "a line of the journal is not a record: counted as damaged");
                        self.pass(Fate::Damaged, (seq, seq));
                    }
                }
                Item::Damaged { first, last } => self.pass(Fate::Damaged, (first, last)),
                Item::Gone { first, last } => self.pass(Fate::Dropped, (first, last)),
            }
        }
        selection.pack.pack(self.messages.get_mut(begin..).unwrap_or_default());
    }

    fn read(&mut self, line: &Slice, selection: &Selection) -> serde_json::Result<()> {
        let head = Head::read(line)?;
        if selection.wants(&head) {
            self.add(selection.encode(&head, selection.keys.key(&head), line)?);
        } else {
            self.pass(Fate::Skipped, (head.seq, head.seq));
        }
        self.oldest.get_or_insert(head.received_at);
        Ok(())
    }

    fn pass(&mut self, fate: Fate, run: Run) {
        self.cover(run);
        match self.passed.last_mut() {
            Some((last, before)) if *last == fate && before.1 + 1 == run.0 => before.1 = run.1,
            _ => self.passed.push((fate, run)),
        }
    }

    fn cover(&mut self, (first, last): Run) {
        self.span = Some((self.span.map_or(first, |span| span.0), last));
    }

    /// Adds a message.
    pub fn add(&mut self, message: Message) {
        self.cover((message.seq, message.seq));
        self.bytes += message.body.len();
        self.messages.push(message);
        self.before.push(self.passed.len());
    }

    /// The seq behind all of it.
    pub fn end(&self) -> Option<Seq> {
        self.span.map(|(_, last)| last + 1)
    }

    /// How many more records fit.
    pub fn records_left(&self, max: usize) -> usize {
        max.saturating_sub(self.messages.len())
    }

    /// How many more bytes fit.
    pub fn bytes_left(&self, max: usize) -> usize {
        max.saturating_sub(self.bytes)
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.span.is_none()
    }

    /// The stretch that is settled with this part: the cursor passes what is before each of its messages and, after the
    /// last one, the rest.
    pub fn stretch(&self, part: Range<usize>) -> Entry {
        let span = self.span.unwrap_or((1, 0));
        let seq_at = |at: usize| self.messages.get(at).map(|message| message.seq);
        let before = |at: usize| self.before.get(at).copied().unwrap_or_default();
        let (first, from) = match part.start.checked_sub(1) {
            Some(last) => (seq_at(last).map_or(span.0, |seq| seq + 1), before(last)),
            None => (span.0, 0),
        };
        let (last, to) = match part.end.checked_sub(1) {
            Some(last) if part.end < self.messages.len() => (seq_at(last).unwrap_or(span.1), before(last)),
            _ => (span.1, self.passed.len()),
        };
        let mut entry = Entry { first, last, ..Entry::default() };
        for (fate, run) in self.passed.get(from..to).unwrap_or_default() {
            match fate {
                Fate::Skipped => extend(&mut entry.skipped, *run),
                Fate::Dropped => extend(&mut entry.dropped, *run),
                Fate::Damaged => extend(&mut entry.damaged, *run),
                Fate::Delivered | Fate::Parked => {}
            }
        }
        entry
    }

    /// The full copy of a message that was refused. `None` for one that is not in the batch.
    pub fn parked(&self, at: usize, reason: &str) -> Option<ParkedRecord> {
        let message = self.messages.get(at)?;
        Some(ParkedRecord {
            seq: message.seq,
            key: message.key.clone(),
            parked_at: ReceivedAt::wall(),
            reason: reason.to_owned(),
            // Its head was read as JSON.
            record: serde_json::from_slice(&message.line).ok()?,
        })
    }

    /// The seqs of a part.
    pub fn seqs(&self, part: Range<usize>) -> impl Iterator<Item = Seq> + '_ {
        self.messages.get(part).unwrap_or_default().iter().map(|message| message.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: Seq, kind: &str, more: &str) -> Slice {
        let head = r#"{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"n""#;
        let tail = r#""prev":"0","hash":"0"}"#;
        format!(r#"{head},"seq":{seq},"kind":"{kind}","received_at":"2026-11-22T06:40:00.000000Z",{more}{tail}"#).into()
    }

    fn event(tenant: &str, findings: &str) -> String {
        let event = r#"{"id":"AB","type":"t","occurred_at":"2026-11-22T06:40:00.000Z","outcome":"attempted""#;
        format!(r#""source":"fa","event":{event},"tenant_id":"{tenant}"}},"findings":[{findings}],"#)
    }

    fn finding(severity: &str) -> String {
        format!(r#"{{"rule":"r","name":"n","severity":"{severity}","reason":"w"}}"#)
    }

    fn selected(config: &str, lines: &[Slice]) -> Vec<Seq> {
        let selection = Selection::new(&toml::from_str(config).unwrap(), None, Pack::Plain, KeyScheme::EventId);
        let mut batch = Batch::default();
        for (at, line) in lines.iter().enumerate() {
            batch.take([Item::Line { seq: at as u64 + 1, text: line.clone() }], &selection);
        }
        batch.messages.iter().map(|message| message.seq).collect()
    }

    #[test]
    fn scope_kinds_and_findings_choose() {
        let lines = [
            line(1, "event", &event("t1", "")),
            line(2, "event", &event("t2", &finding("low"))),
            line(3, "event", &event("t1", &(finding("low") + "," + &finding("critical")))),
            line(4, "alarm", ""),
            line(5, "replay", ""),
            line(6, "incident", r#""incident":{"severity":"high","tenant_id":"t1"},"#),
            line(7, "incident", r#""incident":{"severity":"high","tenant_id":"t2","application_id":"a2"},"#),
            // Of a network that several tenants were in.
            line(8, "incident", r#""incident":{"severity":"high"},"#),
        ];
        assert_eq!(selected("", &lines), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(selected("kinds = ['event', 'alarm']", &lines), [1, 2, 3, 4]);
        assert_eq!(selected("scope = { tenants = ['t1'] }", &lines), [1, 3, 4, 5, 6, 8]);
        assert_eq!(selected("scope = { allow = [{ tenant = 't2', applications = ['a2'] }] }", &lines), [4, 5, 7, 8]);
        assert_eq!(selected("findings_at_least = 'medium'", &lines), [3, 4, 5, 6, 7, 8]);
        assert_eq!(selected("findings_at_least = 'low'\nkinds = ['event']", &lines), [2, 3]);
    }

    #[test]
    fn keys_are_as_the_scheme_says() {
        let (event, alarm) = (line(3, "event", &event("t", "")), line(4, "alarm", ""));
        for (keys, expected) in [(KeyScheme::EventId, "AB"), (KeyScheme::SourceAndEventId, "fa/AB")] {
            let selection = Selection::new(&DeliveryConfig::default(), None, Pack::Plain, keys);
            assert_eq!(selection.message(&event).unwrap().key, expected);
            assert_eq!(selection.message(&alarm).unwrap().key, "3f9a1c2e-4");
        }
    }

    #[test]
    fn every_seq_is_in_one_part_once() {
        let selection =
            Selection::new(&toml::from_str("kinds = ['event']").unwrap(), None, Pack::Plain, KeyScheme::EventId);
        let mut batch = Batch::default();
        let items = [
            Item::Gone { first: 1, last: 3 },
            Item::Line { seq: 4, text: line(4, "alarm", "") },
            Item::Line { seq: 5, text: line(5, "event", &event("t", "")) },
            Item::Damaged { first: 6, last: 7 },
            Item::Line { seq: 8, text: line(8, "event", &event("t", "")) },
            Item::Line { seq: 9, text: b"{}"[..].into() },
        ];
        batch.take(items, &selection);
        let none = Entry::default();
        let start = Entry { first: 1, last: 5, dropped: vec![(1, 3)], skipped: vec![(4, 4)], ..none.clone() };
        let end = Entry { first: 6, last: 9, damaged: vec![(6, 7), (9, 9)], ..none };
        assert_eq!((batch.stretch(0..1), batch.stretch(1..2)), (start.clone(), end.clone()));
        assert_eq!(batch.stretch(0..2), Entry { last: 9, damaged: end.damaged.clone(), ..start });
        assert_eq!(end.passed(), Passed { skipped: 0, dropped: 0, damaged: 3 });
        assert_eq!((batch.stretch(0..1).delivered(), end.delivered()), (1, 1));
        assert_eq!(batch.parked(1, "why").unwrap().record.get().as_bytes(), &*line(8, "event", &event("t", "")));
    }
}
