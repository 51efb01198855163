//! A real NATS server with a stream, and what it holds.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use refresh_audit::{record::Seq, sink::AnySink};
use tokio::sync::Mutex;

use super::{Receiver, Situation, sink};
use crate::{
    servers::nats::Nats,
    support::proxy::{Fault, Proxy},
};

/// A message of the stream, in order: its `Nats-Msg-Id` and payload.
pub type Stored = (String, Vec<u8>);

/// A second client.
pub async fn client(nats: &Nats) -> jetstream::Context {
    let client = async_nats::connect(format!("nats://{}", nats.address)).await.unwrap();
    jetstream::new(client)
}

/// The stream that tests publish to.
pub async fn create(nats: &Nats, more: stream::Config) {
    let config = stream::Config { name: "AUDIT".into(), subjects: vec!["audit.records".into()], ..more };
    client(nats).await.create_stream(config).await.unwrap();
}

/// All of the stream.
pub async fn stored(nats: &Nats) -> Vec<Stored> {
    let stream = client(nats).await.get_stream("AUDIT").await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut stored = Vec::new();
    for at in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(at).await {
            stored.push((message.headers.get("Nats-Msg-Id").unwrap().to_string(), message.payload.to_vec()));
        }
    }
    stored
}

pub fn seq((_, payload): &Stored) -> Seq {
    serde_json::from_slice::<serde_json::Value>(payload).unwrap()["seq"].as_u64().unwrap()
}

pub struct NatsReceiver {
    nats: Mutex<Nats>,
    proxy: Proxy,
}

impl NatsReceiver {
    /// `None` where the server is not installed.
    pub async fn new() -> Option<Self> {
        let nats = Nats::start("nats-server", "")?;
        let proxy = Proxy::new(nats.address).await;
        Some(Self { nats: Mutex::new(nats), proxy })
    }
}

impl Receiver for NatsReceiver {
    fn sink(&self) -> AnySink {
        let address = self.proxy.address;
        sink(
            "nats",
            &format!("servers = ['nats://{address}']\nstream = 'AUDIT'\nsubject = 'audit.records'\ntimeout = '1s'"),
        )
    }

    async fn begin(&self, situation: Situation) -> bool {
        let mut nats = self.nats.lock().await;
        let mut config = stream::Config::default();
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Hangs | Situation::Down => {}
            Situation::BreaksOff => self.proxy.set(Fault::ResetAfter(5_000)),
            Situation::Drips => self.proxy.set(Fault::Drip(Duration::from_millis(20))),
            Situation::Full => {
                config.max_messages = 10;
                config.discard = stream::DiscardPolicy::New;
            }
            // No stream takes the subject.
            Situation::Fails => return true,
            Situation::Throttles | Situation::Poison => return false,
        }
        create(&nats, config).await;
        match situation {
            Situation::Hangs => nats.server.freeze(),
            Situation::Down => nats.server.kill(),
            _ => {}
        }
        true
    }

    async fn end(&self) {
        let mut nats = self.nats.lock().await;
        self.proxy.set(Fault::None);
        if !nats.server.is_running() {
            nats.server.restart();
        }
        nats.server.thaw();
        let context = client(&nats).await;
        match context.get_stream("AUDIT").await {
            Ok(stream) => {
                let config = stream::Config { max_messages: -1, ..stream.cached_info().config.clone() };
                context.update_stream(config).await.unwrap();
            }
            Err(_) => create(&nats, stream::Config::default()).await,
        }
    }

    async fn arrived(&self) -> Vec<Seq> {
        stored(&*self.nats.lock().await).await.iter().map(seq).collect()
    }
}
