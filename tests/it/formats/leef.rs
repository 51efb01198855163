//! A LEEF 2.0 parser, written from IBM's "LEEF event components" and "Predefined LEEF event attributes".

/// Header fields in order, and the attributes.
pub struct Leef {
    pub header: Vec<String>,
    pub pairs: Vec<(String, String)>,
}

impl Leef {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

pub fn parse(line: &str) -> Result<Leef, String> {
    if let Some(c) = line.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(format!("{c:?} in the line"));
    }
    let mut parts = line.splitn(7, '|');
    let header: Vec<String> = parts.by_ref().take(6).map(str::to_owned).collect();
    let attributes = parts.next().ok_or("the header ends early")?;
    if header[0] != "LEEF:2.0" || header[1..5].iter().any(String::is_empty) {
        return Err(format!("header {header:?}"));
    }
    let mut delimiter = header[5].chars();
    let (Some(delimiter), None) = (delimiter.next(), delimiter.next()) else { return Err("no delimiter".to_owned()) };
    let mut pairs: Vec<(String, String)> = Vec::new();
    for attribute in attributes.split(delimiter) {
        let (key, value) = attribute.split_once('=').ok_or_else(|| format!("{attribute:?} is no attribute"))?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) || value.is_empty() {
            return Err(format!("attribute {key:?} = {value:?}"));
        }
        if pairs.iter().any(|(name, _)| name == key) {
            return Err(format!("{key} twice"));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let leef = Leef { header, pairs };
    let severity: u8 = leef.get("sev").and_then(|text| text.parse().ok()).ok_or("no sev")?;
    if !(1..=10).contains(&severity) {
        return Err(format!("sev {severity}"));
    }
    Ok(leef)
}
