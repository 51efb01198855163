//! User agents: which program asked, on which system, and whether a person's browser, an app, a script or a back end.
//!
//! Read by their grammar (RFC 9110, 10.1.5: products and comments) against short lists of names, and not by a list of
//! regular expressions: what rules compare is the family, the system and the kind, which have kept their form for years
//! (browsers froze it). It takes about 5 microseconds and no memory, so nothing is cached, and a client that changes its
//! user agent with each request costs no more than any other. A program in no list is called what it calls itself. The
//! client can write anything here.

use crate::event::Client;

mod names;

use names::{APPS, BOTS, BROWSERS, Kind, PROGRAMS, SYSTEMS};

/// What is longer is cut; browsers stay below 300 bytes, apps that list their device below 600.
const READ_BYTES_MAX: usize = 1_024;
/// Products after these are not read.
const PRODUCTS_MAX: usize = 32;
/// Families taken from the text are cut to this.
const FAMILY_CHARS_MAX: usize = 48;
/// Families that are told by other signs than a product's name.
const UNLISTED: &[&str] = &[ANDROID, ELECTRON, EXPLORER, WEB_VIEW];
const ANDROID: &str = "Android Browser";
const ELECTRON: &str = "Electron";
const EXPLORER: &str = "Internet Explorer";
const WEB_VIEW: &str = "WebView";

/// `name/version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Product<'t> {
    name: &'t str,
    version: Option<&'t str>,
}

/// Whether a program goes by this name in the lists here, so that it says nothing that the client made up.
pub fn is_known_program(family: &str) -> bool {
    let mut listed = PROGRAMS.iter().map(|program| program.family).chain(APPS.iter().chain(BROWSERS).map(|app| app.1));
    listed.any(|known| known == family) || UNLISTED.contains(&family)
}

/// What a user agent says; `None` where it says nothing.
pub(super) fn parse(text: &str) -> Option<Client> {
    let end = (0..=READ_BYTES_MAX.min(text.len())).rfind(|end| text.is_char_boundary(*end))?;
    let text = text[..end].trim();
    if text.is_empty() {
        return None;
    }
    let products = products(text);
    let found = family(text, &products);
    let os = system(text, &products);
    let kind = found.kind.or_else(|| (os.is_some() && found.family.is_some()).then_some(Kind::App));
    let client = Client {
        browser: found.family.and_then(printable),
        version: found.version.and_then(major_minor),
        os: os.map(str::to_owned),
        kind: kind.map(|kind| kind.name().to_owned()),
    };
    Some(client).filter(|client| !client.is_empty())
}

/// The products outside of comments.
fn products(text: &str) -> Vec<Product<'_>> {
    let mut products = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    // As if a last comment began at the end.
    for (at, byte) in text.bytes().chain([b'(']).enumerate() {
        match byte {
            b'(' => {
                if depth == 0 {
                    products.extend(text[start..at].split_whitespace().map(product));
                }
                depth += 1;
            }
            b')' if depth > 0 => {
                depth -= 1;
                start = at + 1;
            }
            _ => {}
        }
    }
    products.truncate(PRODUCTS_MAX);
    products
}

fn product(word: &str) -> Product<'_> {
    match word.split_once('/') {
        Some((name, version)) => Product { name, version: Some(version) },
        None => Product { name: word, version: None },
    }
}

struct Found<'t> {
    family: Option<&'t str>,
    version: Option<&'t str>,
    /// `None`: an app if it names its system.
    kind: Option<Kind>,
}

impl<'t> Found<'t> {
    fn new(family: &'t str, version: Option<&'t str>, kind: Kind) -> Self {
        Self { family: Some(family), version, kind: Some(kind) }
    }
}

