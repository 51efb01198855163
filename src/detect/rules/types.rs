//! The types that a rule's condition is checked against, taken from the record's own JSON Schema: there is no second list
//! of members to keep up.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::Value;

/// What a value can be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// Any text.
    Text,
    /// One of a few words.
    Word(Arc<[String]>),
    /// Any number of one kind.
    List(Box<Self>),
    /// Values by names of the sender's own.
    Map(Box<Self>),
    /// Members with names of ours.
    Object(Arc<BTreeMap<String, Self>>),
    /// Only known when it is looked at.
    Any,
}

impl Type {
    /// The type that a JSON Schema describes.
    pub(super) fn of(schema: &schemars::Schema) -> Self {
        read(schema.as_value(), schema.as_value())
    }

    /// The same where the member at `path`, of each where it is a list, is one of these words: what the schema leaves open
    /// for later versions and this one does not.
    pub(super) fn with_words(self, path: &[&str], words: &[String]) -> Self {
        match (self, path) {
            (_, []) => Self::Word(words.into()),
            (Self::List(inner), path) => inner.with_words(path, words).list(),
            (Self::Object(members), [name, rest @ ..]) => {
                let mut members = Arc::unwrap_or_clone(members);
                if let Some(member) = members.remove(*name) {
                    members.insert((*name).to_owned(), member.with_words(rest, words));
                }
                Self::Object(Arc::new(members))
            }
            (other, _) => other,
        }
    }

    /// A list of these.
    pub(super) fn list(self) -> Self {
        Self::List(Box::new(self))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Double | Self::Any)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text | Self::Word(_) | Self::Any)
    }

    pub(super) fn is_bool(&self) -> bool {
        matches!(self, Self::Bool | Self::Any)
    }

    /// Whether it can hold values that hold values.
    pub(super) fn is_deep(&self) -> bool {
        match self {
            Self::List(inner) => matches!(**inner, Self::List(_) | Self::Map(_) | Self::Object(_)),
            Self::Map(_) | Self::Object(_) | Self::Any => true,
            Self::Bool | Self::Int | Self::Double | Self::Text | Self::Word(_) => false,
        }
    }

    /// Whether two values can be equal.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(other)) => one.is_like(other),
            (Self::Map(_), _) | (Self::Object(_), _) => self == other,
            _ => {
                self.is_number() && other.is_number()
                    || self.is_text() && other.is_text()
                    || std::mem::discriminant(self) == std::mem::discriminant(other)
            }
        }
    }

    /// What is wrong with a value that is to have this type; `path` is how the value is called.
    pub(super) fn refuse(&self, value: &Value, path: &str) -> Option<String> {
        match (self, value) {
            (Self::Any, _) | (Self::Bool, Value::Bool(_)) | (Self::Text, Value::String(_)) => None,
            (Self::Int, Value::Number(number)) if number.is_i64() => None,
            (Self::Double, Value::Number(_)) => None,
            (Self::Word(words), Value::String(text)) => {
                (!words.contains(text)).then(|| format!("{path}: `{text}` is none of {}", words.join(", ")))
            }
            (Self::List(inner), Value::Array(list)) => {
                list.iter().enumerate().find_map(|(at, one)| inner.refuse(one, &format!("{path}[{at}]")))
            }
            (Self::Map(inner), Value::Object(map)) => {
                map.iter().find_map(|(name, one)| inner.refuse(one, &format!("{path}.{name}")))
            }
            (Self::Object(members), Value::Object(map)) => map.iter().find_map(|(name, one)| match members.get(name) {
                Some(inner) => inner.refuse(one, &format!("{path}.{name}")),
                None => Some(format!("{path} has no member `{name}`; it has {}", names(members))),
            }),
            _ => Some(format!("{path} is {self}")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Int => f.write_str("a whole number"),
            Self::Double => f.write_str("a number"),
            Self::Text => f.write_str("a text"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::List(inner) => write!(f, "a list (each: {inner})"),
            Self::Map(_) | Self::Object(_) => f.write_str("a group of members"),
            Self::Any => f.write_str("anything"),
        }
    }
}

/// The names of members, for messages.
pub(super) fn names(members: &BTreeMap<String, Type>) -> String {
    members.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn read(schema: &Value, root: &Value) -> Type {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        return read(&root["$defs"][name], root);
    }
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|key| schema[*key].as_array());
    if let Some(all) = alternatives {
        let mut some = all.iter().filter(|one| one["type"] != "null");
        let words: Option<Vec<String>> = all.iter().map(|one| one["const"].as_str().map(str::to_owned)).collect();
        return match (words, some.next(), some.next()) {
            (Some(words), ..) => Type::Word(words.into()),
            (None, Some(only), None) => read(only, root),
            _ => Type::Any,
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        return Type::Word(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect());
    }
    let named = schema["type"].as_str();
    let listed = || schema["type"].as_array()?.iter().filter_map(Value::as_str).find(|one| *one != "null");
    match named.or_else(listed) {
        Some("boolean") => Type::Bool,
        Some("integer") => Type::Int,
        Some("number") => Type::Double,
        Some("string") => Type::Text,
        Some("array") => read(&schema["items"], root).list(),
        Some("object") => match schema["properties"].as_object() {
            Some(members) => {
                Type::Object(Arc::new(members.iter().map(|(name, one)| (name.clone(), read(one, root))).collect()))
            }
            None => Type::Map(Box::new(read(&schema["additionalProperties"], root))),
        },
        _ => Type::Any,
    }
}
