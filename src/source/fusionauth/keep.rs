//! `keep`: members below `event` that an operator wants stored as they are.
//!
//! A second look at the body, only where `keep` is set. No path reaches a token, and no value that holds or looks like
//! one is kept.

use serde::{Deserialize, Deserializer, de::MapAccess};
use serde_json::{Value as Json, value::RawValue};

use crate::source::{
    BuildError,
    claims::Secrets,
    json::{Object, Text, Value, read},
};

/// Paths in `keep`.
const PATHS_MAX: usize = 32;
/// Bytes of one kept value as JSON; a larger one is left out.
const VALUE_BYTES_MAX: usize = 1_024;
/// Members that hold secrets, wherever they stand.
const SECRET_NAMES: &[&str] = &[
    "token", "original", "refreshtoken", "accesstoken", "idtoken", "refresh_token", "access_token", "id_token", "password",
    "secret", "clientsecret", "client_secret",
];

/// Members that are read, and the key of `[privacy]` that says how much of each is written down. Some events have the address
/// at the top as well.
const PERSONAL: &[(&str, &str)] = &[
    ("info.ipAddress", "ip"),
    ("ipAddress", "ip"),
    ("info.userAgent", "user_agent"),
    ("info.deviceName", "device"),
    ("info.deviceType", "device"),
    ("info.deviceDescription", "device"),
    ("info.os", "device"),
    ("info.location", "location"),
];

/// The paths, split at their dots.
pub(super) struct Keep {
    paths: Vec<Vec<String>>,
}

fn secret_name(name: &str) -> bool {
    SECRET_NAMES.contains(&name.to_ascii_lowercase().as_str())
}

/// Which of [`PERSONAL`] each of the paths would keep: it is one, is in one or has one in it.
pub(super) fn personal(paths: &[String]) -> Vec<(usize, &'static str, &'static str)> {
    let is_in = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let of = |(number, path): (usize, &String)| {
        let path = path.clone();
        let kept = PERSONAL.iter().filter(move |(member, _)| is_in(&path, member) || is_in(member, &path));
        kept.map(move |(member, key)| (number, *member, *key))
    };
    paths.iter().enumerate().flat_map(of).collect()
}

impl Keep {
    pub(super) fn build(paths: &[String]) -> Result<Self, BuildError> {
        let wrong = |problem: String| Err(BuildError(problem));
        if paths.len() > PATHS_MAX {
            return wrong(format!("keep names more than {PATHS_MAX} paths: keep a member that holds several of them"));
        }
        for path in paths {
            let parts: Vec<_> = path.split('.').collect();
            if parts.iter().any(|part| part.is_empty()) {
                return wrong(format!("keep: `{path}` is not a dotted path such as \"info.data.ticket\""));
            }
            if parts.first() == Some(&"event") {
                return wrong(format!("keep: `{path}` must start below event; write it without \"event.\""));
            }
            if parts.iter().any(|part| secret_name(part)) {
                return wrong(format!("keep: `{path}` names a secret, and those are never stored; take it out"));
            }
        }
        let split = |path: &String| path.split('.').map(str::to_owned).collect();
        Ok(Self { paths: paths.iter().map(split).collect() })
    }

    /// The kept members of a body that has been read before.
    pub(super) fn pick(&self, body: &str, secrets: &Secrets<'_>) -> Vec<(String, Json)> {
        if self.paths.is_empty() {
            return Vec::new();
        }
        let Ok(body) = serde_json::from_str::<Body<'_>>(body) else { return Vec::new() };
        let Some(event) = body.event else { return Vec::new() };
        let find = |path: &Vec<String>| {
            let (first, deeper) = path.split_first()?;
            let top = event.get(first)?;
            let value = deeper.iter().try_fold(&top, |value, name| value.get(name.as_str()))?;
            storable(value, secrets).then(|| (path.join("."), value.clone()))
        };
        self.paths.iter().filter_map(find).collect()
    }
}

fn storable(value: &Json, secrets: &Secrets<'_>) -> bool {
    let empty = value.is_null() || value.as_str().is_some_and(str::is_empty);
    // `to_string` of a value that was parsed cannot fail; its length bounds the walk below.
    !empty && value.to_string().len() <= VALUE_BYTES_MAX && !holds_secret(value, secrets)
}

fn holds_secret(value: &Json, secrets: &Secrets<'_>) -> bool {
    match value {
        Json::String(text) => secrets.in_text(text),
        Json::Array(list) => list.iter().any(|item| holds_secret(item, secrets)),
        Json::Object(members) => members
            .iter()
            .any(|(name, value)| secret_name(name) || secrets.in_text(name) || holds_secret(value, secrets)),
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
    }
}

/// The wrapper.
#[derive(Default)]
struct Body<'a> {
    shape: Value<'a>,
    event: Option<Event<'a>>,
}

/// The members of the event, unread: the tokens among them are not copied.
#[derive(Default)]
struct Event<'a> {
    shape: Value<'a>,
    members: Vec<(Text<'a>, &'a RawValue)>,
}

impl Event<'_> {
    fn get(&self, name: &str) -> Option<Json> {
        let (_, raw) = self.members.iter().find(|(n, _)| **n == *name)?;
        serde_json::from_str(raw.get()).ok()
    }
}

impl<'de> Object<'de> for Body<'de> {
    fn shape(&mut self) -> &mut Value<'de> {
        &mut self.shape
    }

    fn member<A: MapAccess<'de>>(&mut self, name: Text<'de>, map: &mut A) -> Result<bool, A::Error> {
        if &*name != "event" {
            return Ok(false);
        }
        self.event = Some(map.next_value()?);
        Ok(true)
    }
}

impl<'de> Object<'de> for Event<'de> {
    fn shape(&mut self) -> &mut Value<'de> {
        &mut self.shape
    }

    fn member<A: MapAccess<'de>>(&mut self, name: Text<'de>, map: &mut A) -> Result<bool, A::Error> {
        self.members.push((name, map.next_value()?));
        Ok(true)
    }
}

impl<'de> Deserialize<'de> for Body<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read(from)
    }
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read(from)
    }
}
