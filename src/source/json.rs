//! Reading JSON that others wrote: what is there and of which kind, each known member once, never an error about a
//! type, so that the caller can name the member that is wrong.
//!
//! Owns text that is wiped when it had to be copied. Knows no source and no claim.

use std::{fmt, marker::PhantomData, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

mod mend;

pub(in crate::source) use mend::mend;

/// Arrays and objects within each other; deeper is refused before the parse. serde_json's own limit, which does not
/// hold for the members that are skipped.
const DEPTH_MAX: usize = 128;

/// A body as text. Bytes that are no UTF-8 become U+FFFD; only then it is a copy.
pub(in crate::source) fn text(body: &[u8]) -> Text<'_> {
    match std::str::from_utf8(body) {
        Ok(text) => Text::Borrowed(text),
        Err(_) => Text::Copied(Zeroizing::new(String::from_utf8_lossy(body).into_owned())),
    }
}

/// Whether arrays and objects nest deeper than [`DEPTH_MAX`]. Says nothing else about the text.
pub(in crate::source) fn too_deep(text: &str) -> bool {
    // Nearly every body opens fewer than that in all.
    opened(text.as_bytes()) > DEPTH_MAX && depth(text) > DEPTH_MAX
}

/// How many `{` and `[` there are. The two differ in one bit, and short sums fit in a byte: so this is done 16 bytes at a
/// time.
fn opened(bytes: &[u8]) -> usize {
    let some = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    bytes.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(some(chunk))).sum()
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A JSON string: a part of the input where it has no escapes, else a copy that is wiped.
pub(in crate::source) enum Text<'a> {
    Borrowed(&'a str),
    Copied(Zeroizing<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Copied(text) => text,
        }
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            Value::Text(text) => Ok(text),
            _ => Err(D::Error::custom("not a string")),
        }
    }
}

/// A number as it is written: `-0` is an integer in JSON, and a double to the parser.
#[derive(Default)]
pub(in crate::source) struct Number<'a>(pub(in crate::source) Value<'a>);

impl<'de> Deserialize<'de> for Number<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match <&RawValue>::deserialize(from)?.get() {
            "-0" => Ok(Self(Value::Integer(0))),
            written => serde_json::from_str(written).map(Self).map_err(D::Error::custom),
        }
    }
}

/// What a member holds.
#[derive(Default)]
pub(in crate::source) enum Value<'a> {
    /// `null`, which is the same as nothing.
    #[default]
    Null,
    Text(Text<'a>),
    Integer(i64),
    Float(f64),
    /// Strings only. Other arrays are `Other`.
    Texts(Vec<Text<'a>>),
    Object,
    Other,
}

/// A type made of a JSON value of any kind; members of an object are offered to it one by one.
pub(in crate::source) trait Object<'de>: Default {
    /// What it is if it is no object, [`Value::Object`] if it is one.
    fn shape(&mut self) -> &mut Value<'de>;

    /// Takes the member's value if it knows the name; `false` leaves it to be skipped.
    fn member<A: MapAccess<'de>>(&mut self, name: Text<'de>, map: &mut A) -> Result<bool, A::Error>;
}

impl<'de> Object<'de> for Value<'de> {
    fn shape(&mut self) -> &mut Value<'de> {
        self
    }

    fn member<A: MapAccess<'de>>(&mut self, _: Text<'de>, _: &mut A) -> Result<bool, A::Error> {
        Ok(false)
    }
}

/// Reads any JSON value into `T`.
pub(in crate::source) fn read<'de, T: Object<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_any(AnyValue(PhantomData))
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read(from)
    }
}

struct AnyValue<T>(PhantomData<T>);

fn of<'de, T: Object<'de>>(value: Value<'de>) -> T {
    let mut made = T::default();
    *made.shape() = value;
    made
}

