//! `REFRESH_AUDIT_SERVER__LISTEN` and its like: environment variables laid over the file before it is read. Knows names
//! and places, not what the sections mean.

use std::{borrow::Cow, collections::BTreeSet, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ROOT_KEYS,
    document::{Origin, texts_under},
    error::{ConfigError, Place, suggest},
};
use crate::detect::catalogue::CATALOGUE;

/// What every override's name begins with.
const PREFIX: &str = "REFRESH_AUDIT_";
/// Names with the prefix that are not overrides: the one of `--config`.
const RESERVED: &[&str] = &["REFRESH_AUDIT_CONFIG"];

/// Those of the keys at the top that are no sections.
const VALUES_AT_TOP: &[&str] = &["data_dir", "node"];

/// One environment variable.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) name: String,
    value: String,
}

/// Those of the environment that are overrides.
pub(super) fn among(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<_> = variables
        .into_iter()
        .filter(|(name, value)| match name.strip_prefix(PREFIX) {
            Some(rest) => !RESERVED.contains(&name.as_str()) && !is_service_link(rest, value),
            None => false,
        })
        .map(|(name, value)| Override { name, value })
        .collect();
    // The environment has no order; the outer value goes in before what is inside it.
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Whether Kubernetes (or a Docker link) set it: every container is told so where the services of its namespace are, and
/// one of them may well be called `refresh-audit` or `refresh-audit-admin`. The names are those of the Kubernetes
/// documentation, "Service: discovering services", and hold no `__`, as the names of entries do. A port without an address behind
/// it is somebody's mistake.
fn is_service_link(rest: &str, value: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_address = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    match words.as_slice() {
        _ if rest.contains("__") => false,
        [.., "SERVICE", "HOST"] => true,
        [.., "PORT"] if is_address() => true,
        _ => {
            words.windows(2).any(|pair| pair == ["SERVICE", "PORT"])
                || words.windows(3).any(|three| {
                    three[0] == "PORT" && three[1].parse::<u16>().is_ok() && ["TCP", "UDP", "SCTP"].contains(&three[2])
                })
        }
    }
}

/// Lays them over `root`. Those numbered in `as_text` are texts, whatever they look like.
pub(super) fn apply<'t>(
    root: &mut DeTable<'t>,
    origin: &Origin<'t>,
    as_text: &BTreeSet<usize>,
) -> Result<(), ConfigError> {
    let mut named_by_file = Vec::new();
    texts_under(root, &mut |key| key == "env" || key.ends_with("_env"), &mut named_by_file);
    for (index, given) in origin.overrides.iter().enumerate() {
        if named_by_file.contains(&given.name) {
            continue;
        }
        let span = origin.span_of_override(index);
        let value = if as_text.contains(&index) { None } else { parse(&given.value) };
        let value = match value {
            Some(value) => value,
            None => DeValue::String(Cow::Borrowed(text(index, given)?)),
        };
        place(root, given, respan(value, &span), &span).map_err(|hint| {
            ConfigError::new("no such setting", Place::Variable { index, name: given.name.clone() }).hint(hint)
        })?;
    }
    Ok(())
}

/// The value as a text. What another program should have taken off is in no path, address or name: it would be taken as it
/// stands, and be noticed long after.
fn text(index: usize, given: &Override) -> Result<&str, ConfigError> {
    let text = given.value.as_str();
    let wrong = |what: &str, hint: &str| {
        let place = Place::Variable { index, name: given.name.clone() };
        Err(ConfigError::new(what, place).hint(hint))
    };
    if text.len() > 1 && ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote)) {
        return wrong(
            "the value stands in quotes",
            "write it without them: `docker run --env-file` and some others pass them on, and a shell takes them off",
        );
    }
    if text.chars().any(char::is_control) {
        return wrong(
            "the value holds a control character",
            "take out e.g. a line end (a file written on Windows has \\r before it)",
        );
    }
    Ok(text)
}

/// The value where it is a bool, a number, an array or an inline table.
fn parse(text: &str) -> Option<DeValue<'_>> {
    let value = DeValue::parse(text.trim()).ok()?.into_inner();
    (!matches!(value, DeValue::String(_) | DeValue::Datetime(_))).then_some(value)
}

