//! `kafka` against the bare client library (rskafka), which produces the same records to the same partition of the broker
//! that `tests/servers.sh` installs. Its topic is in memory.

use std::{collections::BTreeMap, path::Path};

use refresh_audit::sink::Message;
use rskafka::{
    client::{
        ClientBuilder,
        partition::{Compression, UnknownTopicHandling},
    },
    record::Record,
};

use crate::{
    messages::{BATCH, RECORDS, deliver, messages, runtime, sink},
    servers::tansu::Tansu,
    turns::compare,
};

fn record(message: &Message) -> Record {
    let headers = [
        ("event_id", message.key.as_bytes().to_vec()),
        ("schema", message.head.schema().as_bytes().to_vec()),
        ("seq", message.seq.to_string().into_bytes()),
    ];
    Record {
        key: message.head.user_id().map(|user| user.as_bytes().to_vec()),
        value: Some(message.body.to_vec()),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        timestamp: Default::default(),
    }
}

pub fn run() {
    let runtime = runtime();
    for (compression, name) in [(Compression::Zstd, "zstd"), (Compression::NoCompression, "none")] {
        let Some(tansu) = Tansu::start() else { return };
        tansu.create_topic("audit", 1);
        let address = tansu.address.to_string();
        let sink =
            sink("kafka", &format!("brokers = ['{address}']\ntopic = 'audit'\ncompression = '{name}'"), Path::new("/"));
        let messages = messages(&sink);
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        let bare = runtime.block_on(async {
            let client = ClientBuilder::new(vec![address]).build().await.unwrap();
            client.partition_client("audit", 0, UnknownTopicHandling::Retry).await.unwrap()
        });
        // Its own copy of the records is what the library takes; the sink makes it, too.
        compare(
            &format!("kafka, compression = \"{name}\""),
            RECORDS,
            bytes,
            || deliver(&runtime, &sink, &messages),
            || {
                for batch in messages.chunks(BATCH) {
                    runtime.block_on(bare.produce(batch.iter().map(record).collect(), compression)).unwrap();
                }
            },
        );
    }
}
