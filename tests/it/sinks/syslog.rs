//! The other side of the `syslog` sink, for the contract: over UDP, TCP with both framings, and TLS with both sides proven.

use std::sync::atomic::{AtomicBool, Ordering};

use refresh_audit::{record::Seq, sink::AnySink};

use super::{Receiver, Situation, sink};
use crate::{
    fake_syslog::{FakeSyslog, Mode, Wire},
    support::certs::Authority,
};

pub struct SyslogReceiver {
    server: FakeSyslog,
    members: String,
    datagrams: bool,
    /// Something was wrong; it is well after a restart.
    trouble: AtomicBool,
    _dir: tempfile::TempDir,
}

impl SyslogReceiver {
    pub fn new(wire: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (wire, members) = match wire {
            "udp" => (Wire::Udp, "transport = 'udp'".to_owned()),
            "lf" => (Wire::Lf, "transport = 'tcp'\nframing = 'lf'".to_owned()),
            "octet" => (Wire::Octet, "transport = 'tcp'".to_owned()),
            _ => {
                let authority = Authority::new(dir.path(), "ca");
                authority.issue("server");
                authority.issue("client");
                let file = |name: &str| dir.path().join(name).display().to_string();
                let members = format!(
                    "transport = 'tls'\nca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'",
                    file("ca.crt"),
                    file("client.crt"),
                    file("client.key")
                );
                (Wire::Tls(crate::http_sink::mutual_tls(dir.path())), members)
            }
        };
        let datagrams = matches!(wire, Wire::Udp);
        Self { server: FakeSyslog::new(wire), members, datagrams, trouble: AtomicBool::new(false), _dir: dir }
    }
}

impl Receiver for SyslogReceiver {
    fn sink(&self) -> AnySink {
        sink("syslog", &format!("address = '{}'\ntimeout = '700ms'\n{}", self.server.address, self.members))
    }

    async fn begin(&self, situation: Situation) -> bool {
        let mode = match situation {
            Situation::Accepts | Situation::WeCrash | Situation::Down => Mode::Reads,
            // A datagram is answered by nothing: there is nothing else that could go wrong and be seen.
            _ if self.datagrams => return false,
            Situation::Hangs => Mode::Hangs,
            Situation::Drips => Mode::Drips,
            // In the middle of the third message or so.
            Situation::BreaksOff => Mode::BreaksOff(1_500),
            Situation::Fails => Mode::Closes,
            // Syslog has no words for these.
            Situation::Throttles | Situation::Poison | Situation::Full => return false,
        };
        self.server.mode(mode);
        self.trouble.store(!matches!(situation, Situation::Accepts | Situation::WeCrash), Ordering::SeqCst);
        if situation != Situation::Down {
            self.server.up();
        }
        true
    }

    async fn end(&self) {
        if !self.trouble.load(Ordering::SeqCst) {
            return;
        }
        self.server.mode(Mode::Reads);
        self.server.down().await;
        self.server.up();
    }

    async fn arrived(&self) -> Vec<Seq> {
        let seq = |message: syslog_rfc5424::SyslogMessage| {
            let said: Seq = message.sd.find_tuple("refreshAudit@32473", "seq").unwrap().parse().unwrap();
            let record: serde_json::Value = serde_json::from_str(&message.msg).unwrap();
            assert_eq!(record["seq"], said);
            said
        };
        self.server.messages().into_iter().map(seq).collect()
    }
}