/// Puts a value where its variable's name says; `Err` is what to write instead.
fn place<'t>(
    root: &mut DeTable<'t>,
    given: &Override,
    value: Spanned<DeValue<'t>>,
    span: &Range<usize>,
) -> Result<(), String> {
    let segments: Vec<&str> = given.name[PREFIX.len()..].split("__").collect();
    let (top, inner) = segments.split_first().ok_or_else(String::new)?;
    let Some(key) = ROOT_KEYS.iter().find(|key| as_variable(key) == **top) else {
        if let Some((section, key)) = with_two_underscores(top) {
            let form = match ["sources", "sinks"].contains(&section) {
                true => "<NAME>__<KEY>".to_owned(),
                false => [&[key], inner].concat().join("__"),
            };
            return Err(format!("two underscores stand before each key: {PREFIX}{}__{form}", as_variable(section)));
        }
        let known: Vec<String> = ROOT_KEYS.iter().map(|key| format!("{PREFIX}{}", as_variable(key))).collect();
        return Err(suggest(&format!("{PREFIX}{top}"), &known.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    if !["sources", "sinks"].contains(key) {
        return insert(root, &segments, value, span);
    }
    let (table, inner) = entry(root, key, inner)?;
    insert(table, inner, value, span)
}

/// The section that `SERVER_LISTEN` begins with, where it does, and the rest.
fn with_two_underscores(top: &str) -> Option<(&'static str, &str)> {
    let sections = ROOT_KEYS.iter().copied().filter(|key| !VALUES_AT_TOP.contains(key));
    let mut parts = sections.filter_map(|key| Some((key, top.strip_prefix(&as_variable(key))?.strip_prefix('_')?)));
    parts.find(|(_, key)| !key.is_empty())
}

/// The entry of `[[sources]]` or `[[sinks]]` that the first segments name, and the segments after it.
fn entry<'r, 't, 's>(
    root: &'r mut DeTable<'t>,
    key: &str,
    segments: &'s [&'s str],
) -> Result<(&'r mut DeTable<'t>, &'s [&'s str]), String> {
    let form = format!("write {PREFIX}{}__<NAME>__<KEY>", as_variable(key));
    let Some(DeValue::Array(list)) = root.get_mut(key).map(Spanned::get_mut) else {
        return Err(format!("there is no [[{key}]] entry in the file; {form}"));
    };
    let mut names = Vec::new();
    let mut found = Vec::new();
    for table in list.iter_mut().map(Spanned::get_mut) {
        let DeValue::Table(table) = table else { continue };
        let Some(name) = table.get("name").and_then(|name| name.get_ref().as_str()).map(str::to_owned) else {
            continue;
        };
        // A name's own `--` or `__` looks like a separator.
        let length = as_variable(&name).split("__").count();
        if segments.len() > length && segments[..length].join("__") == as_variable(&name) {
            found.push((table, &segments[length..]));
        }
        names.push(name);
    }
    match found.len() {
        0 => Err(format!("{form}; entries of [[{key}]]: {}", names.join(", "))),
        1 => found.pop().ok_or(form),
        _ => Err(format!("more than one entry of [[{key}]] has this name in capitals: rename one")),
    }
}

/// Inserts below `table`, making the tables on the way.
fn insert<'t>(
    table: &mut DeTable<'t>,
    segments: &[&str],
    value: Spanned<DeValue<'t>>,
    span: &Range<usize>,
) -> Result<(), String> {
    let Some((first, inner)) = segments.split_first() else { return Err("it names no key".to_owned()) };
    if first.is_empty() {
        return Err("it names no key".to_owned());
    }
    let key = table.keys().map(|key| key.get_ref().to_string()).find(|key| as_variable(key) == *first);
    // Rules' ids are the only keys in capitals.
    let rule = || CATALOGUE.iter().map(|rule| rule.id.to_owned()).find(|id| id == first);
    let key = key.or_else(rule).unwrap_or_else(|| first.to_ascii_lowercase());
    if inner.is_empty() {
        table.insert(Spanned::new(span.clone(), Cow::Owned(key)), value);
        return Ok(());
    }
    let next = table
        .entry(Spanned::new(span.clone(), Cow::Owned(key.clone())))
        .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
    match next.get_mut() {
        DeValue::Table(next) => insert(next, inner, value, span),
        other => Err(format!("`{key}` is of the type {}, which has no keys in it", other.type_str())),
    }
}

/// How a key or a name is written in a variable's name.
fn as_variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The value with every place in it replaced by the override's.
fn respan<'t>(value: DeValue<'t>, span: &Range<usize>) -> Spanned<DeValue<'t>> {
    let value = match value {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.into_inner()), respan(value.into_inner(), span)))
                .collect(),
        ),
        DeValue::Array(mut list) => {
            for entry in list.iter_mut() {
                let inner = std::mem::replace(entry.get_mut(), DeValue::Boolean(false));
                *entry = respan(inner, span);
            }
            DeValue::Array(list)
        }
        other => other,
    };
    Spanned::new(span.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_says_of_services_is_no_override() {
        let names = |given: &[(&str, &str)]| -> Vec<String> {
            let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            among(given).into_iter().map(|one| one.name).collect()
        };
        // As the documentation shows them for `redis-primary`.
        for service in ["", "ADMIN_"] {
            let told = [
                ("SERVICE_HOST", "10.0.0.11"),
                ("SERVICE_PORT", "6379"),
                ("SERVICE_PORT_HTTPS", "443"),
                ("PORT", "tcp://10.0.0.11:6379"),
                ("PORT_6379_TCP", "tcp://10.0.0.11:6379"),
                ("PORT_6379_TCP_PROTO", "tcp"),
                ("PORT_6379_TCP_PORT", "6379"),
                ("PORT_6379_TCP_ADDR", "10.0.0.11"),
            ];
            for (name, value) in told {
                assert_eq!(names(&[(&format!("{PREFIX}{service}{name}"), value)]), [""; 0], "{service}{name}");
            }
        }
        let others = [
            ("REFRESH_AUDIT_PORT", "8080"),
            ("REFRESH_AUDIT_SERVER_PORT", "8080"),
            ("REFRESH_AUDIT_HOST", "::"),
            // Of a sink called `to-service-port`.
            ("REFRESH_AUDIT_SINKS__TO_SERVICE_PORT__PATH", "audit.jsonl"),
        ];
        assert_eq!(names(&others).len(), others.len());
    }
}
