//! Where a request came from, as the body says it.

use super::{Place, Reader, unreadable};
use crate::{
    event::Location,
    source::{SourceError, json::Value},
};

/// Bytes of each text.
const PLACE_BYTES_MAX: usize = 256;

impl Reader<'_, '_> {
    pub(super) fn location(&self, place: &Place<'_>) -> Result<Option<Location>, SourceError> {
        let text = |member, field| self.text(member, field, PLACE_BYTES_MAX);
        let (latitude, longitude) = coordinates(place)?.unzip();
        let made = Location {
            city: text(&place.city, "event.info.location.city")?,
            region: text(&place.region, "event.info.location.region")?,
            country: text(&place.country, "event.info.location.country")?,
            zipcode: text(&place.zipcode, "event.info.location.zipcode")?,
            latitude,
            longitude,
            display: text(&place.display_string, "event.info.location.displayString")?,
            from: None,
        };
        Ok((!made.is_empty()).then(|| Location { from: Some("sender".to_owned()), ..made }))
    }
}

/// Latitude and longitude; nothing if one is unknown or no such place exists, or both are 0 (a Java `double` that was
/// never set).
fn coordinates(place: &Place<'_>) -> Result<Option<(f64, f64)>, SourceError> {
    let latitude = degrees(&place.latitude, "event.info.location.latitude", 90.0)?;
    let longitude = degrees(&place.longitude, "event.info.location.longitude", 180.0)?;
    Ok(latitude.zip(longitude).filter(|both| *both != (0.0, 0.0)))
}

fn degrees(member: &Option<Value<'_>>, field: &str, limit: f64) -> Result<Option<f64>, SourceError> {
    let degrees = match member {
        Some(Value::Integer(number)) => *number as f64,
        Some(Value::Float(number)) => *number,
        None | Some(Value::Null) => return Ok(None),
        Some(_) => return unreadable(field, "must be a number"),
    };
    Ok(Some(degrees).filter(|degrees| degrees.abs() <= limit))
}
