//! Records as the journal holds them: about 1.6 kB, each of its own.

use refresh_audit::{record::Kind, sink::Message};

/// Records of a turn.
pub const RECORDS: usize = 40_000;
/// Records of a batch, as by default.
pub const BATCH: usize = 500;

/// One turn's records.
pub fn messages() -> Vec<Message> {
    (1..=RECORDS as u64).map(message).collect()
}

fn message(seq: u64) -> Message {
    let fingerprint = format!("1a2b:{seq:032x}");
    let claims = format!(
        r#"{{"iss":"fixture.invalid","sub":"00000000-0000-0000-0001-{seq:012x}","aud":"00000000-0000-0000-0002-000000000001","exp":1795333200,"iat":1795329600,"jti":"00000000-0000-0000-0003-{seq:012x}","sid":"00000000-0000-0000-0004-{seq:012x}","auth_time":1795329000,"authenticationType":"PASSWORD"}}"#
    );
    let line = format!(
        r#"{{"schema":"refresh-audit/1","journal":"3f9a1c2e","node":"audit-1","seq":{seq},"kind":"event","received_at":"2026-11-22T06:40:00.123456Z","source":"fusionauth","evidence":{{"channel":"webhook","authenticity":"signed","alg":"RS256","key_id":"fixture","body_sha256":"{seq:064x}"}},"event":{{"id":"00000000-0000-4000-8000-{seq:012x}","type":"jwt.refresh","occurred_at":"2026-11-22T06:39:59.000Z","outcome":"attempted","tenant_id":"00000000-0000-0000-0005-000000000001","application_id":"00000000-0000-0000-0002-000000000001","user_id":"00000000-0000-0000-0001-{seq:012x}","session_id":"00000000-0000-0000-0004-{seq:012x}","ip":"192.0.2.7","user_agent":"Mozilla/5.0 (X11; Linux x86_64) fixture/1.0","device":{{"name":"fixture","type":"BROWSER"}},"location":{{"city":"Nowhere","country":"ZZ","latitude":1.5,"longitude":2.5,"from":"sender"}},"tokens":{{"refresh":{{"presented":{{"fingerprint":"{fingerprint}"}},"issued":{{"fingerprint":"{fingerprint}"}}}},"access":{{"previous":{{"fingerprint":"{fingerprint}"}},"issued":{{"fingerprint":"{fingerprint}","claims":{claims}}}}}}},"rotated":true}},"findings":[{{"rule":"RA000","name":"fixture","severity":"low","reason":"a finding as detectors write it"}}],"prev":"{seq:064x}","hash":"{seq:064x}"}}"#
    );
    let line = bytes::Bytes::from(line);
    Message { seq, kind: Kind::Event, key: format!("00000000-0000-4000-8000-{seq:012x}"), body: line.clone(), line }
}
