//! Distances between places, as exact as the geolocation of addresses is.

use super::facts::Cell;

/// Places this near to each other are one, km.
const SAME_PLACE_KM: f64 = 50.0;

/// Whether both are known and as good as the same.
pub fn is_one_place(a: Option<Cell>, b: Option<Cell>) -> bool {
    a.zip(b).is_some_and(|(a, b)| distance_km(a, b) <= SAME_PLACE_KM)
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
