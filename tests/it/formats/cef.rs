//! A CEF parser, written from "Implementing ArcSight Common Event Format", version 25: what it takes is well formed.

/// Header fields in order, without `CEF:`, and the extension's pairs.
pub struct Cef {
    pub header: Vec<String>,
    pub pairs: Vec<(String, String)>,
}

impl Cef {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

pub fn parse(line: &str) -> Result<Cef, String> {
    if let Some(c) = line.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(format!("{c:?} in the line"));
    }
    let mut rest = line.strip_prefix("CEF:").ok_or("no CEF:")?.chars();
    let mut header = vec![String::new()];
    while header.len() < 8 {
        let last = header.last_mut().unwrap();
        match rest.next().ok_or("the header ends early")? {
            '|' => header.push(String::new()),
            '\\' => match rest.next() {
                Some(c @ ('|' | '\\')) => last.push(c),
                other => return Err(format!("\\{other:?} in the header")),
            },
            c => last.push(c),
        }
    }
    header.pop();
    let severity: u8 = header[6].parse().map_err(|_| "severity is no number")?;
    for (field, limit) in header.iter().zip([1, 63, 63, 31, 1_023, 512, 2]) {
        if field.is_empty() || field.len() > limit {
            return Err(format!("{} bytes in a field of {limit}", field.len()));
        }
    }
    if severity > 10 || header[0] != "0" {
        return Err(format!("severity {severity}, version {}", header[0]));
    }
    Ok(Cef { header, pairs: extension(rest.as_str())? })
}

/// A value goes on until the last space before the next `=` that is not escaped.
fn extension(text: &str) -> Result<Vec<(String, String)>, String> {
    let bytes = text.as_bytes();
    let is_escaped = |at: usize| bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let equals: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'=' && !is_escaped(*at)).collect();
    let key_start = |equal: usize| text[..equal].rfind(' ').map_or(0, |space| space + 1);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (number, equal) in equals.iter().enumerate() {
        let key = &text[key_start(*equal)..*equal];
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{key:?} is no key"));
        }
        if pairs.iter().any(|(name, _)| name == key) {
            return Err(format!("{key} twice"));
        }
        let end = equals.get(number + 1).map_or(text.len(), |next| key_start(*next) - 1);
        pairs.push((key.to_owned(), unescape(&text[equal + 1..end])?));
    }
    Ok(pairs)
}

fn unescape(text: &str) -> Result<String, String> {
    let (mut plain, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some(c @ ('\\' | '=')) => c,
                other => return Err(format!("\\{other:?} in a value")),
            },
            c => c,
        });
    }
    if plain.is_empty() { Err("an empty value".to_owned()) } else { Ok(plain) }
}

/// The guide's dictionary, as far as we use it: key, bytes at most, whether it is a number.
pub const DICTIONARY: &[(&str, usize, bool)] = &[
    ("rt", 0, true),
    ("start", 0, true),
    ("end", 0, true),
    ("cnt", 0, true),
    ("cat", 1_023, false),
    ("act", 63, false),
    ("outcome", 63, false),
    ("reason", 1_023, false),
    ("msg", 1_023, false),
    ("src", 16, false),
    ("shost", 1_023, false),
    ("c6a2", 45, false),
    ("c6a2Label", 1_023, false),
    ("duid", 1_023, false),
    ("requestClientApplication", 1_023, false),
    ("sourceServiceName", 1_023, false),
    ("dvchost", 100, false),
    ("deviceExternalId", 255, false),
    ("externalId", 40, false),
    ("cn1", 0, true),
    ("cn1Label", 1_023, false),
    ("cs1", 4_000, false),
    ("cs1Label", 1_023, false),
    ("cs2", 4_000, false),
    ("cs2Label", 1_023, false),
    ("cs3", 4_000, false),
    ("cs3Label", 1_023, false),
    ("cs4", 4_000, false),
    ("cs4Label", 1_023, false),
    ("cs5", 4_000, false),
    ("cs5Label", 1_023, false),
    ("cs6", 4_000, false),
    ("cs6Label", 1_023, false),
    ("cfp1", 32, false),
    ("cfp1Label", 1_023, false),
];

/// Every key is in the dictionary and fits, or is an addition as the guide names them; every custom key has its label.
pub fn check(cef: &Cef) -> Result<(), String> {
    for (key, value) in &cef.pairs {
        let known = DICTIONARY.iter().find(|(name, ..)| name == key);
        let (limit, is_number) = match known {
            Some((_, limit, is_number)) => (*limit, *is_number),
            None if key.starts_with("RefreshAudit") => (1_023, false),
            None => return Err(format!("{key} is not in the dictionary")),
        };
        if is_number && value.parse::<i64>().is_err() {
            return Err(format!("{key}={value} is no number"));
        }
        if !is_number && value.len() > limit {
            return Err(format!("{key} has {} bytes, more than {limit}", value.len()));
        }
        if key == "src" && value.parse::<std::net::Ipv4Addr>().is_err() {
            return Err(format!("src={value}"));
        }
        let is_custom = ["cs", "cn", "cfp", "c6a"].iter().any(|custom| key.starts_with(custom)) && key != "cnt";
        if is_custom && !key.ends_with("Label") && cef.get(&format!("{key}Label")).is_none() {
            return Err(format!("{key} has no label"));
        }
    }
    Ok(())
}
