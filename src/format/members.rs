//! JSON objects written member by member into one buffer: absent members leave no trace, no object is empty.

use bytes::Bytes;
use serde::Serialize;

/// One object while it is written. Names are literals of this crate without a character that JSON escapes.
pub struct Members<'o> {
    out: &'o mut Out,
    is_empty: bool,
}

/// What all objects of one text share.
struct Out {
    bytes: Vec<u8>,
    /// The first value that could not be written.
    failed: Option<serde_json::Error>,
}

impl Out {
    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        if let Err(error) = serde_json::to_writer(&mut self.bytes, value) {
            self.failed.get_or_insert(error);
        }
    }
}

/// Writes one object; `capacity` is about how many bytes it takes.
pub fn object(capacity: usize, write: impl FnOnce(&mut Members<'_>)) -> serde_json::Result<Bytes> {
    let mut out = Out { bytes: Vec::with_capacity(capacity), failed: None };
    out.bytes.push(b'{');
    write(&mut Members { out: &mut out, is_empty: true });
    out.bytes.push(b'}');
    match out.failed {
        Some(error) => Err(error),
        None => Ok(out.bytes.into()),
    }
}

impl Members<'_> {
    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.bytes.push(b',');
        }
        self.is_empty = false;
        self.out.bytes.push(b'"');
        self.out.bytes.extend_from_slice(name.as_bytes());
        self.out.bytes.extend_from_slice(b"\":");
    }

    /// A member.
    pub fn put(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        self.out.value(value);
    }

    /// A member where there is a value.
    pub fn maybe<T: Serialize>(&mut self, name: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.put(name, &value);
        }
    }

    /// A list of what `values` yields; no member where it yields nothing.
    pub fn list<T: Serialize>(&mut self, name: &'static str, values: impl IntoIterator<Item = T>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.name(name);
            self.out.bytes.push(b'[');
            while let Some(value) = values.next() {
                self.out.value(&value);
                if values.peek().is_some() {
                    self.out.bytes.push(b',');
                }
            }
            self.out.bytes.push(b']');
        }
    }

    /// An object; no member where `write` writes nothing into it.
    pub fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Members<'_>)) {
        let (start, was_empty) = (self.out.bytes.len(), self.is_empty);
        self.name(name);
        if !self.braces(write) {
            self.out.bytes.truncate(start);
            self.is_empty = was_empty;
        }
    }

    /// A list of objects, one for each of `items`; those that stay empty are left out, and so is an empty list.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Members<'_>, T),
    ) {
        let (start, was_empty) = (self.out.bytes.len(), self.is_empty);
        self.name(name);
        self.out.bytes.push(b'[');
        let mut some = false;
        for item in items {
            let at = self.out.bytes.len();
            if some {
                self.out.bytes.push(b',');
            }
            if self.braces(|members| write(members, item)) {
                some = true;
            } else {
                self.out.bytes.truncate(at);
            }
        }
        self.out.bytes.push(b']');
        if !some {
            self.out.bytes.truncate(start);
            self.is_empty = was_empty;
        }
    }

    /// Whether anything came between the braces.
    fn braces(&mut self, write: impl FnOnce(&mut Members<'_>)) -> bool {
        self.out.bytes.push(b'{');
        let mut inner = Members { out: self.out, is_empty: true };
        write(&mut inner);
        let is_empty = inner.is_empty;
        self.out.bytes.push(b'}');
        !is_empty
    }

    /// JSON that is there already.
    pub fn raw(&mut self, name: &'static str, json: &[u8]) {
        self.name(name);
        self.out.bytes.extend_from_slice(json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_leaves_no_trace() {
        let text = object(0, |all| {
            all.object("none", |none| none.maybe("x", None::<u8>));
            all.maybe("a", Some("\"\n\u{2028}"));
            all.object("deep", |deep| deep.object("deeper", |_| {}));
            all.list("empty", [0_u8; 0]);
            all.list("list", [1, 2]);
            all.objects("objects", [Some(1), None, Some(2)], |one, n| one.maybe("n", n));
            all.objects("nothing", [None::<u8>], |one, n| one.maybe("n", n));
            all.object("last", |last| last.raw("r", b"{}"));
        });
        assert_eq!(
            std::str::from_utf8(&text.unwrap()).unwrap(),
            "{\"a\":\"\\\"\\n\u{2028}\",\"list\":[1,2],\"objects\":[{\"n\":1},{\"n\":2}],\"last\":{\"r\":{}}}"
        );
        assert_eq!(object(0, |_| {}).unwrap(), "{}");
    }
}
