//! What rules and techniques may be called.

/// What is wrong with the id of a rule.
pub(super) fn wrong_id(id: &str) -> Option<&'static str> {
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if id.is_empty() || id.len() > 64 || !is_plain || !id.as_bytes()[0].is_ascii_alphabetic() {
        return Some("an id is 1 to 64 letters, digits, `-` and `_`, a letter first");
    }
    // In any case: `records --rule` tells none apart.
    let (begin, number) = id.split_at(id.len().min(2));
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (begin.eq_ignore_ascii_case("RA") && is_number).then_some("RA and a number are the product's own rules")
}

/// `T1078` or `T1550.001`.
pub(super) fn is_technique(id: &str) -> bool {
    let Some(rest) = id.strip_prefix('T') else { return false };
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    match rest.split_once('.') {
        Some((technique, sub)) => digits(technique, 4) && digits(sub, 3),
        None => digits(rest, 4),
    }
}
