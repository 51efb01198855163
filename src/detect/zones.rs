//! `detect.zones`: by which clock a tenant's people live, for rules that know hours. The time zone database is the one in
//! the program (IANA's), so that every machine finds the same.

use std::collections::BTreeMap;

use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use super::key::{key, tiny};
use crate::event::TenantId;

/// Zones by tenant, as an operator writes them: `Europe/Berlin`.
type Names = BTreeMap<TenantId, String>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Names", into = "Names")]
pub struct Zones {
    names: Names,
    /// By the tenant's key, see [`super::Facts`].
    by_key: BTreeMap<u64, TimeZone>,
}

/// An hour of the day and the clock that it is by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalHour {
    /// 0 to 23.
    pub hour: usize,
    /// What stands for the zone; 0 = UTC because none is set.
    pub zone: u16,
}

impl Zones {
    /// The hour at an instant (seconds since 1970) where a tenant's people live.
    pub fn hour(&self, tenant: u64, now: i64) -> LocalHour {
        let tag = |zone: &TimeZone| tiny(key(&["zone", zone.iana_name().unwrap_or_default()])).max(1);
        LocalHour { hour: hour_of(self.shown(tenant, now)), zone: self.by_key.get(&tenant).map_or(0, tag) }
    }

    /// What the clock of a tenant's people shows at an instant, as seconds since it showed the begin of 1970.
    pub fn shown(&self, tenant: u64, now: i64) -> i64 {
        let zone = self.by_key.get(&tenant).zip(Timestamp::from_second(now).ok());
        now + zone.map_or(0, |(zone, at)| i64::from(zone.to_offset(at).seconds()))
    }

    /// A tenant's zone by its name.
    pub fn name(&self, tenant: u64) -> &str {
        self.by_key.get(&tenant).and_then(TimeZone::iana_name).unwrap_or("UTC")
    }
}

/// The hour of the day that a clock shows, 0 to 23.
pub fn hour_of(shown: i64) -> usize {
    usize::try_from(shown.rem_euclid(86_400) / 3_600).unwrap_or(0)
}

impl TryFrom<Names> for Zones {
    type Error = String;

    fn try_from(names: Names) -> Result<Self, String> {
        let database = TimeZoneDatabase::bundled();
        let mut by_key = BTreeMap::new();
        for (tenant, name) in &names {
            let zone = database.get(name).map_err(|_| {
                format!("`{name}` is no time zone: write one of IANA's names, such as \"Europe/Berlin\"")
            })?;
            by_key.insert(key(&["t", tenant.as_str()]), zone);
        }
        Ok(Self { names, by_key })
    }
}

impl From<Zones> for Names {
    fn from(zones: Zones) -> Self {
        zones.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_follow_the_clocks_of_the_tenant() {
        let zones = |zone: &str| -> Zones { toml::from_str(&format!("one = '{zone}'")).unwrap() };
        let tenant = key(&["t", "one"]);
        // date -u -d TEXT +%s; TZ=Europe/Berlin date -d TEXT
        for (zone, at, hour) in [
            ("Europe/Berlin", 1_774_745_999, 1), // 2026-03-29T00:59:59Z, the last second of CET
            ("Europe/Berlin", 1_774_746_000, 3), // 01:00:00Z: clocks go from 2 to 3
            ("Europe/Berlin", 1_792_889_999, 2), // 2026-10-25T00:59:59Z, CEST
            ("Europe/Berlin", 1_792_890_000, 2), // 01:00:00Z: clocks go from 3 to 2
            ("America/New_York", 1_772_953_200, 3), // 2026-03-08T07:00:00Z: clocks go from 2 to 3
            ("Asia/Kathmandu", 1_774_746_000, 6), // UTC+5:45
            ("Pacific/Auckland", -1, 11),        // 1969-12-31T23:59:59Z, then UTC+12
        ] {
            assert_eq!(zones(zone).hour(tenant, at).hour, hour, "{zone} {at}");
        }
        let berlin = zones("Europe/Berlin");
        assert_eq!(berlin.hour(tenant ^ 1, 1_774_746_000), LocalHour { hour: 1, zone: 0 });
        assert_ne!(berlin.hour(tenant, 0).zone, zones("Europe/Paris").hour(tenant, 0).zone);
        assert_eq!((berlin.name(tenant), berlin.name(0)), ("Europe/Berlin", "UTC"));
        let again: Zones = serde_json::from_str(&serde_json::to_string(&berlin).unwrap()).unwrap();
        assert_eq!(again, berlin);
        assert!(toml::from_str::<Zones>("one = 'Europe/Atlantis'").is_err());
    }
}
