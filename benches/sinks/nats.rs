//! `nats` against the bare client library (async-nats), which publishes the same messages with the same headers to the
//! same stream of a real server and waits for every acknowledgement, a batch at a time.

use std::{path::Path, time::Duration};

use async_nats::{
    HeaderMap, header,
    jetstream::{Context, message::PublishMessage, stream},
};
use refresh_audit::sink::Message;

use crate::{
    messages::{BATCH, RECORDS, deliver, messages, runtime, sink},
    servers::nats::Nats,
    turns::compare,
};

async fn publish(context: &Context, batch: &[Message]) {
    let mut last: Option<&str> = None;
    let mut acks = Vec::with_capacity(batch.len());
    for message in batch {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, &*message.key);
        headers.insert(header::NATS_EXPECTED_STREAM, "AUDIT");
        if let Some(last) = last {
            headers.insert(header::NATS_EXPECTED_LAST_MESSAGE_ID, last);
        }
        let outgoing = PublishMessage::build().payload(message.body.bytes()).headers(headers);
        acks.push(context.send_publish("audit.records", outgoing).await.unwrap());
        last = Some(&message.key);
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

pub fn run() {
    let Some(nats) = Nats::start("nats-server", "") else { return };
    let runtime = runtime();
    let servers = format!("nats://{}", nats.address);
    let context = runtime.block_on(async {
        let context = async_nats::jetstream::new(async_nats::connect(&servers).await.unwrap());
        // What comes again in the next turn is new by then; old messages go, so that the disk does not fill.
        let config = stream::Config {
            name: "AUDIT".into(),
            subjects: vec!["audit.records".into()],
            duplicate_window: Duration::from_millis(100),
            max_messages: 2 * RECORDS as i64,
            ..stream::Config::default()
        };
        context.create_stream(config).await.unwrap();
        context
    });
    let members = format!("servers = ['{servers}']\nstream = 'AUDIT'\nsubject = 'audit.records'");
    let sink = sink("nats", &members, Path::new("/"));
    let messages = messages(&sink);
    let bytes = messages.iter().map(|message| message.body.len()).sum();
    compare(
        "nats",
        RECORDS,
        bytes,
        || deliver(&runtime, &sink, &messages),
        || {
            for batch in messages.chunks(BATCH) {
                runtime.block_on(publish(&context, batch));
            }
        },
    );
}
