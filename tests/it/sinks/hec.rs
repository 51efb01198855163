//! The other side of the `splunk_hec` sink, for the contract.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use refresh_audit::{record::Seq, sink::AnySink};
use serde_json::json;

use super::{POISON, Receiver, Situation, sink};
use crate::{
    fake_hec::{FakeHec, TOKEN, said},
    fake_http::Reply,
};

pub struct HecReceiver {
    hec: FakeHec,
    dir: tempfile::TempDir,
    acks: bool,
    /// Something was wrong; it is well after a restart.
    trouble: AtomicBool,
}

impl HecReceiver {
    pub async fn new(acks: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let hec = FakeHec::new().await;
        hec.set(|state| state.acks = acks);
        Self { hec, dir, acks, trouble: AtomicBool::new(false) }
    }
}

impl Receiver for HecReceiver {
    fn sink(&self) -> AnySink {
        let token = self.dir.path().join("token");
        let (url, acks) = (self.hec.url(), self.acks);
        sink("splunk_hec", &format!("url = {url:?}\ntoken_file = {token:?}\nacks = {acks}\ntimeout = '300ms'"))
    }

    async fn begin(&self, situation: Situation) -> bool {
        let always = |reply: Reply| self.hec.set(|state| state.intercept = Box::new(move |_| Some(reply.clone())));
        match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => {}
            Situation::Throttles => always(Reply::Status(429, "retry-after: 1\r\n", "slow down")),
            Situation::Poison => self.hec.set(|state| state.poison = Some(POISON)),
            Situation::Hangs => always(Reply::Hang),
            Situation::Drips => always(Reply::Drip),
            Situation::BreaksOff => always(Reply::Close),
            Situation::Full => always(said(503, 9, "Server is busy", json!({}))),
            Situation::Fails => always(said(500, 8, "Internal server error", json!({}))),
        }
        let well = matches!(situation, Situation::Accepts | Situation::WeCrash | Situation::Poison);
        self.trouble.store(!well, Ordering::SeqCst);
        if situation != Situation::Down {
            self.hec.server.up();
        }
        true
    }

    async fn end(&self) {
        if !self.trouble.load(Ordering::SeqCst) {
            return;
        }
        self.hec.set(|state| state.intercept = Box::new(|_| None));
        self.hec.server.down().await;
        self.hec.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        let seq = |envelope: &serde_json::Value| envelope["event"]["seq"].as_u64().unwrap();
        self.hec.indexed().iter().map(|indexed| seq(&indexed.envelope)).collect()
    }

    fn refusal(&self) -> &'static str {
        "code 6"
    }
}
