//! Keys where only visible ASCII may stand. Not a sink; knows none.

/// An id as a header can carry it: everything but visible ASCII percent-encoded, so that no sender's id can break the
/// message or be taken for another.
pub fn visible(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