/// From the surest sign to the least: programs by their name, what only apps have, who says to be a bot, then browsers.
fn family<'t>(text: &'t str, products: &[Product<'t>]) -> Found<'t> {
    let first = products.first().copied().unwrap_or(Product { name: "", version: None });
    // Libraries come first where they ask themselves; what stands further behind counts only if nothing but a program has it.
    let known = |product: &&Product<'_>, anywhere| {
        PROGRAMS.iter().find(|known| known.anywhere == anywhere && product.name.eq_ignore_ascii_case(known.name))
    };
    let surely = products.iter().find_map(|product| Some((product, known(&product, true)?)));
    let known = surely.or_else(|| products.first().and_then(|product| Some((product, known(&product, false)?))));
    if let Some((product, known)) = known {
        return Found::new(known.family, product.version, known.kind);
    }
    if products.iter().skip(1).any(|product| ["CFNetwork", "Darwin"].contains(&product.name)) {
        return Found::new(first.name, first.version, Kind::App);
    }
    for (token, family) in APPS {
        if let Some(version) = behind(text, token) {
            return Found::new(family, Some(version), Kind::App);
        }
    }
    if let Some(found) = bot(text, products) {
        return found;
    }
    if !["Mozilla", "Opera"].contains(&first.name) {
        let named = Some(first.name).filter(|name| name.chars().any(char::is_alphabetic));
        return Found { family: named, version: first.version, kind: None };
    }
    browser(text, products)
}

