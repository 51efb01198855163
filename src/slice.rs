//! Parts of memory that many share, which know what lies beside them: what was read or written in one piece can be sent in
//! one piece again, without copying it together.

use std::{
    fmt,
    ops::{Deref, Range},
};

use bytes::Bytes;

/// A part of a buffer.
#[derive(Clone, Default)]
pub struct Slice {
    whole: Bytes,
    at: Range<usize>,
}

impl Slice {
    /// Of `whole`, what is at `at`; nothing where `whole` ends before that.
    pub fn new(whole: Bytes, at: Range<usize>) -> Self {
        let at = if at.start <= at.end && at.end <= whole.len() { at } else { 0..0 };
        Self { whole, at }
    }

    /// On its own.
    pub fn bytes(&self) -> Bytes {
        self.whole.slice(self.at.clone())
    }

    /// Without its last byte.
    pub fn but_last(mut self) -> Self {
        self.at.end = self.at.end.saturating_sub(1).max(self.at.start);
        self
    }

    /// Whether this byte follows in the buffer.
    pub fn is_before(&self, byte: u8) -> bool {
        self.whole.get(self.at.end) == Some(&byte)
    }

    /// Takes the next byte of the buffer in, where there is one.
    pub fn grow(&mut self) {
        self.at.end = (self.at.end + 1).min(self.whole.len());
    }

    /// Whether `next` begins where this ends, in the same memory. Both hold it, so the same address is the same buffer.
    fn meets(&self, next: &Self) -> bool {
        self.at.end == next.at.start && std::ptr::eq(&raw const *self.whole, &raw const *next.whole)
    }
}

/// All of them one after the other, in as few pieces as there are.
pub fn pieces<'a>(slices: impl IntoIterator<Item = &'a Slice>) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut slices = slices.into_iter().filter(|slice| !slice.is_empty());
    let Some(mut first) = slices.next() else { return pieces };
    let mut last = first;
    for slice in slices {
        if !last.meets(slice) {
            pieces.push(first.whole.slice(first.at.start..last.at.end));
            first = slice;
        }
        last = slice;
    }
    pieces.push(first.whole.slice(first.at.start..last.at.end));
    pieces
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.whole.get(self.at.clone()).unwrap_or_default()
    }
}

impl<T: Into<Bytes>> From<T> for Slice {
    fn from(whole: T) -> Self {
        let whole = whole.into();
        Self { at: 0..whole.len(), whole }
    }
}

/// Not what is beside it.
impl fmt::Debug for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Slice {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_piece_again() {
        let whole = Bytes::from_static(b"ab\ncd\nef\n");
        let part = |at| Slice::new(whole.clone(), at);
        let (ab, cd, ef) = (part(0..3), part(3..6), part(6..9));
        assert_eq!(pieces([&ab, &cd, &ef]), ["ab\ncd\nef\n"]);
        assert_eq!(pieces([&ab, &cd, &ef])[0].as_ptr(), whole.as_ptr(), "not copied");
        assert_eq!(pieces([&cd, &ef]), ["cd\nef\n"]);
        assert_eq!(pieces([&ab, &ef]), ["ab\n", "ef\n"]);
        assert_eq!(pieces([&cd, &ab]), ["cd\n", "ab\n"]);
        // The same text elsewhere is no neighbour.
        let other = Slice::from(Bytes::from(b"cd\n".to_vec()));
        assert_eq!(pieces([&ab, &other, &ef]), ["ab\n", "cd\n", "ef\n"]);
        assert_eq!(pieces([&Slice::default(), &ab, &Slice::default(), &cd]), ["ab\ncd\n"]);
        assert!(pieces([]).is_empty());
    }

    #[test]
    fn a_line_gets_its_line_feed_where_it_has_one() {
        let whole = Bytes::from_static(b"ab\ncd");
        let mut line = Slice::new(whole.clone(), 0..2);
        assert!(line.is_before(b'\n') && !line.is_before(b','));
        line.grow();
        assert_eq!((&*line, &*line.clone().but_last()), (&b"ab\n"[..], &b"ab"[..]));
        let mut last = Slice::new(whole.clone(), 3..5);
        assert!(!last.is_before(b'\n'));
        last.grow();
        assert_eq!(&*last, b"cd");
        assert!(Slice::new(whole, 3..6).is_empty(), "past the end");
    }
}
