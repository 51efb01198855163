//! One configuration text as a tree that remembers where everything stands, given out section by section. Knows TOML
//! and places, not what the sections mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    error::{At, ConfigError, Place, line_and_column},
    overrides::{self, Override},
};

/// The tree of one text with its overrides.
pub(super) struct Document<'t> {
    origin: Origin<'t>,
    root: DeTable<'t>,
    /// By dotted path, entries of lists by number: `sinks.0.name`.
    spans: BTreeMap<String, Range<usize>>,
}

/// What turns a span into a place.
#[derive(Clone, Copy)]
pub(super) struct Origin<'t> {
    pub(super) file: &'t str,
    pub(super) text: &'t str,
    pub(super) overrides: &'t [Override],
}

/// One of `[[sources]]` or `[[sinks]]`.
pub(super) struct Entry<'t> {
    pub(super) name: String,
    pub(super) kind: String,
    /// How errors name it: `[[sinks]] "audit-file"`.
    pub(super) section: String,
    /// Its path: `sinks.0`.
    pub(super) path: String,
    table: DeTable<'t>,
    span: Range<usize>,
}

impl Origin<'_> {
    /// Spans past the end of the text stand for overrides.
    pub(super) fn span_of_override(&self, index: usize) -> Range<usize> {
        let at = self.text.len() + 1 + index;
        at..at
    }

    pub(super) fn place(&self, span: Option<Range<usize>>) -> Place {
        let file = self.file.to_owned();
        let Some(span) = span else { return Place::In { file } };
        match span.start.checked_sub(self.text.len() + 1) {
            Some(index) => {
                let name = self.overrides.get(index).map(|given| given.name.clone()).unwrap_or_default();
                Place::Variable { index, name }
            }
            None => {
                let (line, column) = line_and_column(self.text, &span);
                Place::At { file, line, column }
            }
        }
    }
}

impl<'t> Document<'t> {
    /// Parses a text and lays the overrides over it; those numbered in `as_text` are texts, whatever they look like.
    pub(super) fn parse(origin: Origin<'t>, as_text: &BTreeSet<usize>) -> Result<Self, ConfigError> {
        let root = DeTable::parse(origin.text)
            .map_err(|error| ConfigError::new(format!("not TOML: {}", error.message()), origin.place(error.span())))?;
        let mut root = root.into_inner();
        overrides::apply(&mut root, &origin, as_text)?;
        let mut spans = BTreeMap::new();
        note_spans(&root, "", &mut spans);
        Ok(Self { origin, root, spans })
    }

    /// A section or a value at the top; its default when absent.
    pub(super) fn take<T: DeserializeOwned + Default>(&mut self, key: &str) -> Result<T, ConfigError> {
        self.take_if_there(key).map(Option::unwrap_or_default)
    }

