//! A request's body that is sent from where its pieces are.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::Body;

/// One after the other, under one length.
pub fn body(mut pieces: Vec<Bytes>) -> Body {
    match &mut pieces[..] {
        [] => Body::from(Bytes::new()),
        [only] => Body::from(std::mem::take(only)),
        _ => Body::wrap(Pieces { left: pieces.iter().map(|piece| piece.len() as u64).sum(), rest: pieces.into_iter() }),
    }
}

struct Pieces {
    rest: vec::IntoIter<Bytes>,
    /// Bytes of them.
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.rest.next();
        self.left -= next.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
