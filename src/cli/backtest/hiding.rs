//! What `[privacy]` leaves of the events of a file. Pseudonyms are the service's own where this user may read its key; with a
//! key that everybody knows, a list of all addresses would tell which each of them is.

use crate::{
    config::Config,
    detect::Facts,
    event::RefreshEvent,
    keys::{self, KeyError},
    privacy,
    secret::Fingerprinter,
};

pub(super) struct Hiding {
    privacy: privacy::Config,
    pseudonyms: Fingerprinter,
    /// With a key of this run alone: what is judged by, so that two runs find the same.
    judged: Option<Fingerprinter>,
}

impl Hiding {
    pub(super) fn new(config: &Config) -> Result<Self, KeyError> {
        let privacy = config.privacy;
        if let Ok(pseudonyms) = config.fingerprinter() {
            return Ok(Self { privacy, pseudonyms, judged: None });
        }
        let judged = privacy.makes_pseudonyms().then(|| Fingerprinter::new(&[]));
        Ok(Self { privacy, pseudonyms: Fingerprinter::new(&[keys::random()?]), judged })
    }

    /// Makes the event say only what it may, and reads it in numbers.
    pub(super) fn apply(&self, event: &mut RefreshEvent) -> Facts {
        let judged = self.judged.as_ref().map(|key| (key, event.clone()));
        self.privacy.apply(event, &self.pseudonyms);
        let Some((key, mut judged)) = judged else { return Facts::of(event) };
        self.privacy.apply(&mut judged, key);
        Facts::of(&judged)
    }
}