    /// A section or a value at the top.
    pub(super) fn take_if_there<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.root.remove(key) else { return Ok(None) };
        let section = if value.get_ref().is_table() { format!("[{key}]") } else { format!("`{key}`") };
        let origin = self.origin;
        T::deserialize(ValueDeserializer::from(value))
            .map(Some)
            .map_err(|error| ConfigError::explain(&error, origin.place(error.span()), &section, &[]))
    }

    /// The entries of a list of tables that each have a `name` and a `type`.
    pub(super) fn entries(&mut self, key: &str, types: &[&str]) -> Result<Vec<Entry<'t>>, ConfigError> {
        let Some(list) = self.root.remove(key) else { return Ok(Vec::new()) };
        let span = list.span();
        let DeValue::Array(list) = list.into_inner() else {
            return Err(ConfigError::new(format!("`{key}` is not a list of tables"), self.origin.place(Some(span)))
                .hint(format!("begin each one with [[{key}]]")));
        };
        list.into_iter().enumerate().map(|(number, entry)| self.entry(key, number, entry, types)).collect()
    }

    fn entry(
        &self,
        key: &str,
        number: usize,
        entry: Spanned<DeValue<'t>>,
        types: &[&str],
    ) -> Result<Entry<'t>, ConfigError> {
        let span = entry.span();
        let fail = |what: String| ConfigError::new(what, self.origin.place(Some(span.clone())));
        let DeValue::Table(mut table) = entry.into_inner() else {
            return Err(fail(format!("an entry of [[{key}]] is not a table")));
        };
        let mut text = |member: &str| match table.remove(member).map(|value| (value.span(), value.into_inner())) {
            Some((_, DeValue::String(text))) => Ok(text.into_owned()),
            Some((at, _)) => Err(ConfigError::new(
                format!("`{member}` of an entry of [[{key}]] is not a text"),
                self.origin.place(Some(at)),
            )),
            None => Err(fail(format!("an entry of [[{key}]] lacks the key `{member}`"))),
        };
        let name = text("name")?;
        let kind = text("type").map_err(|error| error.hint(format!("types: {}", types.join(", "))))?;
        let section = format!("[[{key}]] \"{name}\"");
        Ok(Entry { name, kind, section, path: format!("{key}.{number}"), table, span })
    }

    /// Where an entry begins, and each of its members.
    pub(super) fn at(&self, entry: &Entry<'_>) -> At {
        let within = format!("{}.", entry.path);
        let members = self.spans.iter().filter_map(|(path, span)| Some((path.strip_prefix(&within)?, span)));
        let members = members.map(|(path, span)| (path.to_owned(), self.origin.place(Some(span.clone()))));
        At::of_entry(self.origin.place(Some(entry.span.clone())), members.collect())
    }

    /// The text as a whole.
    pub(super) fn whole(&self) -> At {
        At::new(self.origin.place(None))
    }

    /// Reads an entry's members among `keys` as one thing and its other members as another.
    pub(super) fn split<A: DeserializeOwned, B>(
        &self,
        entry: Entry<'t>,
        keys: &[&str],
        rest: impl FnOnce(&str, ValueDeserializer<'t>) -> Result<B, toml::de::Error>,
    ) -> Result<(A, B), ConfigError> {
        let Entry { kind, section, path, table, span, .. } = entry;
        let (mut first, mut second) = (DeTable::new(), DeTable::new());
        for (key, value) in table {
            let part = if keys.contains(&key.get_ref().as_ref()) { &mut first } else { &mut second };
            part.insert(key, value);
        }
        let own: Vec<&str> = ["name", "type"].iter().chain(keys).copied().collect();
        let whole = |table| ValueDeserializer::from(Spanned::new(span.clone(), DeValue::Table(table)));
        let explain =
            |error: toml::de::Error| ConfigError::explain(&error, self.origin.place(error.span()), &section, &own);
        let first = A::deserialize(whole(first)).map_err(explain)?;
        let second = rest(&kind, whole(second)).map_err(|error| {
            // An unknown type is found before any member is looked at, so it carries no place of its own.
            let span = error.span().or_else(|| self.span(&format!("{path}.type")));
            ConfigError::explain(&error, self.origin.place(span), &section, &own)
        })?;
        Ok((first, second))
    }

    /// Fails on what nobody took.
    pub(super) fn finish(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.root.keys().next() {
            None => Ok(()),
            Some(key) => {
                let place = self.origin.place(Some(key.span()));
                Err(ConfigError::unknown_key(key.get_ref(), "the configuration", place, known))
            }
        }
    }

    /// What the text is called: its file's path, where it has one.
    pub(super) fn file(&self) -> &'t str {
        self.origin.file
    }

    /// Whether there is something at a path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    fn span(&self, path: &str) -> Option<Range<usize>> {
        self.spans.get(path).cloned()
    }

    /// An error about the value at a path, or about the whole where the value is a default.
    pub(super) fn error(&self, path: &str, what: impl Into<String>) -> ConfigError {
        ConfigError::new(what, self.origin.place(self.span(path)))
    }
}

impl Entry<'_> {
    /// Every text that a member called `file` or `…_file` holds, however deep.
    pub(super) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        texts_under(&self.table, &mut |key| key == "file" || key.ends_with("_file"), &mut found);
        found
    }
}

/// Collects the texts of the members that `wanted` picks, depth first.
pub(super) fn texts_under(table: &DeTable<'_>, wanted: &mut impl FnMut(&str) -> bool, found: &mut Vec<String>) {
    for (key, value) in table {
        match value.get_ref() {
            DeValue::String(text) if wanted(key.get_ref()) => found.push(text.to_string()),
            DeValue::Table(inner) => texts_under(inner, wanted, found),
            DeValue::Array(list) => {
                for inner in list.iter().filter_map(|value| value.get_ref().as_table()) {
                    texts_under(inner, wanted, found);
                }
            }
            _ => {}
        }
    }
}

fn note_spans(table: &DeTable<'_>, prefix: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => note_spans(inner, &format!("{path}."), spans),
            DeValue::Array(list) => {
                for (number, entry) in list.iter().enumerate() {
                    spans.insert(format!("{path}.{number}"), entry.span());
                    if let Some(inner) = entry.get_ref().as_table() {
                        note_spans(inner, &format!("{path}.{number}."), spans);
                    }
                }
            }
            _ => {}
        }
        spans.insert(path, value.span());
    }
}
