//! JSON as CEL values, cut to a size that bounds what a condition can cost.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Value,
    objects::{Key, Map},
};

/// Elements of a list, or names of a group, that a condition sees; the rest is cut.
pub(super) const LIST_MAX: usize = 64;
/// Bytes of a text that a condition sees.
const TEXT_MAX: usize = 8 << 10;

/// The value that a condition sees.
pub(super) fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(is) => Value::Bool(is),
        serde_json::Value::Number(number) => {
            number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => Value::String(Arc::new(cut(text))),
        serde_json::Value::Array(list) => Value::List(Arc::new(list.into_iter().take(LIST_MAX).map(value).collect())),
        serde_json::Value::Object(members) => {
            let members = members.into_iter().take(LIST_MAX).map(|(name, one)| (Key::from(name), value(one)));
            Value::Map(Map { map: Arc::new(members.collect::<HashMap<_, _>>()) })
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
