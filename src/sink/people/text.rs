//! Text for people: harmless, short, with times in UTC. Pure.

use crate::time::ReceivedAt;

/// One line of at most `max` characters: control characters, line ends and invisible marks that turn or hide text are
/// gone, runs of white space are one space.
pub fn clean(text: &str, max: usize) -> String {
    let visible = text.chars().map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c });
    let visible: String = visible.filter(|c| !hides(*c)).collect();
    let line = visible.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    cut(&line, max)
}

/// At most `max` characters; what is longer ends in `…`.
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// Characters that show nothing and change what others show: soft hyphen, zero width, direction marks, tags.
fn hides(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `2026-11-22 06:40:00 UTC`.
pub fn utc(at: ReceivedAt) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_survives() {
        let evil = "a\r\nBcc: x@example.com\tb\u{202e}cod.exe\u{200b}\u{2028}c\u{1b}[31m \u{0} d\u{2066}";
        assert_eq!(clean(evil, 100), "a Bcc: x@example.com bcod.exe c [31m d");
        assert_eq!(clean("  ", 9), "");
    }

    #[test]
    fn what_is_too_long_says_so() {
        assert_eq!((cut("äöüß", 4), cut("äöüßx", 4)), ("äöüß".to_owned(), "äöü…".to_owned()));
        assert_eq!(clean(&"x".repeat(8_192), 10), "xxxxxxxxx…");
    }

    #[test]
    fn times_are_utc_and_say_so() {
        // 1,795,329,600 s is 2026-11-22 06:40:00 by `date -u -d @1795329600`.
        assert_eq!(utc(ReceivedAt::from_micros(1_795_329_600_123_456)), "2026-11-22 06:40:00 UTC");
    }
}
