//! Telling people: one message at a time in order, none twice where the other side took it, and no more than the cap
//! allows. What is over the cap stays pending in the journal and is told in one message when the hour is over.

use std::{
    fmt::Display,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    cap::{Cap, Full, Turn},
    notice::{Link, Notice, Phase, loud},
    text::{cut, utc},
};
use crate::{
    record::{Seq, Severity},
    sink::{Ack, Message, SinkError},
    time::ReceivedAt,
};

/// Of what waited, this many are named.
const NAMED_MAX: usize = 5;
/// One of them.
const NAMED_CHARS_MAX: usize = 160;

/// See the head of this file.
pub struct Desk {
    link: Option<Link>,
    /// Whether to tell that something is over.
    resolved: bool,
    cap: Mutex<Cap>,
}

/// Why a message was not told.
pub enum Untold {
    /// It was not taken.
    Not(SinkError),
    /// It may have been: nobody said. It counts in the cap, or one that is taken each time would be told without end.
    Perhaps(SinkError),
}

impl From<SinkError> for Untold {
    fn from(error: SinkError) -> Self {
        Self::Not(error)
    }
}

/// How far a batch has come.
#[derive(Default)]
struct Course {
    /// The first message that is not settled.
    next: usize,
    refused: Vec<(Seq, String)>,
    /// What was said to the records that were taken.
    taken: Vec<(Seq, String)>,
}

/// What the proof of delivery says of a record that nobody has to know of: an incident that goes on, or, where that was asked
/// for, what is over. It has come to its end here all the same.
const UNTOLD: &str = "not sent: nothing that people have to know";

impl Desk {
    /// Nothing told yet.
    pub fn new(link: Option<Link>, resolved: bool, messages_max: NonZeroU32) -> Self {
        Self { link, resolved, cap: Mutex::new(Cap::new(messages_max)) }
    }

    fn cap(&self) -> MutexGuard<'_, Cap> {
        self.cap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One message a record. Where that ends half-way, only the rest is to be tried again.
    pub async fn tell_each<F, Said>(&self, batch: &[Message], say: F) -> Result<Ack, SinkError>
    where
        F: Fn(&Notice) -> Said + Sync,
        Said: Future<Output = Result<String, SinkError>> + Send,
    {
        let mut course = Course::default();
        let ended = self.go_on(batch, &mut course, say).await;
        let Course { next, refused, taken } = course;
        let ack = Ack { text: String::new(), records: taken };
        let again = || batch.iter().skip(next).map(|message| message.seq).collect();
        match ended {
            Ok(()) if refused.is_empty() => Ok(ack),
            Ok(()) => Err(SinkError::Reject { refused, ack }),
            Err(SinkError::Retry { reason, after, fault }) if next > 0 => {
                Err(SinkError::Partly { again: again(), refused, ack, reason, after, fault })
            }
            Err(SinkError::Later { reason, after, .. }) => {
                Err(SinkError::Later { again: again(), refused, ack, reason, after })
            }
            Err(error) => Err(error),
        }
    }

    async fn go_on<F, Said>(&self, batch: &[Message], course: &mut Course, say: F) -> Result<(), SinkError>
    where
        F: Fn(&Notice) -> Said + Sync,
        Said: Future<Output = Result<String, SinkError>> + Send,
    {
        while let Some(message) = batch.get(course.next) {
            let Some(notice) = self.notice(message)? else {
                course.taken.push((message.seq, UNTOLD.to_owned()));
                course.next += 1;
                continue;
            };
            let (notice, end) = match self.turn() {
                Turn::Tell => self.with_what_waited(batch, course.next, notice)?,
                Turn::Full(full) => return Err(self.full(full, batch, &notice, &say).await),
            };
            let part = batch.get(course.next..end).unwrap_or_default();
            match say(&notice).await {
                Ok(said) => {
                    self.cap().told(Instant::now());
                    course.taken.extend(part.iter().map(|message| (message.seq, said.clone())));
                }
                Err(SinkError::Refused { reason }) => {
                    course.refused.extend(part.iter().map(|message| (message.seq, reason.clone())));
                }
                Err(error) => return Err(error),
            }
            course.next = end;
        }
        Ok(())
    }

    /// One message for the whole batch.
    pub async fn tell_together<F, Said>(&self, batch: &[Message], say: F) -> Result<Ack, SinkError>
    where
        F: Fn(&[Notice]) -> Said + Sync,
        Said: Future<Output = Result<String, Untold>> + Send,
    {
        let (mut notices, mut untold) = (Vec::new(), Vec::new());
        for message in batch {
            match self.notice(message)? {
                Some(notice) => notices.push(notice),
                None => untold.push((message.seq, UNTOLD.to_owned())),
            }
        }
        let Some(first) = notices.first() else { return Ok(Ack { text: String::new(), records: untold }) };
        let said = match self.turn() {
            Turn::Tell => say(&notices).await,
            Turn::Full(full) => {
                return Err(self.full(full, batch, first, |notice| say(std::slice::from_ref(notice))).await);
            }
        };
        if !matches!(said, Err(Untold::Not(_))) {
            self.cap().told(Instant::now());
        }
        match said {
            Ok(said) => Ok(Ack { text: said, records: untold }),
            Err(Untold::Not(error) | Untold::Perhaps(error)) => Err(error),
        }
    }

