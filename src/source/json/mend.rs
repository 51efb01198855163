//! What keeps a parser from a whole body and is no more than one odd member: half a surrogate pair, a number that no type
//! holds. Put right here, so that the rest is read and the member is named.

use zeroize::Zeroizing;

/// The same body as JSON that can be read; `None` where nothing in it is mended. Clients choose their user agent: no odd
/// character in it may keep a refresh from being recorded.
pub(in crate::source) fn mend(json: &str) -> Option<Zeroizing<String>> {
    let whole = without_half_pairs(json);
    without_huge_numbers(whole.as_ref().map_or(json, |whole| whole)).or(whole)
}

/// JSON can name halves of surrogate pairs (`\ud83d` without what must follow), which no text can hold: the same with
/// `\ufffd` in their place, `None` where there is none.
fn without_half_pairs(json: &str) -> Option<Zeroizing<String>> {
    // The code unit of the escape that begins there.
    let unit = |at: usize| {
        let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (Zeroizing::new(String::with_capacity(json.len())), 0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match (unit(at), unit(at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
            (Some(0xd800..=0xdfff), _) => {
                mended.push_str(&json[copied..at]);
                mended.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            _ => at += 2,
        }
    }
    (copied > 0).then(|| {
        mended.push_str(&json[copied..]);
        mended
    })
}

/// A number past what a double holds (`1e999`) ends a parse, and nobody says which member it was: the same with `true` in
/// its place, which no member that is a number can be. `None` where there is none.
fn without_huge_numbers(json: &str) -> Option<Zeroizing<String>> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    let bytes = json.as_bytes();
    let (mut mended, mut copied, mut at) = (Zeroizing::new(String::with_capacity(json.len())), 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                if json[at..end].parse::<f64>().is_ok_and(f64::is_infinite) {
                    mended.push_str(&json[copied..at]);
                    mended.push_str("true");
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    (copied > 0).then(|| {
        mended.push_str(&json[copied..]);
        mended
    })
}

/// What is behind the string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_type_holds_are_replaced_and_nothing_else() {
        let digits = "9".repeat(400);
        for (json, expected) in [
            (r#"{"a":1e999,"b":[-1E+400]}"#.to_owned(), Some(r#"{"a":true,"b":[true]}"#.to_owned())),
            (format!(r#"{{"é\"1e999":{digits}}}"#), Some(r#"{"é\"1e999":true}"#.to_owned())),
            (r#"["1e999","\\",1e308,-0.0,18446744073709551616,1e-999]"#.to_owned(), None),
            (r#"["1e999"#.to_owned(), None),
        ] {
            assert_eq!(without_huge_numbers(&json).map(|text| text.to_string()), expected, "{json}");
        }
    }

    #[test]
    fn half_pairs_are_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#"{"a":"\ud83d"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (r#"["\uDE00é\ud83d\n","\ud83d\ude00"]"#, Some(r#"["\ufffdé\ufffd\n","\ud83d\ude00"]"#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\\ud83d""#, None),
            (r#""\ud83d\ude00 \u00e9 \\\" \u12""#, None),
            ("\"\\", None),
            ("\\u12é", None),
        ] {
            assert_eq!(without_half_pairs(json).as_ref().map(|text| text.as_str()), expected, "{json}");
        }
    }
}
