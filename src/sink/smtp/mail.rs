//! Notices as one mail in plain text. Pure but for the date.

use std::time::SystemTime;

use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

use crate::sink::people::{
    notice::{Notice, Phase, loud},
    text::cut,
};

/// Of a subject; mail programs show less.
const SUBJECT_CHARS_MAX: usize = 120;
/// Written out in one mail; of more the number is told.
const NOTICES_MAX: usize = 50;

/// Who sends to whom.
pub(super) struct Envelope {
    pub(super) from: Mailbox,
    pub(super) to: Vec<Mailbox>,
}

/// The mail, ready for the wire. The same notices always have the same `Message-ID`, so that a mail that was sent twice can
/// be told for one.
pub(super) fn mail(notices: &[Notice], envelope: &Envelope) -> Result<Vec<u8>, lettre::error::Error> {
    let mut builder = Message::builder().from(envelope.from.clone()).date(SystemTime::now());
    for to in &envelope.to {
        builder = builder.to(to.clone());
    }
    let (first, last) = (notices.first(), notices.last());
    let mut id = format!("{}-{}", first.map_or(0, |notice| notice.seq), last.map_or(0, |notice| notice.seq));
    if let Some(Notice { node, at, .. }) = last {
        let node = node.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-');
        id = format!("{id}.{}.{}", at.micros(), node.collect::<String>());
    }
    if first.is_some_and(|notice| notice.phase == Phase::Full) {
        // The mail that tells this record itself is another one.
        id = format!("full.{id}");
    }
    let mut message = builder
        .message_id(Some(format!("<{id}@{}>", envelope.from.email.domain())))
        .subject(subject(notices))
        .header(ContentType::TEXT_PLAIN)
        .body(body(notices))?;
    // Nobody's out-of-office answers it (RFC 3834).
    message
        .headers_mut()
        .insert_raw(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    Ok(message.formatted())
}

/// No line ends: every text of a notice is one line.
fn subject(notices: &[Notice]) -> String {
    let subject = match notices {
        [one] => format!("[refresh-audit] {}: {}", one.headline, one.text),
        many => {
            let over = many.iter().filter(|notice| notice.phase == Phase::Over).count();
            let worst = many.iter().filter(|notice| notice.phase != Phase::Over).map(|notice| notice.severity).max();
            let worst = worst.map(|worst| format!(", the worst {}", loud(worst))).unwrap_or_default();
            format!("[refresh-audit] {} notices{worst}, {over} over", many.len())
        }
    };
    cut(&subject, SUBJECT_CHARS_MAX)
}

fn body(notices: &[Notice]) -> String {
    let mut body = String::new();
    for (at, notice) in notices.iter().take(NOTICES_MAX).enumerate() {
        if at > 0 {
            body.push_str("\r\n----------------------------------------\r\n\r\n");
        }
        write_notice(&mut body, notice);
    }
    if let Some(more) = notices.len().checked_sub(NOTICES_MAX).filter(|more| *more > 0) {
        body.push_str(&format!("\r\nAnd {more} more: `refresh-audit records --kind incident` shows them.\r\n"));
    }
    // The protocol ends the last line.
    body.trim_end().to_owned()
}

fn write_notice(body: &mut String, notice: &Notice) {
    let mut line = |text: &str| {
        body.push_str(text);
        body.push_str("\r\n");
    };
    line(&notice.headline);
    line(&notice.text);
    if !notice.facts.is_empty() {
        line("");
    }
    for (name, value) in &notice.facts {
        line(&format!("{name}: {value}"));
    }
    if let Some(link) = &notice.link {
        line("");
        line(link);
    }
    line("");
    line(&notice.footer);
}
