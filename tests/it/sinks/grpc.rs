//! A receiver of OTLP over gRPC.

use std::{path::Path, sync::Mutex};

use refresh_audit::{
    record::Seq,
    sink::{AnySink, SinkConfig},
};

use super::{
    POISON, Receiver, Situation,
    vendors::{otlp_seqs, partial},
};
use crate::fake_grpc::{Answer, FakeGrpc};

pub struct GrpcReceiver {
    server: FakeGrpc,
    situation: Mutex<Option<Situation>>,
}

impl GrpcReceiver {
    pub fn new() -> Self {
        Self { server: FakeGrpc::new(), situation: Mutex::new(None) }
    }
}

impl Receiver for GrpcReceiver {
    fn sink(&self) -> AnySink {
        let members = format!("protocol = 'grpc'\ntimeout = '300ms'\nendpoint = 'http://{}'", self.server.address);
        let config = SinkConfig::parse("otlp", toml::Deserializer::parse(&members).unwrap()).unwrap();
        config.build(Path::new("/")).unwrap()
    }

    async fn begin(&self, situation: Situation) -> bool {
        *self.situation.lock().unwrap() = Some(situation);
        let always = |answer: Answer| self.server.script(move |_| answer.clone());
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => {}
            // 8 RESOURCE_EXHAUSTED with RetryInfo of 1 s, spelt byte by byte: Status { details: [Any { type_url, value:
            // RetryInfo { retry_delay: Duration { seconds: 1 } } }] }.
            Situation::Throttles => always(Answer::Status(8, "slow down", retry_in_1s())),
            Situation::Poison => self.server.script(|call| {
                if otlp_seqs(&call.request).contains(&POISON) { Answer::Ok(partial(1)) } else { Answer::Ok(Vec::new()) }
            }),
            Situation::Hangs => always(Answer::Hang),
            Situation::Drips => always(Answer::Drip),
            Situation::BreaksOff => always(Answer::Close),
            // 14 UNAVAILABLE, 13 INTERNAL.
            Situation::Full => always(Answer::Status(14, "no room", Vec::new())),
            Situation::Fails => always(Answer::Status(13, "oops", Vec::new())),
        }
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        if *self.situation.lock().unwrap() == Some(Situation::Poison) {
            return;
        }
        self.server.script(|_| Answer::Ok(Vec::new()));
        self.server.down().await;
        self.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        let poison = *self.situation.lock().unwrap() == Some(Situation::Poison);
        let calls = self.server.calls();
        let taken = calls.iter().filter(|call| call.code == Some(0));
        taken.flat_map(|call| otlp_seqs(&call.request)).filter(|seq| !poison || *seq != POISON).collect()
    }

    fn refusal(&self) -> &'static str {
        "1 of 1 rejected: too odd"
    }
}

/// `google.rpc.Status` with a `RetryInfo` of one second.
pub fn retry_in_1s() -> Vec<u8> {
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let value = [0x0a, 2, 0x08, 1];
    let any = [&[0x0a, u8::try_from(url.len()).unwrap()][..], url, &[0x12, 4], &value].concat();
    [&[0x1a, u8::try_from(any.len()).unwrap()][..], &any].concat()
}
