//! Ids and fingerprints: texts with a type each, so that none is taken for another.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lower-cases what has the shape of a UUID, whatever its version says, and leaves any other text as it is.
pub fn normalise_id(text: String) -> String {
    if uuid::Uuid::try_parse(&text).is_ok() { text.to_ascii_lowercase() } else { text }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id, lower-cased where it has the shape of a UUID.
            pub fn new(text: impl Into<String>) -> Self {
                Self(normalise_id(text.into()))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from).map(Self::new)
            }
        }
    )*};
}

ids! {
    /// The sender's id of one event; 1 to 128 characters. The key of "recorded once".
    EventId
    /// A tenant of the identity provider.
    TenantId
    /// An application (OAuth client) of the identity provider.
    ApplicationId
    /// The person whose token is refreshed.
    UserId
    /// One sign-in and all refreshes that follow from it (`sid`).
    SessionId
}

/// `<4 hex of the key's id>:<32 hex>`: HMAC-SHA-256 of a secret under a local key, cut to 16 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Fingerprint(pub(crate) String);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
