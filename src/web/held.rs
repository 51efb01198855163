//! A refusal that holds on to the body of its request until it is written.
//!
//! Where a handler has let go of a chunked body, actix-http (3.20) reads on for as long as it comes before it closes the
//! connection, and for ever where nothing comes: a stranger would need 70 bytes to keep one. Where the body is still held
//! it closes the connection, a second after the answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    http::ConnectionType,
};
use bytes::Bytes;

struct Held {
    answer: BoxBody,
    _request: Payload,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(context)
    }
}

/// The answer to a request whose sender keeps no connection, whatever of its body is still to come.
pub fn hold(answer: HttpResponse, request: Payload) -> HttpResponse {
    let mut answer = answer.map_body(|_, answer| BoxBody::new(Held { answer, _request: request }));
    answer.head_mut().set_connection_type(ConnectionType::Close);
    answer
}
