//! What the formats of one line of text share: values without line ends and control characters, cut to a limit, and the
//! members that neither CEF nor LEEF has a key for.

use std::{
    fmt::{self, Display, Write as _},
    marker::PhantomData,
};

use super::gist::Gist;
use crate::{event::Failure, record::Severity};

/// How a value is put into a line.
pub trait Style {
    /// What the line can carry of a character.
    fn carried(c: char) -> char;

    /// What is written for it, where that is not itself.
    fn escaped(c: char) -> Option<&'static str>;
}

/// What any line can carry of a character: a tab becomes a space; every other control character, line ends included, and
/// whatever else some reader takes for a line's end becomes U+FFFD.
pub fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        '\u{2028}' | '\u{2029}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Appends a character as UTF-8.
pub fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends a value, at most `limit` bytes of it before escaping; of a longer one the last character is `…`.
pub fn value<S: Style>(out: &mut Vec<u8>, limit: usize, value: &dyn Display) {
    let cut = out.len();
    let mut to = Escaped::<S> { out, left: limit, cut, is_over: false, style: PhantomData };
    // Appending to a vector does not fail; a `Display` that does leaves what it wrote.
    let _ = write!(to, "{value}");
}

struct Escaped<'o, S> {
    out: &'o mut Vec<u8>,
    left: usize,
    /// Where there was still room for [`CUT`].
    cut: usize,
    is_over: bool,
    style: PhantomData<S>,
}

/// Stands for what was cut.
const CUT: char = '…';

impl<S: Style> fmt::Write for Escaped<'_, S> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars().map(S::carried) {
            if self.is_over {
                break;
            }
            let Some(left) = self.left.checked_sub(c.len_utf8()) else {
                self.out.truncate(self.cut);
                push(CUT, self.out);
                self.is_over = true;
                break;
            };
            self.left = left;
            match S::escaped(c) {
                Some(text) => self.out.extend_from_slice(text.as_bytes()),
                None => push(c, self.out),
            }
            if left >= CUT.len_utf8() {
                self.cut = self.out.len();
            }
        }
        Ok(())
    }
}

/// Texts with commas between them.
pub struct Joined<I>(pub I);

impl<T: Display, I: Iterator<Item = T> + Clone> Display for Joined<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, text) in self.0.clone().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            write!(f, "{text}")?;
        }
        Ok(())
    }
}

/// 1 to 10 for both: CEF calls up to 3 low, up to 6 medium, up to 8 high, above it very high.
pub const fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

/// What identifies the kind of thing that happened: the worst finding's rule, else the action.
pub fn class<'g>(gist: &Gist<'g>) -> &'g str {
    gist.worst.map_or(gist.action, |worst| &worst.rule)
}

/// Class and code in one.
pub fn reason(failure: &Failure) -> impl Display + '_ {
    Joined([Some(&failure.class), failure.code.as_ref()].into_iter().flatten())
}

/// Calls `put` with the name, each word's first letter upper-case, and the value of what neither format has a key for.
pub fn details(gist: &Gist<'_>, mut put: impl FnMut(&'static str, &dyn Display)) {
    let record = gist.record;
    let mut maybe = |name: &'static str, value: Option<&dyn Display>| {
        if let Some(value) = value {
            put(name, value);
        }
    };
    fn shown<T: Display>(value: Option<&T>) -> Option<&dyn Display> {
        value.map(|value| value as &dyn Display)
    }
    maybe("Would", shown(gist.would().as_ref()));
    maybe("Incident", shown(gist.incident().as_ref()));
    let incidents = gist.incidents();
    if incidents.len() > 1 {
        maybe("Incidents", Some(&Joined(incidents.iter())));
    }
    let techniques = gist.techniques();
    maybe("Techniques", Some(&Joined(techniques.iter())));
    maybe("Authenticity", shown(record.evidence.as_ref().and_then(|evidence| evidence.authenticity.as_ref())));
    maybe("ReplayOf", shown(record.replay.as_ref().map(|replay| &replay.of)));
    let subject = record.alarm.as_ref().and_then(|alarm| alarm.subject.as_ref());
    maybe("Subject", shown(subject.or_else(|| record.operator.as_ref().and_then(|done| done.subject.as_ref()))));
    let Some(event) = &record.event else { return };
    if let Some(device) = &event.device {
        maybe("Device", shown(device.name.as_ref()));
        maybe("DeviceType", shown(device.kind.as_ref()));
        maybe("DeviceDescription", shown(device.description.as_ref()));
        maybe("DeviceOs", shown(device.os.as_ref()));
    }
    if let Some(place) = &event.location {
        maybe("City", shown(place.city.as_ref()));
        maybe("Region", shown(place.region.as_ref()));
        maybe("Country", shown(place.country.as_ref()));
    }
    if let Some(network) = &event.network {
        maybe("Asn", shown(network.asn.as_ref()));
        maybe("Network", shown(network.org.as_ref()));
        maybe("NetworkLabels", Some(&Joined(network.labels.iter())));
    }
    if let Some(client) = &event.client {
        maybe("Client", shown(client.browser.as_ref()));
        maybe("ClientKind", shown(client.kind.as_ref()));
    }
    maybe("Rotated", shown(event.rotated.as_ref()));
    maybe("Correlation", shown(event.correlation_id.as_ref()));
    let tokens = &event.tokens;
    for (name, token) in [
        ("RefreshPresented", &tokens.refresh.presented),
        ("RefreshIssued", &tokens.refresh.issued),
        ("AccessPrevious", &tokens.access.previous),
        ("AccessIssued", &tokens.access.issued),
    ] {
        maybe(name, shown(token.as_ref().and_then(|token| token.fingerprint.as_ref())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    impl Style for Plain {
        fn carried(c: char) -> char {
            printable(c)
        }

        fn escaped(_: char) -> Option<&'static str> {
            None
        }
    }

    fn cut(text: &str, limit: usize) -> String {
        let mut out = b"k=".to_vec();
        value::<Plain>(&mut out, limit, &text);
        String::from_utf8(out).unwrap()[2..].to_owned()
    }

    #[test]
    fn a_value_is_cut_between_characters_and_says_so() {
        for (text, limit, expected) in [
            ("", 5, ""),
            ("abcde", 5, "abcde"),
            ("abcdef", 5, "ab…"),
            ("ééé", 6, "ééé"),
            ("éééé", 6, "é…"),
            ("ééééé", 7, "éé…"),
            ("\0\0\0", 8, "\u{fffd}…"),
            ("a\tb\0c\u{7f}\u{85}\u{2028}\u{2029}\u{202e}", 99, "a b\u{fffd}c\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{202e}"),
        ] {
            assert_eq!(cut(text, limit), expected, "{text:?} to {limit}");
        }
    }
}
