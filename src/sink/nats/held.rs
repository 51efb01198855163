//! What the stream holds of the records it was given, for `sinks reconcile`: each by the stream's seq of its
//! acknowledgement, and the id in it. Needs permission for `$JS.API.STREAM`.

use async_nats::{
    header,
    jetstream::stream::{RawMessageErrorKind, Stream},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Acked, Held, Nats, SinkError, link::Link};
use crate::{
    record::Seq,
    sink::{json, visible::visible},
};

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
            async move { look(&stream, &acked).await.map(|there| (acked.seq, there)) }
        });
        let answers: Vec<(Seq, There)> = answers.buffered(ASKED_MAX).try_collect().await.map_err(wrong)?;
        let those = |wanted| answers.iter().filter(|(_, there)| *there == wanted).map(|(seq, _)| *seq).collect();
        Ok(Held { missing: those(There::No), shared: those(There::Shared), total: Some(total) })
    }
}

/// What the stream has of a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    /// The record.
    Yes,
    /// Another record with its id, which the stream took it for.
    Shared,
    /// Nothing.
    No,
}

async fn look(stream: &Stream, acked: &Acked) -> Result<There, String> {
    let at = acked.ack.split(' ').next().and_then(|text| text.parse().ok());
    // An acknowledgement without a place is none of ours.
    let Some(at) = at else { return Ok(There::No) };
    match stream.get_raw_message(at).await {
        Ok(message) => {
            let id = message.headers.get(header::NATS_MESSAGE_ID).map(|id| id.as_str().to_owned());
            let seq = || serde_json::from_slice(&message.payload).ok().as_ref().and_then(json::seq);
            Ok(match id {
                Some(id) if id != visible(&acked.key) => There::No,
                None => There::No,
                Some(_) if seq().is_some_and(|seq| seq != acked.seq) => There::Shared,
                Some(_) => There::Yes,
            })
        }
        Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(There::No),
        Err(error) => Err(error.to_string()),
    }
}
