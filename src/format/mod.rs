//! Formats: what a record looks like to a sink.
//!
//! A new format is one file with a `Config` and an `encode`, and one word in the list at the end of this file. A format
//! knows `record` and nothing else: neither sinks nor configuration.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};

mod gist;
mod members;
mod plain;

macro_rules! formats {
    ($($module:ident => $variant:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// `format = "…"` of a sink, or `format = { type = "…", … }` with the format's own settings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Format { $(#[doc = stringify!($module)] $variant($module::Config)),* }

        impl Format {
            /// Every name there is.
            pub const TYPES: &[&str] = &[$(stringify!($module)),*];

            /// The names of those whose records are JSON.
            pub fn json_types() -> impl Iterator<Item = &'static str> {
                let all = [$((stringify!($module), $module::MEDIA_TYPE)),*];
                all.into_iter().filter(|(_, media_type)| media_type.ends_with("json")).map(|(name, _)| name)
            }

            fn parse<E: Error>(kind: &str, settings: Map<String, Value>) -> Result<Self, E> {
                match kind {
                    $(stringify!($module) => $module::Config::deserialize(Value::Object(settings))
                        .map(Self::$variant)
                        .map_err(E::custom),)*
                    other => Err(E::unknown_variant(other, Self::TYPES)),
                }
            }

            /// The record in this format, without a line end and without any byte that ends a line. `line` is the
            /// record's line in the journal, without LF; a format that needs more than its bytes reads the record from
            /// it. `key` is the record's idempotency key.
            pub fn encode(self, line: &Bytes, key: &str) -> serde_json::Result<Bytes> {
                match self { $(Self::$variant(config) => $module::encode(line, key, config)),* }
            }

            /// The media type of one encoded record. Those that end in `json` are JSON objects.
            pub fn media_type(self) -> &'static str {
                match self { $(Self::$variant(_) => $module::MEDIA_TYPE),* }
            }
        }
    };
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a format's name, or a table with its `type` and its settings")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Format, E> {
        Format::parse(name, Map::new())
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Format, M::Error> {
        let mut table = Map::deserialize(MapAccessDeserializer::new(map))?;
        match table.remove("type") {
            Some(Value::String(name)) => Format::parse(&name, table),
            Some(_) => Err(Error::custom("`type` is not a text")),
            None => Err(Error::missing_field("type")),
        }
    }
}

formats! {
    json => Json,
    ecs => Ecs,
    ocsf => Ocsf,
    cef => Cef,
    leef => Leef,
    cloudevents => Cloudevents,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sink {
        format: Format,
    }

    #[test]
    fn a_name_alone_is_a_table_without_settings() {
        for name in Format::TYPES {
            let read = |text: &str| toml::from_str::<Sink>(text).unwrap().format;
            assert_eq!(read(&format!("format = '{name}'")), read(&format!("format = {{ type = '{name}' }}")));
        }
    }

    /// Of those in `docs/formats.md` these are "a JSON object".
    #[test]
    fn the_formats_that_are_json_are_known() {
        assert_eq!(Format::json_types().collect::<Vec<_>>(), ["json", "ecs", "ocsf", "cloudevents"]);
    }

    #[test]
    fn what_no_format_takes_is_refused() {
        for (bad, word) in [
            ("format = 'xml'", "unknown variant `xml`, expected one of `json`, `ecs`"),
            ("format = { type = 'xml' }", "unknown variant `xml`"),
            ("format = { type = 'json', activity = 5 }", "unknown field `activity`"),
            ("format = { type = 7 }", "`type` is not a text"),
            ("format = {}", "missing field `type`"),
            ("format = 7", "a format's name"),
        ] {
            let error = toml::from_str::<Sink>(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }
}