impl<'de, T: Object<'de>> Visitor<'de> for AnyValue<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(of(Value::Null))
    }

    fn visit_bool<E>(self, _: bool) -> Result<T, E> {
        Ok(of(Value::Other))
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(of(Value::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(of(Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))))
    }

    fn visit_f64<E>(self, number: f64) -> Result<T, E> {
        Ok(of(Value::Float(number)))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<T, E> {
        Ok(of(Value::Text(Text::Borrowed(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(of(Value::Text(Text::Copied(Zeroizing::new(text.to_owned())))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = seq.next_element::<Value<'de>>()? {
            let Value::Text(text) = item else {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(of(Value::Other));
            };
            texts.push(text);
        }
        Ok(of(Value::Texts(texts)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut made: T = of(Value::Object);
        while let Some(name) = map.next_key::<Text<'de>>()? {
            if !made.member(name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(made)
    }
}

/// Every member of one object, in order; [`Object::member`] takes them all.
#[derive(Default)]
pub(in crate::source) struct Members<'a> {
    shape: Value<'a>,
    list: Vec<(Text<'a>, Value<'a>)>,
    twice: bool,
}

/// Members of an object read by [`Members::strict`]; far more than any signature's header or claims have.
const MEMBERS_MAX: usize = 64;

impl<'a> Members<'a> {
    /// An object in which no name occurs twice, `None` for anything else.
    pub(in crate::source) fn strict(json: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(json).ok()?;
        if too_deep(text) {
            return None;
        }
        let mut from = serde_json::Deserializer::from_str(text);
        let members: Self = read(&mut from).ok()?;
        from.end().ok()?;
        let fine = matches!(members.shape, Value::Object) && !members.twice && members.list.len() <= MEMBERS_MAX;
        fine.then_some(members)
    }

    /// The member of that name.
    pub(in crate::source) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.list.iter().find(|(n, _)| **n == *name).map(|(_, value)| value)
    }
}

impl<'de> Object<'de> for Members<'de> {
    fn shape(&mut self) -> &mut Value<'de> {
        &mut self.shape
    }

    fn member<A: MapAccess<'de>>(&mut self, name: Text<'de>, map: &mut A) -> Result<bool, A::Error> {
        let value = map.next_value()?;
        self.twice |= self.get(&name).is_some();
        if self.list.len() <= MEMBERS_MAX {
            self.list.push((name, value));
        }
        Ok(true)
    }
}

/// A struct of an object's known members. Names that occur twice are listed in `twice` by their path.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident at $path:literal { $($member:literal => $field:ident: $kind:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name<'a> {
            shape: Value<'a>,
            twice: Vec<&'static str>,
            $($field: Option<$kind<'a>>,)*
        }

        impl<'de> Object<'de> for $name<'de> {
            fn shape(&mut self) -> &mut Value<'de> {
                &mut self.shape
            }

            fn member<A: MapAccess<'de>>(&mut self, name: Text<'de>, map: &mut A) -> Result<bool, A::Error> {
                match &*name {
                    $($member => {
                        if self.$field.replace(map.next_value()?).is_some() {
                            self.twice.push(concat!($path, $member));
                        }
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }

        impl<'de> Deserialize<'de> for $name<'de> {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                read(from)
            }
        }
    };
}
pub(in crate::source) use object;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!too_deep(&nested(128)));
        assert!(too_deep(&nested(129)));
        assert!(!too_deep(&format!("[{}]", vec!["[]"; 1_000].join(","))));
        assert!(!too_deep(&format!(r#"["\"{}"]"#, "[".repeat(1_000))));
    }

    #[test]
    fn strict_members_refuse_what_is_ambiguous() {
        for (json, fine) in [
            (r#"{"a":1,"b":{"c":[{}]}}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"\u0061":1}"#, false),
            (r#"{"a":1} {}"#, false),
            (r#"["a"]"#, false),
            ("", false),
            (r#"{"a":1"#, false),
        ] {
            assert_eq!(Members::strict(json.as_bytes()).is_some(), fine, "{json}");
        }
        let many: Vec<String> = (0..100).map(|i| format!(r#""m{i}":1"#)).collect();
        assert!(Members::strict(format!("{{{}}}", many.join(",")).as_bytes()).is_none());
        assert!(Members::strict(b"{\"a\":\"\xff\"}").is_none());
    }
}
