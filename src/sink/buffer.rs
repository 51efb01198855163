//! Memory for request bodies that is used again. Not a sink; knows none.
//!
//! A body of a megabyte in new memory costs its pages, which the kernel clears, on top of being filled: twice as much.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// A larger body gets memory of its own: a batch may be 64 MiB, and most sinks rest most of the time.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The memory of the last body.
#[derive(Default)]
pub struct Buffer(Mutex<BytesMut>);

impl Buffer {
    /// What `write` appends, `room` bytes about: in the memory of the last body if nothing holds that any more.
    pub fn fill(&self, room: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        if room > KEPT_BYTES_MAX {
            let mut own = BytesMut::with_capacity(room);
            write(&mut own);
            return own.freeze();
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After a panic there may be half a body.
        kept.clear();
        kept.reserve(room);
        write(&mut kept);
        kept.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_holds_it() {
        let buffer = Buffer::default();
        let fill = |text: &[u8]| buffer.fill(1_000, |body| body.extend_from_slice(text));
        let first = fill(b"first");
        let (place, second) = (first.as_ptr(), fill(b"second"));
        assert_ne!(second.as_ptr(), place);
        assert_eq!((&*first, &*second), (&b"first"[..], &b"second"[..]));
        let place = second.as_ptr();
        drop((first, second));
        assert_eq!(fill(b"third").as_ptr(), place);
    }

    #[test]
    fn what_is_large_is_not_kept() {
        let buffer = Buffer::default();
        let body = buffer.fill(KEPT_BYTES_MAX + 1, |body| body.extend_from_slice(b"large"));
        assert_eq!(body, "large");
        assert_eq!(buffer.0.lock().unwrap().capacity(), 0);
    }
}