    fn turn(&self) -> Turn {
        self.cap().turn(Instant::now(), ReceivedAt::wall())
    }

    /// What a record says, where it is to be told.
    fn notice(&self, message: &Message) -> Result<Option<Notice>, SinkError> {
        let notice = Notice::of(message, self.link.as_ref())
            .map_err(|error| SinkError::Refused { reason: format!("not a record: {error}") })?;
        Ok(notice.filter(|notice| self.resolved || notice.phase != Phase::Over))
    }

    /// The cap is reached: says so once. Returns when to come again.
    async fn full<F, Said, E>(&self, full: Full, batch: &[Message], next: &Notice, say: F) -> SinkError
    where
        F: Fn(&Notice) -> Said,
        Said: Future<Output = Result<String, E>> + Send,
        E: Into<Untold>,
    {
        let left = full.left;
        let told = match full.was_said {
            true => Ok(String::new()),
            false => say(&self.full_notice(next, left)).await.map_err(E::into),
        };
        match told {
            // Refused or told: saying it again would not help.
            Ok(_) | Err(Untold::Not(SinkError::Refused { .. }) | Untold::Perhaps(_)) => {
                self.cap().said_full();
                SinkError::Later {
                    again: batch.iter().map(|message| message.seq).collect(),
                    refused: Vec::new(),
                    ack: Ack::none(),
                    reason: "the cap of messages an hour is reached; the rest is told in one".to_owned(),
                    after: left,
                }
            }
            Err(Untold::Not(error)) => error,
        }
    }

    fn full_notice(&self, next: &Notice, left: Duration) -> Notice {
        let (most, until) = (self.cap().messages_max(), utc(ReceivedAt::wall().plus(left)));
        let text = format!(
            "What comes from now on is told in one message at {until}. Do not wait for it: {}. The first of it: {}: {}",
            self.see(),
            next.headline,
            next.text
        );
        let headline = format!("More than {most} messages within an hour");
        Notice { headline, text, phase: Phase::Full, facts: Vec::new(), link: self.link_of_all(), ..next.clone() }
    }

    fn see(&self) -> impl Display + use<> {
        let all = self.link_of_all().map(|link| format!("{link} and ")).unwrap_or_default();
        format!("{all}`refresh-audit records --kind incident` show what happens")
    }

    fn link_of_all(&self) -> Option<String> {
        self.link.as_ref().map(|link| link.of_all().to_owned())
    }

    /// What waited for the hour to end is one notice; anything else is told alone. And where in the batch it ends.
    fn with_what_waited(&self, batch: &[Message], at: usize, first: Notice) -> Result<(Notice, usize), SinkError> {
        let waited = |notice: &Notice| self.cap().waited(notice.at);
        if !waited(&first) {
            return Ok((first, at + 1));
        }
        let (mut more, mut end) = (Vec::new(), at + 1);
        for message in batch.get(end..).unwrap_or_default() {
            match self.notice(message)? {
                Some(notice) if !waited(&notice) => break,
                notice => more.extend(notice),
            }
            end += 1;
        }
        Ok((if more.is_empty() { first } else { self.summary(first, more) }, end))
    }

    fn summary(&self, first: Notice, more: Vec<Notice>) -> Notice {
        let (since, last) = (first.at, more.last().unwrap_or(&first).clone());
        let mut notices: Vec<Notice> = std::iter::once(first).chain(more).collect();
        let count = notices.len();
        let over = notices.iter().filter(|notice| notice.phase == Phase::Over).count();
        // The worst first; the order of equals stays.
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.severity));
        let severity = notices.first().map_or(Severity::Info, |notice| notice.severity);
        let line =
            |notice: &Notice| ("Among them", cut(&format!("{}: {}", notice.headline, notice.text), NAMED_CHARS_MAX));
        let facts = notices.iter().take(NAMED_MAX).map(line).collect();
        let text = format!(
            "{count} more since {}, {over} of them over; the worst is {}. {}.",
            utc(since),
            loud(severity),
            self.see()
        );
        let headline = format!("{count} more, told in one");
        Notice { headline, text, severity, facts, phase: Phase::Once, link: self.link_of_all(), ..last }
    }
}

#[cfg(test)]
mod tests;
