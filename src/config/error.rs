//! Why a configuration is not taken: what is wrong, where, and what to write instead. Never the value of a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use crate::source::EntryError;

/// Why a configuration is not taken.
#[derive(Debug)]
pub struct ConfigError {
    what: String,
    place: Place,
    hint: Option<String>,
    /// The value had another type than the key takes.
    mistyped: bool,
}

/// Where something stands in a configuration, for errors that are found when it is built.
#[derive(Clone, Default)]
pub struct At {
    whole: Option<Place>,
    /// What is in it, by dotted path.
    members: BTreeMap<String, Place>,
}

impl At {
    pub(super) fn new(place: Place) -> Self {
        Self::of_entry(place, BTreeMap::new())
    }

    pub(super) fn of_entry(place: Place, members: BTreeMap<String, Place>) -> Self {
        Self { whole: Some(place), members }
    }

    fn place(&self, member: Option<&String>) -> Place {
        let member = member.and_then(|path| self.members.get(path));
        member.or(self.whole.as_ref()).cloned().unwrap_or(Place::Nowhere)
    }
}

/// Where it stands says nothing of what it is.
impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("At")
    }
}

/// Where a configuration is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A place in a file.
    At { file: String, line: usize, column: usize },
    /// A file as a whole.
    In { file: String },
    /// An override.
    Variable { index: usize, name: String },
    /// Said in `what`.
    Nowhere,
}

impl ConfigError {
    pub(super) fn new(what: impl Into<String>, place: Place) -> Self {
        Self { what: what.into(), place, hint: None, mistyped: false }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A part that cannot be built from its configuration: `what` names the part.
    pub fn from_part(what: &str, error: &dyn std::error::Error, at: &At) -> Self {
        Self::new(format!("{what}: {error}"), at.place(None))
    }

    /// The same of an entry that says which of its members is wrong.
    pub fn from_member(what: &str, error: &EntryError, at: &At) -> Self {
        Self::new(format!("{what}: {error}"), at.place(error.member.as_ref()))
    }

    /// The override whose value was read as another type than its key takes.
    pub(super) fn mistyped_variable(&self) -> Option<usize> {
        match self.place {
            Place::Variable { index, .. } if self.mistyped => Some(index),
            _ => None,
        }
    }

    /// Puts a deserializer's error into an operator's words. `section` is how the file names the table, `own` are keys
    /// that the table has beside those the error lists.
    pub(super) fn explain(error: &toml::de::Error, place: Place, section: &str, own: &[&str]) -> Self {
        let message = error.message();
        let keys = path_of(error);
        if let Some((key, listed)) = unknown(message, "unknown field `") {
            // Those that the table has beside are its own, and none of a table inside it.
            let own = if keys.is_empty() { own } else { &[] };
            let allowed: Vec<&str> = own.iter().copied().chain(listed).collect();
            let section = if keys.is_empty() { section.to_owned() } else { format!("`{keys}` of {section}") };
            return Self::unknown_key(key, &section, place, &allowed);
        }
        let key = if keys.is_empty() { section.to_owned() } else { format!("`{keys}` in {section}") };
        if let Some((value, allowed)) = unknown(message, "unknown variant `") {
            return Self::unknown_value(value, &key, place, &allowed);
        }
        if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return Self::new(format!("{key} lacks the key `{missing}`"), place);
        }
        let mistyped = message.starts_with("invalid type");
        Self { mistyped, ..Self::new(format!("{key}: {}", in_words(&without_text(message))), place) }
    }

    /// A key that nothing reads.
    pub(super) fn unknown_key(key: &str, section: &str, place: Place, allowed: &[&str]) -> Self {
        let error = Self::new(format!("unknown key `{key}` in {section}"), place);
        let outside: Vec<_> = allowed.iter().filter(|allowed| stands_in_for(allowed, key)).collect();
        if !outside.is_empty() {
            let names = outside.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
            return error.hint(format!("a secret is never written into the configuration: use {names}"));
        }
        error.hint(suggest(key, allowed))
    }

