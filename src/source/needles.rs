//! The tokens of one body, looked for in every text of it that is to be stored: whole, as a piece, in another spelling.
//!
//! Spellings are undone in the text, not made of the token: percent-encoding and the escapes of JSON in JSON, however often
//! one is in the other, and base64's two alphabets. What looks like a JWT is one, whoever's it is. Knows no source.

use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// Tokens shorter than this are looked for as a whole text only: a few characters are inside of anything.
const SEARCHED_BYTES_MIN: usize = 8;
/// Parts of a JWT shorter than this are looked for only with the rest of it.
const PART_BYTES_MIN: usize = 16;
/// So much of its beginning stands for a token or a part of one: 18 bytes in base64, which nobody writes by chance.
const START_BYTES: usize = 24;
/// Bytes of a token that are read for its beginning, with room for its being spelt in another way.
const READ_BYTES_MAX: usize = 8 * START_BYTES;
/// Of two JWTs and an opaque token.
const STARTS_USUAL: usize = 8;
/// Base64url of `{"`.
const JWT_START: &[u8] = b"eyJ";

/// See the module.
pub(super) struct Needles<'a> {
    whole: Vec<&'a str>,
    /// How tokens and parts of them begin, in the one spelling.
    starts: Vec<Zeroizing<Vec<u8>>>,
    /// By two bytes, which of `starts` may begin with them, a bit each: at most places of a text there is none.
    places: [u32; 256],
    jwt: Finder<'static>,
}

impl<'a> Needles<'a> {
    pub(super) fn new(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let (whole, jwt) = (Vec::new(), Finder::new(JWT_START));
        let mut made = Self { whole, starts: Vec::with_capacity(STARTS_USUAL), places: [0; 256], jwt };
        for token in tokens {
            made.whole.push(token);
            made.add(token, SEARCHED_BYTES_MIN);
            // Signed, or encrypted (RFC 7516).
            if matches!(memchr::memchr_iter(b'.', token.as_bytes()).count(), 2 | 4) {
                token.split('.').for_each(|part| made.add(part, PART_BYTES_MIN));
            }
        }
        made
    }

    fn add(&mut self, token: &str, bytes_min: usize) {
        let read = &token.as_bytes()[..token.len().min(READ_BYTES_MAX)];
        let spelt = in_one_spelling(read);
        // As it stands, too: with what is around it in a text, it may spell something else.
        for start in [Some(read), spelt.as_deref().map(Vec::as_slice)].into_iter().flatten() {
            let start = &start[..start.len().min(START_BYTES)];
            if start.len() >= bytes_min && !self.starts.iter().any(|known| **known == start) {
                self.places[place(start[0], start[1])] |= bit(self.starts.len());
                self.starts.push(Zeroizing::new(start.to_vec()));
            }
        }
    }

    /// Whether the text is, holds or looks like a token, or a piece of one.
    pub(super) fn are_in(&self, text: &str) -> bool {
        if self.whole.contains(&text) {
            return true;
        }
        let holds = |text: &[u8]| self.start_in(text) || self.holds_jwt(text);
        holds(text.as_bytes()) || in_one_spelling(text.as_bytes()).is_some_and(|spelt| holds(&spelt))
    }

    fn start_in(&self, text: &[u8]) -> bool {
        let may_begin = |pair: &[u8]| self.places[place(pair[0], pair[1])];
        text.windows(2).enumerate().any(|(at, pair)| {
            let which = may_begin(pair);
            which != 0 && {
                let mut starts = self.starts.iter().enumerate().filter(|(number, _)| which & bit(*number) != 0);
                starts.any(|(_, start)| text[at..].starts_with(start))
            }
        })
    }

    /// Whether there is a JWT inside: its start, a dot, and a second part (an encrypted one's may be empty).
    fn holds_jwt(&self, text: &[u8]) -> bool {
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut rest = text;
        while let Some(start) = self.jwt.find(rest) {
            let first = rest[start..].iter().take_while(|byte| part(byte)).count();
            rest = &rest[start + first..];
            // Whatever starts inside of this part ends where it does: no byte is looked at twice.
            if rest.first() == Some(&b'.') && rest.get(1).is_some_and(|byte| part(byte) || *byte == b'.') {
                return true;
            }
        }
        false
    }
}

/// The text with what stands for one of its characters undone, in the alphabet of base64url; `None` where it is so already.
fn in_one_spelling(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if memchr::memchr3(b'%', b'\\', b'+', text).is_none() && memchr::memchr(b'/', text).is_none() {
        return None;
    }
    let mut made = Zeroizing::new(Vec::with_capacity(text.len()));
    for byte in text {
        made.push(in_base64url(*byte));
        // What was undone may be a piece of what is yet to be: each time it gets shorter.
        while let Some((written, byte)) = undone(&made) {
            let before = made.len() - written;
            made.truncate(before);
            made.push(in_base64url(byte));
        }
    }
    Some(made)
}