/// Crawlers and the like: a word that ends so, in the comment or outside of it, or a page about themselves.
fn bot<'t>(text: &'t str, products: &[Product<'t>]) -> Option<Found<'t>> {
    let own = || products.iter().find(|product| !names::is_engine(product.name)).copied();
    // `(compatible; Name/1.0; …)`
    let compatible = || behind(text, "compatible; ").map(product);
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_bot = |word: &&str| {
        let ends =
            |end: &&&str| word.get(word.len().wrapping_sub(end.len())..).is_some_and(|w| w.eq_ignore_ascii_case(end));
        // A maker of telephones.
        BOTS.iter().any(|end| ends(&end)) && !word.eq_ignore_ascii_case("cubot")
    };
    let (family, version) = match words.find(is_bot) {
        // More than the bare word is its name.
        Some(word) if BOTS.iter().all(|end| !word.eq_ignore_ascii_case(end)) => {
            (word, behind(text, word).and_then(|rest| rest.strip_prefix('/')))
        }
        found => {
            // Old toolbars put their page into Internet Explorer's.
            found.or_else(|| (text.contains("://") && !text.contains("MSIE ")).then_some(""))?;
            own().or_else(compatible).map(|named| (named.name, named.version))?
        }
    };
    Some(Found::new(family, version, Kind::Bot))
}

fn browser<'t>(text: &'t str, products: &[Product<'t>]) -> Found<'t> {
    let version_of = |name: &str| products.iter().find(|product| product.name == name).and_then(|p| p.version);
    for (name, family) in BROWSERS {
        let Some(product) = products.iter().find(|product| product.name == *name) else { continue };
        // Safari and old Opera write their own version elsewhere.
        let version = if ["Safari", "Opera"].contains(name) { version_of("Version") } else { product.version };
        // Before there was Chrome, Android's browser looked like Safari.
        let family = if *name == "Safari" && text.contains("Android") { ANDROID } else { family };
        return in_app(text, products, Found::new(family, version.or(product.version), Kind::Browser));
    }
    if let Some(version) = behind(text, "MSIE ").or_else(|| behind(text, "Trident/").and(behind(text, "rv:"))) {
        return Found::new(EXPLORER, Some(version), Kind::Browser);
    }
    if products.iter().any(|product| product.name == "AppleWebKit") {
        return in_app(text, products, Found::new(WEB_VIEW, None, Kind::App));
    }
    let named = products.iter().rfind(|product| !names::is_engine(product.name));
    Found { family: named.map(|named| named.name), version: named.and_then(|named| named.version), kind: None }
}

/// A browser's engine inside of an app goes by the app's name.
fn in_app<'t>(text: &str, products: &[Product<'t>], found: Found<'t>) -> Found<'t> {
    let named = products.iter().rfind(|product| !names::is_engine(product.name) && product.version.is_some());
    let is_android_view = text.contains("; wv)");
    let is_electron = products.iter().any(|product| product.name == "Electron");
    if !(is_android_view || is_electron || found.family == Some(WEB_VIEW)) {
        return found;
    }
    match named.filter(|named| BROWSERS.iter().all(|(name, _)| *name != named.name)) {
        Some(named) => Found::new(named.name, named.version, Kind::App),
        None if is_electron => Found::new(ELECTRON, found.version, Kind::App),
        None => Found::new(WEB_VIEW, found.version, Kind::App),
    }
}

/// The system's family. In the order of the list, since most of them also claim to be like another.
fn system(text: &str, products: &[Product<'_>]) -> Option<&'static str> {
    let named = SYSTEMS.iter().find(|(sign, _)| text.contains(sign)).map(|(_, family)| *family);
    // Apple's network library names the kernel only, which iOS and macOS share; apps on Intel Macs add their processor.
    let is_darwin = products.iter().any(|product| product.name == "Darwin");
    let is_mac = ["x86_64", "i386", "Mac"].iter().any(|sign| text.contains(sign));
    named.or_else(|| is_darwin.then_some(if is_mac { "macOS" } else { "iOS" }))
}

/// What follows a sign, up to a blank or the end of a comment.
fn behind<'t>(text: &'t str, sign: &str) -> Option<&'t str> {
    let at = text.find(sign)? + sign.len();
    text[at..].split([' ', ';', ')', ']', ',']).next()
}

/// `120.0.6099.109` -> `120.0`; what does not begin with a digit is no version.
fn major_minor(version: &str) -> Option<String> {
    let version = version.trim_start_matches(['v', 'V']);
    let numbers: Vec<&str> = version
        .split(['.', '_'])
        .take(2)
        .map(|part| &part[..part.bytes().take_while(u8::is_ascii_digit).count().min(9)])
        .take_while(|part| !part.is_empty())
        .collect();
    (!numbers.is_empty()).then(|| numbers.join("."))
}

fn printable(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(FAMILY_CHARS_MAX).collect();
    let name = name.trim_matches([' ', ',', ';', ':', '"', '\'', '[', ']', '(', ')']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// browser version os kind, `-` for what is not known.
    fn said(text: &str) -> String {
        let Client { browser, version, os, kind } = parse(text).unwrap_or_default();
        let [browser, version, os, kind] =
            [browser, version, os, kind].map(|said| said.unwrap_or_else(|| "-".to_owned()));
        format!("{browser} {version} {os} {kind}")
    }

    /// User agents as vendors document them and as uap-core's public cases have them; the families are theirs, without
    /// what says the system once more ("Chrome Mobile iOS").
    #[test]
    fn user_agents_say_program_system_and_kind() {
        let mut wrong = String::new();
        for line in include_str!("agent/cases.txt").lines().filter(|line| !line.starts_with('#')) {
            let (expected, text) = line.split_once(" | ").unwrap();
            if said(text) != expected {
                wrong.push_str(&format!("{expected}, not {}: {text}\n", said(text)));
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    #[test]
    fn what_says_nothing_is_nothing_and_no_length_is_too_long() {
        for text in ["", "  ", "Mozilla/5.0", "-", "()", "((((", "))))", "/", "\u{0}"] {
            assert_eq!(said(text), "- - - -", "{text:?}");
        }
        let long = format!("{}/1.0 (iPhone)", "ä".repeat(4_000));
        assert_eq!(parse(&long).unwrap().browser.unwrap(), "ä".repeat(FAMILY_CHARS_MAX));
        assert_eq!(said(&format!("{} Firefox/140.0", "x".repeat(READ_BYTES_MAX))).split(' ').nth(1), Some("-"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(Mozilla/5\\.0|[ ();/,.+a-zA-Z0-9ä\u{1F600}]|MSIE |compatible; |bot|://|CFNetwork|; wv\\)){0,60}") {
            if let Some(client) = parse(&text) {
                proptest::prop_assert!(client.browser.is_none_or(|name| name.chars().count() <= FAMILY_CHARS_MAX));
            }
        }
    }
}
