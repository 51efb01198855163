//! What the stream holds of the records it was given, for `sinks reconcile`: each by the stream's seq of its
//! acknowledgement, and the id in it. Needs permission for `$JS.API.STREAM`.

use async_nats::{
    header,
    jetstream::stream::{RawMessageErrorKind, Stream},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Acked, Held, Nats, SinkError, link::Link};
use crate::{record::Seq, sink::visible::visible};

/// Asked at once.
const ASKED_MAX: usize = 64;

impl Nats {
    pub(super) async fn held(&self, link: &Link, asked: &[Acked]) -> Result<Held, SinkError> {
        let wrong = |error: String| {
            SinkError::passing(format!("cannot ask for stream {}: {}", self.stream, self.quote(&error)))
        };
        let stream = link.context.get_stream(&self.stream).await.map_err(|error| wrong(error.to_string()))?;
        let total = stream.cached_info().state.messages;
        let answers = stream::iter(asked.to_vec()).map(|acked| {
            let stream = stream.clone();
            async move { missing(&stream, &acked).await }
        });
        let answers = answers.buffered(ASKED_MAX);
        let missing: Vec<Option<Seq>> = answers.try_collect().await.map_err(wrong)?;
        Ok(Held { missing: missing.into_iter().flatten().collect(), total: Some(total) })
    }
}

/// Its seq, unless it is there.
async fn missing(stream: &Stream, acked: &Acked) -> Result<Option<Seq>, String> {
    let at = acked.ack.split(' ').next().and_then(|text| text.parse().ok());
    // An acknowledgement without a place is none of ours.
    let Some(at) = at else { return Ok(Some(acked.seq)) };
    match stream.get_raw_message(at).await {
        Ok(message) => {
            let id = message.headers.get(header::NATS_MESSAGE_ID).map(|id| id.as_str().to_owned());
            Ok((id != Some(visible(&acked.key))).then_some(acked.seq))
        }
        Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(Some(acked.seq)),
        Err(error) => Err(error.to_string()),
    }
}
