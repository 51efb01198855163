//! Cities with coordinates, zones and daylight saving of the weeks that the generator covers (spring 2026).

/// Milliseconds.
pub type Ms = i64;
pub const SECOND: Ms = 1_000;
pub const MINUTE: Ms = 60 * SECOND;
pub const HOUR: Ms = 60 * MINUTE;
pub const DAY: Ms = 24 * HOUR;

/// Monday, 2026-03-02T00:00:00Z: the first event. Daylight saving begins in the US on day 6, in Europe on day 27, and ends in
/// Australia on day 33.
pub const START: Ms = 1_772_409_600 * SECOND;
const US_SUMMER: Ms = START + 6 * DAY + 8 * HOUR;
const EU_SUMMER: Ms = START + 27 * DAY + HOUR;
const AU_WINTER: Ms = START + 33 * DAY + 16 * HOUR;

#[derive(Clone, Copy, PartialEq)]
pub enum Summer {
    None,
    Us,
    Eu,
    Au,
}

pub struct City {
    pub name: &'static str,
    pub region: &'static str,
    pub country: &'static str,
    pub latitude: f64,
    pub longitude: f64,
    /// Minutes east of UTC in winter.
    zone: i64,
    summer: Summer,
}

impl City {
    /// Added to UTC gives local time.
    pub fn offset(&self, at: Ms) -> Ms {
        let summer = match self.summer {
            Summer::None => false,
            Summer::Us => at >= US_SUMMER,
            Summer::Eu => at >= EU_SUMMER,
            Summer::Au => at < AU_WINTER,
        };
        (self.zone + if summer { 60 } else { 0 }) * MINUTE
    }
}

const fn city(
    name: &'static str,
    region: &'static str,
    country: &'static str,
    at: (f64, f64),
    zone: (i64, Summer),
) -> City {
    City { name, region, country, latitude: at.0, longitude: at.1, zone: zone.0, summer: zone.1 }
}

const CET: (i64, Summer) = (60, Summer::Eu);
const WET: (i64, Summer) = (0, Summer::Eu);
const EASTERN: (i64, Summer) = (-300, Summer::Us);
const CENTRAL: (i64, Summer) = (-360, Summer::Us);
const PACIFIC: (i64, Summer) = (-480, Summer::Us);
const INDIA: (i64, Summer) = (330, Summer::None);
const BRAZIL: (i64, Summer) = (-180, Summer::None);

