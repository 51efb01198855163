//! What tokens are called, as numbers: by the key that writes and, after a change of it, by those of before.

use super::{Facts, session};
use crate::event::{Fingerprint, RefreshEvent, Token};

/// The same tokens under a key of before; 0 = unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OldNames {
    /// The key.
    pub keyed: u16,
    /// See [`Facts`].
    pub parent: u64,
    /// See [`Facts`].
    pub child: u64,
    /// See [`Facts`].
    pub presented: u64,
    /// See [`Facts`]: another one only where the refresh token stands for the session.
    pub session: u64,
}

impl Facts {
    /// Whether a key is the one that writes or one of before that is still known.
    pub fn knows_key(&self, keyed: u16) -> bool {
        self.keyed == keyed || self.old.iter().any(|old| old.keyed == keyed)
    }

    /// Whether both show the same refresh token, under whatever key both know.
    pub fn shows_as(&self, other: &Self) -> bool {
        let shows =
            |name: u64| name != 0 && (name == other.presented || other.old.iter().any(|old| old.presented == name));
        shows(self.presented) || self.old.iter().any(|old| shows(old.presented))
    }
}

/// The fingerprint by the key that writes.
pub(super) fn current(token: Option<&Token>) -> Option<&Fingerprint> {
    token?.fingerprint.as_ref()
}

/// What each key of before calls the tokens.
pub(super) fn old_names(event: &RefreshEvent, facts: &Facts) -> Vec<OldNames> {
    let (access, refresh) = (&event.tokens.access, &event.tokens.refresh);
    let keys = tokens(event).map(|token| token.old_fingerprints.len()).max().unwrap_or(0);
    let names = |nth: usize| {
        let tag_of = |token: &Option<Token>| tag(token.as_ref().and_then(|token| token.old_fingerprints.get(nth)));
        let presented = tag_of(&refresh.presented);
        OldNames {
            keyed: tokens(event).find_map(|token| key_id(token.old_fingerprints.get(nth)?)).unwrap_or(0),
            parent: tag_of(&access.previous),
            child: tag_of(&access.issued),
            presented,
            session: session(event, facts, presented),
        }
    };
    (0..keys).map(names).collect()
}

/// The id of the key that writes; 0 where there is no token.
pub(super) fn writing_key(event: &RefreshEvent) -> u16 {
    tokens(event).find_map(|token| key_id(token.fingerprint.as_ref()?)).unwrap_or(0)
}

/// The tokens that are compared.
fn tokens(event: &RefreshEvent) -> impl Iterator<Item = &Token> {
    let (access, refresh) = (&event.tokens.access, &event.tokens.refresh);
    [&refresh.presented, &access.issued, &access.previous].into_iter().flatten()
}

/// A fingerprint as a number: 16 of its 32 hex digits. The key's id before them is left out.
pub(super) fn tag(fingerprint: Option<&Fingerprint>) -> u64 {
    let text = fingerprint.map(ToString::to_string).unwrap_or_default();
    let digits = text.split_once(':').map_or("", |(_, digits)| digits);
    digits.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// The key's id of a fingerprint.
fn key_id(fingerprint: &Fingerprint) -> Option<u16> {
    u16::from_str_radix(fingerprint.to_string().get(..4)?, 16).ok()
}
