//! A file in MaxMind's format (MaxMind DB 2.0): read whole, checked whole, then asked by address.
//!
//! What it holds is found by reading every record once, with the same code that answers later: a record that cannot be
//! read makes the file an error here, and nothing that was not tried before happens on an event's way.

use std::{collections::HashSet, fmt, net::IpAddr, panic};

use maxminddb::{Reader, WithinOptions};

use super::{
    facts::{Facts, Holds},
    is_canonical,
};

/// The largest published databases have about 500 MB; a new one is read while the old one is in use.
pub(super) const FILE_BYTES_MAX: u64 = 2 << 30;
/// A search tree of n nodes has at most n + 1 leaves; aliases of the IPv4 part are not walked. More is a tree that shares
/// its parts without end.
const LEAVES_PER_NODE_MAX: usize = 3;

/// A database that can be read.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    kind: String,
    holds: Holds,
    records: usize,
    meaning: Meaning,
}

/// What a database's type says of its records that they do not say themselves.
#[derive(Clone, Copy, Default)]
struct Meaning {
    /// It lists networks, so its countries are where networks are registered and not where their users are.
    is_of_networks: bool,
    /// To be listed is to be a residential proxy.
    lists_residential_proxies: bool,
}

impl Meaning {
    fn of(kind: &str) -> Self {
        let kind = kind.to_ascii_lowercase();
        let has = |word| kind.contains(word);
        Self {
            is_of_networks: has("asn") && !(has("country") || has("city") || has("location")),
            lists_residential_proxies: has("residential-proxy"),
        }
    }

    fn apply(self, facts: &mut Facts<'_>) {
        if self.is_of_networks {
            facts.registered_country = facts.country();
            facts.place = super::facts::Place::default();
        }
        if self.lists_residential_proxies {
            facts.label("residential_proxy");
        }
    }
}

impl Database {
    /// Reads and checks a file's bytes.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        // The library answers with errors whatever the bytes are; should it ever panic, the file is to blame and not us.
        let checked = panic::catch_unwind(|| {
            let mut database = Self::open(bytes)?;
            database.walk()?;
            Ok(database)
        });
        let database: Self = checked.unwrap_or_else(|_| Err("is broken in a way that cannot be told".to_owned()))?;
        if database.records > 0 && database.holds == Holds::default() {
            let kind = &database.kind;
            return Err(format!("holds nothing of use here: no network, place, label (its type is {kind:?})"));
        }
        Ok(database)
    }

    fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(bytes).map_err(broken)?;
        let kind = reader.metadata().database_type.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
        let meaning = Meaning::of(&kind);
        Ok(Self { reader, kind, meaning, holds: Holds::default(), records: 0 })
    }

    fn walk(&mut self) -> Result<(), String> {
        let leaves_max = self.reader.metadata().node_count as usize * LEAVES_PER_NODE_MAX;
        let options = WithinOptions::default().include_networks_without_data();
        let (mut leaves, mut seen, mut holds) = (0, HashSet::new(), Holds::default());
        for found in self.reader.networks(options).map_err(broken)? {
            let found = found.map_err(broken)?;
            leaves += 1;
            if leaves > leaves_max {
                return Err("is broken: its search tree does not end".to_owned());
            }
            if found.offset().is_some_and(|offset| seen.insert(offset))
                && let Some(mut facts) = found.decode::<Facts<'_>>().map_err(broken)?
            {
                self.meaning.apply(&mut facts);
                holds.add(&facts);
            }
        }
        (self.holds, self.records) = (holds, seen.len());
        Ok(())
    }

    /// Gives `then` what is known of a canonical address, if anything is.
    pub(super) fn look_up(&self, address: IpAddr, then: impl FnOnce(&Facts<'_>)) {
        debug_assert!(is_canonical(address), "{address}");
        // What fails here is an IPv6 address in a database of IPv4 ones; every record was read before.
        let Ok(found) = self.reader.lookup(address) else { return };
        if let Ok(Some(mut facts)) = found.decode::<Facts<'_>>() {
            self.meaning.apply(&mut facts);
            then(&facts);
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, holds, records, .. } = self;
        write!(f, "{kind}, {records} records: {holds}")
    }
}

fn broken(error: maxminddb::MaxMindDbError) -> String {
    format!("is not a readable MaxMind DB file: {error}")
}