    fn unknown_value(value: &str, key: &str, place: Place, allowed: &[&str]) -> Self {
        // `{ file = … }` and `{ env = … }` is how secrets are named: what stands there instead may be the secret.
        if allowed.iter().collect::<BTreeSet<_>>() == BTreeSet::from([&"file", &"env"]) {
            return Self::new(format!("{key} is not a reference to a secret"), place)
                .hint("a secret is never written into the configuration: use { file = \"…\" } or { env = \"…\" }");
        }
        Self::new(format!("{key}: `{value}` is not one of its values"), place).hint(suggest(value, allowed))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.place {
            Place::At { file, line, column } => write!(f, " at {file}:{line}:{column}")?,
            Place::In { file } => write!(f, " in {file}")?,
            Place::Variable { name, .. } => write!(f, " in the environment variable {name}")?,
            Place::Nowhere => {}
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Line and column, both from 1, of a byte in a text; columns count characters.
pub(super) fn line_and_column(text: &str, span: &Range<usize>) -> (usize, usize) {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// "did you mean …? allowed: …".
pub fn suggest(word: &str, allowed: &[&str]) -> String {
    let nearest = allowed
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .min()
        // A third of the letters wrong is a slip; more is another word.
        .filter(|(distance, _)| *distance <= (word.chars().count() / 3).max(1));
    let list = allowed.join(", ");
    match nearest {
        Some((_, candidate)) => format!("did you mean `{candidate}`? allowed: {list}"),
        None => format!("allowed: {list}"),
    }
}

/// Whether `allowed` is where the secret goes that someone wrote as `key`.
fn stands_in_for(allowed: &str, key: &str) -> bool {
    let Some(stem) = allowed.strip_suffix("_file").or_else(|| allowed.strip_suffix("_env")) else { return false };
    stem == key || (["secret", "password", "token"].contains(&key) && ["secret", "password", "token"].contains(&stem))
}

/// The keys that lead to the error below its section, e.g. `batch.bytes`. The type keeps them to itself, but prints
/// them in its last line when it knows no input.
fn path_of(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let last = text.trim_end().rsplit('\n').next().unwrap_or("");
    last.strip_prefix("in `").and_then(|rest| rest.strip_suffix('`')).unwrap_or("").to_owned()
}

/// Takes "unknown field `x`, expected one of `a`, `b`" apart: x, and a and b.
fn unknown<'m>(message: &'m str, prefix: &str) -> Option<(&'m str, Vec<&'m str>)> {
    let rest = message.strip_prefix(prefix)?;
    let (word, list) = rest.split_once("`, expected ").unwrap_or((rest.split('`').next()?, ""));
    Some((word, list.split('`').skip(1).step_by(2).collect()))
}

/// serde's messages quote a text that has the wrong type; it may be a secret that someone wrote in the wrong place.
fn without_text(message: &str) -> String {
    for kind in ["invalid type: string", "invalid value: string"] {
        if message.starts_with(kind)
            && let Some(at) = message.rfind(", expected ")
        {
            return format!("{kind}{}", &message[at..]);
        }
    }
    message.to_owned()
}

/// serde's messages end in what was expected, at times by the name of a type of ours.
fn in_words(message: &str) -> String {
    if message == "invalid socket address syntax" {
        // The standard library's words; it asks no resolver.
        return format!(
            "{message}, expected an address and a port, e.g. \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\""
        );
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let expected = match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        name if name.starts_with("a nonzero ") => "a whole number from 1 on",
        name if name.starts_with("struct ") => "a table",
        words => words,
    };
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\né = \"ü\"\nlast";
        for (at, place) in [(0, (1, 1)), (4, (1, 5)), (6, (2, 1)), (8, (2, 2)), (16, (3, 1)), (99, (3, 5))] {
            assert_eq!(line_and_column(text, &(at..at)), place, "byte {at}");
        }
    }

    #[test]
    fn what_was_expected_is_told_without_the_names_of_types() {
        for (message, words) in [
            ("invalid type: string, expected f64", "invalid type: string, expected a number"),
            ("invalid value: integer `-1`, expected u32", "invalid value: integer `-1`, expected a whole number"),
            ("invalid type: string, expected struct ServerConfig", "invalid type: string, expected a table"),
            (
                "invalid value: integer `0`, expected a nonzero usize",
                "invalid value: integer `0`, expected a whole number from 1 on",
            ),
            ("`x` is not a duration", "`x` is not a duration"),
            (
                "invalid socket address syntax",
                "invalid socket address syntax, expected an address and a port, e.g. \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"",
            ),
        ] {
            assert_eq!(in_words(message), words);
        }
    }

    #[test]
    fn a_text_in_the_wrong_place_is_not_repeated() {
        let message = r#"invalid type: string "hush, expected", expected a sequence"#;
        assert_eq!(without_text(message), "invalid type: string, expected a sequence");
    }
}
