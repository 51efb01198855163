//! Distances between places, as exact as the geolocation of addresses is, and how a refresh's place follows from the last.

use super::{
    facts::{Cell, Place, labels},
    key::short,
    seen::{LEEWAY_SECS, Seen},
    signals::{Net, Path},
};

/// Where tokens live longer, turns are counted as if they lived so long, seconds: people are at home, at work and back within a
/// day, whatever their tokens do.
pub const TURN_SECS: u32 = 3_600;
/// Places this near to each other are one, km.
const SAME_PLACE_KM: f64 = 50.0;

impl Seen<'_> {
    /// How its place follows from the last one; `net`: where from. Who is back in a network of theirs has not travelled:
    /// one of the two is not where it is said to be.
    pub fn path(&self, net: Net) -> Path {
        if self.facts.place.ip == 0 {
            return Path::Unknown;
        }
        match net {
            Net::Unknown | Net::Same | Net::Own => self.flip(),
            _ if self.travel().is_some() => Path::Travel,
            _ if self.elsewhere().is_some() => Path::Elsewhere,
            _ => self.flip(),
        }
    }

    /// Back in a network that the session left less than a token's lifetime ago, with another one in between.
    fn flip(&self) -> Path {
        let Some(session) = self.session else { return Path::Plain };
        let near = short(self.facts.place.near);
        let lifetime = session.lifetime.clamp(LEEWAY_SECS, TURN_SECS);
        let Some((last, before)) = session.contexts().split_first() else { return Path::Plain };
        let now = self.context();
        let is_back = last.near != near
            && !last.is_other_family(&now)
            && !self.is_exit_of_theirs(last, &now)
            && before.iter().any(|context| {
                context.near == near && self.seconds().saturating_sub(context.last) < lifetime.saturating_mul(2)
            });
        match is_back {
            true if labels::moves(last.labels | self.facts.place.labels) => Path::Sway,
            true => Path::Flip,
            false => Path::Plain,
        }
    }

    /// Distance in km and speed in km/h since the session's last place, where that is faster than anyone travels.
    pub fn travel(&self) -> Option<(f64, f64)> {
        let last = self.last_context()?;
        self.too_fast(last.spot.cell()?, last.labels, last.last)
    }

    /// The same against the user's other sessions.
    pub fn elsewhere(&self) -> Option<(f64, f64)> {
        let (cell, when) = self.user?.at?;
        self.too_fast(cell, 0, when)
    }

    fn too_fast(&self, from: Cell, from_labels: u16, when: u32) -> Option<(f64, f64)> {
        let rule = &self.config.ra401;
        let place: &Place = &self.facts.place;
        if (from_labels | place.labels) & labels::NOWHERE != 0 {
            return None;
        }
        let far = distance_km(from, place.cell?);
        let sure = far - 2.0 * rule.accuracy_km;
        let hours = (f64::from(self.seconds().abs_diff(when)) / 3_600.0).max(1.0 / 60.0);
        (far > rule.distance_km && sure / hours > rule.speed_kmh).then_some((far, sure / hours))
    }
}

/// Whether both are known and as good as the same.
pub fn is_one_place(a: Option<Cell>, b: Option<Cell>) -> bool {
    a.zip(b).is_some_and(|(a, b)| distance_km(a, b) <= SAME_PLACE_KM)
}

/// Whether both are known and far apart.
pub fn is_elsewhere(a: Option<Cell>, b: Option<Cell>) -> bool {
    a.zip(b).is_some_and(|(a, b)| distance_km(a, b) > SAME_PLACE_KM)
}

/// The great-circle distance by the haversine formula on a sphere of 6,371 km.
pub fn distance_km(from: Cell, to: Cell) -> f64 {
    let radians = |hundredths: i16| f64::from(hundredths) / 100.0 * std::f64::consts::PI / 180.0;
    let (lat_a, lat_b) = (radians(from.0), radians(to.0));
    let (dlat, dlon) = (lat_b - lat_a, radians(to.1) - radians(from.1));
    let (sin_lat, sin_lon) = (libm::sin(dlat / 2.0), libm::sin(dlon / 2.0));
    let a = sin_lat * sin_lat + libm::cos(lat_a) * libm::cos(lat_b) * sin_lon * sin_lon;
    2.0 * 6_371.0 * libm::asin(libm::sqrt(a.min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_an_atlas() {
        // Helsinki to Turku 150 km, London to New York 5,570 km, across the date line 111 km a degree.
        for (from, to, km) in [
            (Cell(6_017, 2_494), Cell(6_045, 2_227), 150.0),
            (Cell(5_151, -13), Cell(4_071, -7_401), 5_570.0),
            (Cell(0, 17_950), Cell(0, -17_950), 111.2),
        ] {
            let found = distance_km(from, to);
            assert!((found - km).abs() < 0.01 * km + 1.0, "{found} for {km}");
        }
    }
}