/// Two letters or digits that are not alike seldom have the same.
fn place(first: u8, second: u8) -> usize {
    usize::from(first.wrapping_mul(31) ^ second)
}

/// Of more than there are bits, some share one.
const fn bit(number: usize) -> u32 {
    1 << (number % 32)
}

const fn in_base64url(byte: u8) -> u8 {
    match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => byte,
    }
}

/// How many bytes at the end stand for one, and which.
fn undone(text: &[u8]) -> Option<(usize, u8)> {
    match text {
        [.., b'%', high, low] => Some((3, hex(*high)? << 4 | hex(*low)?)),
        [.., b'\\', b'u', b'0', b'0', high, low] => Some((6, hex(*high)? << 4 | hex(*low)?)),
        [.., b'\\', byte] if *byte != b'u' => Some((2, *byte)),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: &str = "Zq9+aa/bbCCddEEffGG00112233445566778899+xy/zA4";
    const ACCESS: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1MSIsImVtYWlsIjoidiJ9.c2lnbmF0dXJlLW5vdA";

    #[test]
    fn tokens_are_found_in_any_spelling_and_in_pieces() {
        let needles = Needles::new([REFRESH, ACCESS]);
        let (payload, signature) = ("eyJzdWIiOiJ1MSIsImVtYWlsIjoidiJ9", "c2lnbmF0dXJlLW5vdA");
        for text in [
            REFRESH,
            "app Zq9+aa/bbCCddEEffGG00112233445566778899+xy/zA4;",
            "x?rt=Zq9%2Baa%2FbbCCddEEffGG00112233445566778899%2Bxy%2FzA4",
            "x?rt=Zq9%2baa%2fbbCCddEEffGG001122",
            "x?rt=Zq9%252Baa%25252FbbCCddEEffGG001122",
            "Zq9-aa_bbCCddEEffGG00112233445566778899-xy_zA4",
            r#"{\"rt\":\"Zq9+aa\/bbCCddEEffGG001122\"}"#,
            r"Zq9\u002baa\u002FbbCCddEEffGG001122",
            r"Zq9\\u002baa\\\/bbCCddEEffGG001122",
            // Less one character, and as little as 24 of them.
            &REFRESH[..REFRESH.len() - 1],
            &REFRESH[..24],
            ACCESS,
            &format!("app {payload}"),
            &format!("app {}", &payload[..24]),
            signature,
            &ACCESS.replace('.', "%2E"),
            // Anybody's.
            "eyJhIjoxfQ.eyJiIjoyfQ.",
            "eyJhIjoxfQ%2EeyJiIjoyfQ",
        ] {
            assert!(needles.are_in(text), "{text}");
        }
        for text in [
            "",
            "app",
            // Of 23 characters nobody can tell.
            &REFRESH[..23],
            &payload[..15],
            "Mozilla/5.0 (X11; Linux x86_64) 100%",
            "%%%2%5C\\u00\\",
            "50% of a+b/c\\d",
            "eyJhIjoxfQ",
        ] {
            assert!(!needles.are_in(text), "{text}");
        }
        // What stands before or behind it makes another spelling of it, and is none.
        assert!(Needles::new(["41bcdefg\\"]).are_in("%41bcdefg\\0"));
        // As short as these is anything: only as a whole text, or with the rest.
        assert!(Needles::new(["abc"]).are_in("abc") && !Needles::new(["abc"]).are_in("abcd"));
        assert!(
            Needles::new(["abcdefgh"]).are_in("xabcdefghx") && !Needles::new(["a.bcdefghijk.l"]).are_in("bcdefghijk")
        );
    }

    #[test]
    fn however_often_a_jwt_might_begin_each_byte_is_looked_at_once() {
        let needles = Needles::new([]);
        let start = std::time::Instant::now();
        // Looked at anew from each beginning, this would be 180 billion steps.
        let many = "eyJ".repeat(1 << 20);
        assert!(!needles.are_in(&many) && !needles.are_in(&format!("{many}.")));
        assert!(needles.are_in(&format!("{many}.a")) && needles.are_in(&format!("eyJa {many} eyJb.c")));
        // Nor is what is undone again and again.
        assert!(!needles.are_in(&"%25".repeat(1 << 20)) && !needles.are_in(&"\\".repeat(1 << 20)));
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    proptest::proptest! {
        #[test]
        fn a_percent_encoded_token_is_found_whatever_is_around_it(
            token in "[A-Za-z0-9+/_-]{24,60}", before in "\\PC{0,20}", after in "\\PC{0,20}", every in 1_usize..5,
        ) {
            let encoded: String = token
                .bytes()
                .enumerate()
                .map(|(at, byte)| if at % every == 0 { format!("%{byte:02X}") } else { char::from(byte).to_string() })
                .collect();
            // What stands before must not swallow its beginning.
            let before = before.replace(['%', '\\'], "");
            let needles = Needles::new([token.as_str()]);
            let text = format!("{before}{encoded}{after}");
            proptest::prop_assert!(needles.are_in(&text));
        }
    }
}
