//! Sessions and users that are not in memory: how they are named, brought for an event, and handed out. Where their bytes
//! are is the business of whoever keeps them.

use std::collections::HashMap;

use super::{
    State, StateLimits,
    session::Session,
    tiers::{Guest, low},
    user::User,
};
use crate::{
    detect::facts::{Facts, Meaning},
    record::{Evidence, Seq},
};

/// What an entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A [`Session`].
    Session,
    /// A [`User`].
    User,
}

/// Names one entry as it was when it went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// Of what.
    pub kind: Kind,
    /// By its key.
    pub key: u64,
    /// The low half of the seq of the event that it made room for.
    pub seq: u32,
}

/// One entry, on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spilled {
    /// Of what.
    pub kind: Kind,
    /// By its key.
    pub key: u64,
    /// The seq of the event that it made room for.
    pub seq: Seq,
    /// What it was.
    pub bytes: Vec<u8>,
}

/// Keeps what goes out and finds it again, while records of before are judged.
pub trait Cellar {
    /// Keeps an entry, in the place of what it was before.
    fn put(&mut self, entry: Spilled);

    /// The bytes of an entry; none where they are lost.
    fn get(&mut self, name: Name) -> Option<Vec<u8>>;
}

/// In memory: for records that no service remembers.
#[derive(Default)]
pub struct InMemory(HashMap<(Kind, u64), (u32, Vec<u8>)>);

impl Cellar for InMemory {
    fn put(&mut self, entry: Spilled) {
        self.0.insert((entry.kind, entry.key), (low(entry.seq), entry.bytes));
    }

    fn get(&mut self, name: Name) -> Option<Vec<u8>> {
        let (seq, bytes) = self.0.get(&(name.kind, name.key))?;
        (*seq == name.seq).then(|| bytes.clone())
    }
}

/// What was brought for one event.
#[derive(Default)]
pub struct Guests {
    sessions: Vec<Guest<Session>>,
    users: Vec<Guest<User>>,
}

impl Guests {
    /// Whether nobody was brought.
    pub const fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.users.is_empty()
    }

    /// Brings one; false where the bytes are not what they should be.
    pub fn bring(&mut self, name: Name, bytes: &[u8]) -> bool {
        let Name { kind, key, seq } = name;
        match kind {
            Kind::Session => {
                let Ok(value) = postcard::from_bytes(bytes) else { return false };
                self.sessions.retain(|guest| guest.key != key);
                self.sessions.push(Guest { key, seq, value });
            }
            Kind::User => {
                let Ok(value) = postcard::from_bytes(bytes) else { return false };
                self.users.retain(|guest| guest.key != key);
                self.users.push(Guest { key, seq, value });
            }
        }
        true
    }

    /// Whether it was brought as it is now.
    pub fn has(&self, name: Name) -> bool {
        match name.kind {
            Kind::Session => self.sessions.iter().any(|guest| (guest.key, guest.seq) == (name.key, name.seq)),
            Kind::User => self.users.iter().any(|guest| (guest.key, guest.seq) == (name.key, name.seq)),
        }
    }

    fn keep(&mut self, names: &[Name]) {
        let named = |kind, key, seq| names.contains(&Name { kind, key, seq });
        self.sessions.retain(|guest| named(Kind::Session, guest.key, guest.seq));
        self.users.retain(|guest| named(Kind::User, guest.key, guest.seq));
    }
}

impl State {
    /// What an event needs of what is not in memory, as far as can be told with those who were brought: a user has to be
    /// known for their other sessions to be. `at`: the ledger's clock, seconds.
    pub fn wanted(
        &self,
        limits: &StateLimits,
        (facts, evidence, at): (&Facts, &Evidence, u32),
        guests: &Guests,
    ) -> Vec<Name> {
        let mut names = Vec::new();
        let means = matches!(facts.meaning, Meaning::Refresh | Meaning::Revocation);
        if !means || evidence.stale || evidence.cold || self.outside() == 0 {
            return names;
        }
        let session = |key| {
            let seq = self.sessions.outside(key, at, limits.sessions)?;
            Some(Name { kind: Kind::Session, key, seq })
        };
        names.extend(session(facts.session));
        // Under a key of before a session may have had another name.
        let old = || facts.old.iter().map(|old| old.session).filter(|key| *key != 0 && *key != facts.session);
        names.extend(old().filter_map(session));
        let user = self.users.outside(facts.user, at, limits.users);
        let user = user.map(|seq| Name { kind: Kind::User, key: facts.user, seq });
        names.extend(user);
        let known = match user {
            Some(name) => guests.users.iter().find(|guest| guest.seq == name.seq).map(|guest| &guest.value),
            None => self.users.get(facts.user),
        };
        let others = known.iter().flat_map(|user| user.sessions).filter(|key| *key != 0 && *key != facts.session);
        names.extend(others.filter(|key| old().all(|old| old != *key)).filter_map(session));
        names
    }

    /// Forgets what was not brought for an event that was judged without: what is lost would be asked for again with each
    /// event of the same user, and be missed each time.
    pub fn forget(&mut self, names: &[Name]) {
        for name in names {
            match name.kind {
                Kind::Session => self.sessions.remove(name.key),
                Kind::User => self.users.remove(name.key),
            }
        }
    }

    /// How many sessions and users are not in memory.
    pub fn outside(&self) -> usize {
        self.sessions.outside_keys().len() + self.users.outside_keys().len()
    }

    /// The event of this seq begins. Only who is named comes in, so that it does not matter who else was brought.
    pub fn begin(&mut self, seq: Seq, names: &[Name], mut guests: Guests) {
        guests.keep(names);
        self.sessions.begin(seq, guests.sessions);
        self.users.begin(seq, guests.users);
    }

    /// The event is over.
    pub fn end(&mut self) {
        self.sessions.end();
        self.users.end();
    }

    /// What has gone out since the last time.
    pub fn take_spilled(&mut self) -> impl Iterator<Item = Spilled> + use<> {
        let of = |kind, list: Vec<super::tiers::Leaving>| {
            list.into_iter().map(move |leaving| Spilled {
                kind,
                key: leaving.key,
                seq: leaving.seq,
                bytes: leaving.bytes,
            })
        };
        of(Kind::Session, self.sessions.take_leaving()).chain(of(Kind::User, self.users.take_leaving()))
    }
}
