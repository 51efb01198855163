//! `[enrich]`: what local files know of an event's address and user agent, written into the event before it is
//! journaled, so that a replay needs no file. Nothing here asks the network.
//!
//! [`Enricher::enrich`] is called by many threads at once and takes no lock: each file's content is swapped as a whole by
//! [`Enricher::refresh`]. Nothing that the sender or the client wrote is trusted: lengths are bounded, and a database
//! whose records cannot all be read is refused before it is used. Knows `event` and no other part.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;

use crate::event::{Location, Network, RefreshEvent};

mod agent;
mod database;
mod facts;
mod networks;
mod watched;

use database::Database;
use facts::{Facts, Place};
use networks::Networks;
use watched::Watched;

pub use agent::is_known_program;
pub use watched::Stale;

/// How often the files are looked at. A file is read once two looks in a row found it the same, so a change is in use
/// within two of these and its reading time.
pub const REFRESH_EVERY: Duration = Duration::from_secs(2);

/// `[enrich]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Files in MaxMind's format. Where several know the same, the first one is believed.
    pub databases: Vec<PathBuf>,
    /// A file of `cidr,label` lines.
    pub networks: Option<PathBuf>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {reason}", file.display())]
pub struct EnrichError {
    /// The setting that names it.
    key: &'static str,
    file: PathBuf,
    reason: String,
}

impl Config {
    /// Reads every file; relative paths are relative to `base`. The first that is missing or broken is the error.
    pub fn build(&self, base: &Path) -> Result<Enricher, EnrichError> {
        let failed = |key, file: &Path, reason| EnrichError { key, file: file.to_owned(), reason };
        let mut databases = Vec::new();
        for file in &self.databases {
            let watched = Watched::open(&base.join(file), database::FILE_BYTES_MAX, Database::parse);
            databases.push(watched.map_err(|reason| failed("enrich.databases", file, reason))?);
        }
        let networks = self.networks.as_ref().map(|file| {
            let watched = Watched::open(&base.join(file), networks::FILE_BYTES_MAX, Networks::parse);
            watched.map_err(|reason| failed("enrich.networks", file, reason))
        });
        Ok(Enricher(Arc::new(Files { databases, networks: networks.transpose()? })))
    }
}

/// What fills in `event.network`, `event.location` and `event.client`. Clones share the files.
#[derive(Clone)]
pub struct Enricher(Arc<Files>);

struct Files {
    databases: Vec<Watched<Database>>,
    networks: Option<Watched<Networks>>,
}

impl Enricher {
    /// Fills in what is known and not said already: each member of `network` that is absent, with the labels of all files
    /// together; `location` only where the sender gave none at all; `client` only where there is none.
    pub fn enrich(&self, event: &mut RefreshEvent) {
        if event.client.is_none() {
            event.client = event.user_agent.as_deref().and_then(agent::parse);
        }
        let Some(address) = event.address().map(|address| address.to_canonical()) else { return };
        let mut network = event.network.take().unwrap_or_default();
        if let Some(networks) = &self.0.networks {
            network.labels.extend(networks.current().labels(address).map(str::to_owned));
        }
        let mut place = None;
        for watched in &self.0.databases {
            watched.current().look_up(address, |facts| {
                add(&mut network, facts);
                let better = facts.place.exactness() > place.as_ref().map_or(0, |(exactness, _)| *exactness);
                if event.location.is_none() && better {
                    place = Some((facts.place.exactness(), located(&facts.place, watched.name())));
                }
            });
        }
        network.labels.sort_unstable();
        network.labels.dedup();
        event.network = Some(network).filter(|network| !network.is_empty());
        if let Some((_, place)) = place {
            event.location = Some(place);
        }
    }

    /// Looks at every file and takes in those that changed. Returns all that could not be taken in; of those, what was
    /// read before stays in use. Reads files: not for an asynchronous thread.
    pub fn refresh(&self) -> Vec<Stale> {
        let databases = self.0.databases.iter().filter_map(Watched::refresh);
        databases.chain(self.0.networks.as_ref().and_then(Watched::refresh)).collect()
    }

    /// One line a file: its name and what it holds.
    pub fn summary(&self) -> Vec<String> {
        let databases = self.0.databases.iter().map(|file| describe(file.name(), &*file.current()));
        databases.chain(self.0.networks.as_ref().map(|file| describe(file.name(), &*file.current()))).collect()
    }
}

fn describe(name: &str, content: &dyn fmt::Display) -> String {
    format!("{name}: {content}")
}

/// Takes over what the network lacks.
fn add(network: &mut Network, facts: &Facts<'_>) {
    network.asn = network.asn.or(facts.asn);
    if network.org.is_none() {
        network.org = facts.org().map(str::to_owned);
    }
    if network.country.is_none() {
        network.country = facts.country().map(str::to_owned);
    }
    network.labels.extend(facts.labels().map(str::to_owned));
}

fn located(place: &Place<'_>, file: &str) -> Location {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Location {
        city: owned(place.city),
        region: owned(place.region_code.or(place.region)),
        country: owned(place.country.or(place.country_name)),
        zipcode: owned(place.zipcode),
        latitude: place.at().map(|(latitude, _)| latitude),
        longitude: place.at().map(|(_, longitude)| longitude),
        display: None,
        from: Some(file.to_owned()),
    }
}

/// A source of labels and facts looks up canonical addresses only: IPv4 as IPv4, never mapped into IPv6.
fn is_canonical(address: IpAddr) -> bool {
    address.to_canonical() == address
}
