//! Formats: what a record looks like to a sink.
//!
//! A new format is one file with an `encode` and one word in the list at the end of this file. A format knows `record`
//! and nothing else: neither sinks nor configuration.

use bytes::Bytes;
use serde::Deserialize;

macro_rules! formats {
    ($($module:ident => $variant:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// `format = "…"` of a sink.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Format { $(#[doc = stringify!($module)] $variant),* }

        impl Format {
            /// The record in this format, without a line end. `line` is the record's line in the journal, without LF; a
            /// format that needs more than its bytes reads the record from it.
            pub fn encode(self, line: &Bytes) -> serde_json::Result<Bytes> {
                match self { $(Self::$variant => $module::encode(line)),* }
            }
        }
    };
}

formats! {
    json => Json,
}