/// Those of one country stand together; the first is its largest.
pub const CITIES: &[City] = &[
    city("New York", "NY", "US", (40.71, -74.01), EASTERN),
    city("Philadelphia", "PA", "US", (39.95, -75.17), EASTERN),
    city("Boston", "MA", "US", (42.36, -71.06), EASTERN),
    city("Atlanta", "GA", "US", (33.75, -84.39), EASTERN),
    city("Chicago", "IL", "US", (41.88, -87.63), CENTRAL),
    city("Dallas", "TX", "US", (32.78, -96.80), CENTRAL),
    city("Denver", "CO", "US", (39.74, -104.99), (-420, Summer::Us)),
    city("Phoenix", "AZ", "US", (33.45, -112.07), (-420, Summer::None)),
    city("Los Angeles", "CA", "US", (34.05, -118.24), PACIFIC),
    city("Seattle", "WA", "US", (47.61, -122.33), PACIFIC),
    city("Berlin", "BE", "DE", (52.52, 13.41), CET),
    city("Hamburg", "HH", "DE", (53.55, 9.99), CET),
    city("Munich", "BY", "DE", (48.14, 11.58), CET),
    city("Cologne", "NW", "DE", (50.94, 6.96), CET),
    city("Frankfurt am Main", "HE", "DE", (50.11, 8.68), CET),
    city("Leipzig", "SN", "DE", (51.34, 12.37), CET),
    city("London", "ENG", "GB", (51.51, -0.13), WET),
    city("Manchester", "ENG", "GB", (53.48, -2.24), WET),
    city("Birmingham", "ENG", "GB", (52.48, -1.90), WET),
    city("Glasgow", "SCT", "GB", (55.86, -4.25), WET),
    city("Paris", "IDF", "FR", (48.86, 2.35), CET),
    city("Lyon", "ARA", "FR", (45.76, 4.84), CET),
    city("Marseille", "PAC", "FR", (43.30, 5.37), CET),
    city("Toulouse", "OCC", "FR", (43.60, 1.44), CET),
    city("Madrid", "MD", "ES", (40.42, -3.70), CET),
    city("Barcelona", "CT", "ES", (41.39, 2.17), CET),
    city("Valencia", "VC", "ES", (39.47, -0.38), CET),
    city("Milan", "25", "IT", (45.46, 9.19), CET),
    city("Rome", "62", "IT", (41.90, 12.50), CET),
    city("Naples", "72", "IT", (40.85, 14.27), CET),
    city("Amsterdam", "NH", "NL", (52.37, 4.90), CET),
    city("Rotterdam", "ZH", "NL", (51.92, 4.48), CET),
    city("Warsaw", "14", "PL", (52.23, 21.01), CET),
    city("Krakow", "12", "PL", (50.06, 19.94), CET),
    city("Gdansk", "22", "PL", (54.35, 18.65), CET),
    city("Stockholm", "AB", "SE", (59.33, 18.07), CET),
    city("Gothenburg", "O", "SE", (57.71, 11.97), CET),
    city("Toronto", "ON", "CA", (43.65, -79.38), EASTERN),
    city("Montreal", "QC", "CA", (45.50, -73.57), EASTERN),
    city("Vancouver", "BC", "CA", (49.28, -123.12), PACIFIC),
    city("São Paulo", "SP", "BR", (-23.55, -46.63), BRAZIL),
    city("Rio de Janeiro", "RJ", "BR", (-22.91, -43.17), BRAZIL),
    city("Porto Alegre", "RS", "BR", (-30.03, -51.23), BRAZIL),
    city("Mumbai", "MH", "IN", (19.08, 72.88), INDIA),
    city("Delhi", "DL", "IN", (28.70, 77.10), INDIA),
    city("Bengaluru", "KA", "IN", (12.97, 77.59), INDIA),
    city("Chennai", "TN", "IN", (13.08, 80.27), INDIA),
    city("Tokyo", "13", "JP", (35.68, 139.69), (540, Summer::None)),
    city("Osaka", "27", "JP", (34.69, 135.50), (540, Summer::None)),
    city("Sydney", "NSW", "AU", (-33.87, 151.21), (600, Summer::Au)),
    city("Melbourne", "VIC", "AU", (-37.81, 144.96), (600, Summer::Au)),
    city("Brisbane", "QLD", "AU", (-27.47, 153.03), (600, Summer::None)),
    city("Singapore", "01", "SG", (1.35, 103.82), (480, Summer::None)),
    city("Istanbul", "34", "TR", (41.01, 28.98), (180, Summer::None)),
    city("Bucharest", "B", "RO", (44.43, 26.10), (120, Summer::Eu)),
    city("Kyiv", "30", "UA", (50.45, 30.52), (120, Summer::Eu)),
    city("Lagos", "LA", "NG", (6.52, 3.38), (60, Summer::None)),
    city("Hanoi", "HN", "VN", (21.03, 105.85), (420, Summer::None)),
];

/// The cities of a country, as indices of [`CITIES`].
pub fn of_country(country: &str) -> std::ops::Range<usize> {
    let first = CITIES.iter().position(|city| city.country == country).unwrap_or(0);
    let count = CITIES[first..].iter().take_while(|city| city.country == country).count();
    first..first + count
}

/// Every country once.
pub fn countries() -> Vec<&'static str> {
    let mut all: Vec<&str> = CITIES.iter().map(|city| city.country).collect();
    all.dedup();
    all
}

/// Kilometres.
pub fn distance(a: &City, b: &City) -> f64 {
    great_circle((a.latitude, a.longitude), (b.latitude, b.longitude))
}

/// Kilometres between points in degrees.
pub fn great_circle(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.0.to_radians(), b.0.to_radians());
    let (half_lat, half_lon) = ((lat_b - lat_a) / 2.0, (b.1 - a.1).to_radians() / 2.0);
    let chord = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * 6_371.0 * chord.sqrt().min(1.0).asin()
}
