//! Configuration, messages and frames, read by another implementation of RFC 5424. Connections: see the sinks' contract
//! test and the tests against real servers.

use proptest::prelude::*;
use syslog_rfc5424::{SyslogMessage, parse_message};

use crate::record::{AlarmChange, AlarmState, Draft, Finding, Head, Kind, Severity};

use super::*;

fn build(config: &str) -> Result<Syslog, String> {
    let config: Config = toml::from_str(config).map_err(|error| error.to_string())?;
    config.build(Path::new("/nonexistent")).map_err(|error| error.to_string())
}

fn udp(more: &str) -> Syslog {
    build(&format!("address = '127.0.0.1:514'\ntransport = 'udp'\n{more}")).map_err(drop).unwrap()
}

fn line(node: &str, kind: Kind, severities: &[Severity], alarm: Option<AlarmState>) -> Vec<u8> {
    let findings: Vec<_> = severities
        .iter()
        .map(|severity| Finding {
            rule: "RA1".into(),
            name: "n".into(),
            severity: *severity,
            reason: "r".into(),
            attack: Vec::new(),
            evidence: std::collections::BTreeMap::new(),
            incident: None,
        })
        .collect();
    let alarm = alarm.map(|state| AlarmChange { name: "a".into(), subject: None, state, message: "m".into() });
    // 2026-11-22T06:40:00.123456Z, see the tests of `time`.
    let at = crate::time::ReceivedAt::from_micros(1_795_329_600_123_456);
    let mut draft = Draft::new("3f9a1c2e", node, 7, kind, at);
    draft.findings = &findings;
    draft.alarm = alarm.as_ref();
    let mut line = serde_json::to_vec(&draft).unwrap();
    line.pop();
    line.extend_from_slice(b",\"prev\":\"00\",\"hash\":\"abcd\"}");
    line
}

fn message(key: &str, line: Vec<u8>, body: &[u8]) -> Message {
    let head = Head::read(&line).unwrap();
    Message {
        seq: 7,
        kind: head.kind,
        key: key.into(),
        head: head.keep(),
        line: line.clone().into(),
        body: body.to_vec().into(),
        media_type: "text/plain",
    }
}

fn text(sink: &Syslog, message: &Message) -> Vec<u8> {
    let packed = sink.pack().packed([message.clone()]);
    assert!(pieces::refused(&packed).is_empty());
    sink.pieces(&packed).concat()
}

fn read(bytes: &[u8]) -> SyslogMessage {
    let text = std::str::from_utf8(bytes).unwrap();
    parse_message(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn one_message_byte_by_byte() {
    // By hand after RFC 5424, section 6; <166> is local4 (20) and informational (6).
    let sink = udp("facility = 'local4'\nhostname = 'mymachine.example.com'\napp_name = 'ra'");
    let message = message(r#"a"b\c]d"#, line("n", Kind::Operator, &[], None), b"{}");
    let expected = "<166>1 2026-11-22T06:40:00.123456Z mymachine.example.com ra - operator [refreshAudit@32473 seq=\"7\" \
                    kind=\"operator\" journal=\"3f9a1c2e\" id=\"a\\\"b\\\\c\\]d\" hash=\"abcd\" severity=\"info\"] {}";
    assert_eq!(String::from_utf8(text(&sink, &message)).unwrap(), expected);
}

#[test]
fn a_records_severity_is_the_messages() {
    use Severity::{Critical, High, Info, Low, Medium};
    // RFC 5424, table 2: 2 critical, 3 error, 4 warning, 5 notice, 6 informational. authpriv is 10: 80 + severity.
    for (kind, severities, alarm, pri, said) in [
        (Kind::Event, vec![], None, 86, "info"),
        (Kind::Event, vec![Info], None, 86, "info"),
        (Kind::Event, vec![Low, Info], None, 85, "low"),
        (Kind::Event, vec![Low, Medium], None, 84, "medium"),
        (Kind::Event, vec![High, Low], None, 83, "high"),
        (Kind::Event, vec![Low, Critical, High], None, 82, "critical"),
        (Kind::Alarm, vec![], Some(AlarmState::Raised), 83, "high"),
        (Kind::Alarm, vec![], Some(AlarmState::Cleared), 86, "info"),
        (Kind::Replay, vec![], None, 85, "low"),
        (Kind::Replay, vec![High], None, 83, "high"),
        (Kind::Config, vec![], None, 86, "info"),
    ] {
        let made = text(&udp(""), &message("k", line("n", kind, &severities, alarm), b"x"));
        assert!(made.starts_with(format!("<{pri}>1 ").as_bytes()), "{kind:?} {severities:?} {pri}");
        let found = read(&made).sd.find_tuple("refreshAudit@32473", "severity").cloned();
        assert_eq!(found.as_deref(), Some(said), "{kind:?} {severities:?}");
    }
}

#[test]
fn a_text_that_is_not_ascii_begins_with_a_mark() {
    let of =
        |more: &str, body: &str| text(&udp(more), &message("k", line("n", Kind::Event, &[], None), body.as_bytes()));
    // RFC 5424, section 6.4: EF BB BF.
    assert!(of("", "é").ends_with(b"] \xef\xbb\xbf\xc3\xa9"));
    assert!(of("", "e").ends_with(b"] e"));
    assert!(of("bom = false", "é").ends_with(b"] \xc3\xa9"));
}

#[test]
fn a_line_feed_is_refused_only_where_it_would_end_a_message() {
    let inside = message("k", line("n", Kind::Event, &[], None), b"a\nb");
    let tcp =
        |framing| build(&format!("address = 'h:1'\ntransport = 'tcp'\nframing = '{framing}'")).map_err(drop).unwrap();
    let (lf, batch) = (tcp("lf"), [inside.clone(), message("k", line("n", Kind::Event, &[], None), b"c")]);
    let batch = lf.pack().packed(batch);
    let [piece] = &lf.pieces(&batch)[..] else { panic!("not one") };
    assert!(piece.ends_with(b"] c\n") && piece.iter().filter(|byte| **byte == b'\n').count() == 1);
    let refused = pieces::refused(&batch);
    assert_eq!((refused.len(), refused[0].0), (1, 7));
    let whole = text(&tcp("octet"), &inside);
    let (length, rest) = whole.split_at(whole.iter().position(|byte| *byte == b' ').unwrap());
    // RFC 6587, section 3.4.1: MSG-LEN is the octet count of what follows the space.
    assert_eq!(std::str::from_utf8(length).unwrap().parse::<usize>().unwrap(), rest.len() - 1);
    assert!(rest.ends_with(b"a\nb"));
}

#[test]
fn a_batch_is_one_piece_of_whole_frames_and_a_datagram_is_one() {
    let batch: Vec<_> =
        (0..100).map(|at| message(&format!("k{at}"), line("n", Kind::Event, &[], None), &[b'x'; 4_000])).collect();
    let ids = |texts: &[&[u8]]| -> Vec<String> { texts.iter().map(|text| read_id(text)).collect() };
    let expected: Vec<String> = (0..100).map(|at| format!("k{at}")).collect();
    let tcp = build("address = 'h:1'\ntransport = 'tcp'").map_err(drop).unwrap();
    let [piece] = &tcp.pieces(&tcp.pack().packed(batch.clone()))[..] else { panic!("not one") };
    let (mut rest, mut texts) = (&piece[..], Vec::new());
    while !rest.is_empty() {
        let (length, message) = rest.split_at(rest.iter().position(|byte| *byte == b' ').unwrap());
        let end = 1 + std::str::from_utf8(length).unwrap().parse::<usize>().unwrap();
        texts.push(&message[1..end]);
        rest = &message[end..];
    }
    assert_eq!(ids(&texts), expected);
    let udp = udp("max_size = '8KiB'");
    let datagrams = udp.pieces(&udp.pack().packed(batch));
    assert_eq!(ids(&datagrams.iter().map(|datagram| &datagram[..]).collect::<Vec<_>>()), expected);
}

proptest! {
    #[test]
    fn whatever_it_holds_it_is_one_well_formed_message(
        key in "\\PC{0,40}|[\\x00-\\x7f\\u{80}-\\u{ff}\"\\\\\\]]{0,40}",
        node in "\\PC{0,300}|[\\x00-\\x7f]{0,20}",
        body in "\\PC{1,200}|[\\x20-\\x7e\\]\"\\\\]{1,200}",
    ) {
        let made = text(&udp(""), &message(&key, line(&node, Kind::Event, &[], None), body.as_bytes()));
        let message = read(&made);
        let host = message.hostname.unwrap_or_default();
        prop_assert!(host.len() <= 255 && host.bytes().all(|byte| (33..=126).contains(&byte)), "{}", host);
        let shown: String = key.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        prop_assert_eq!(message.sd.find_tuple("refreshAudit@32473", "id"), Some(&shown));
        prop_assert_eq!(message.sd.find_tuple("refreshAudit@32473", "truncated"), None);
        prop_assert_eq!(message.msg.trim_start_matches('\u{feff}'), body.trim_start_matches('\u{feff}'));
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_says_so(body in "[a-zé€😀]{500,3000}", key in "[a-zé\"]{1,128}") {
        let made = text(&udp(""), &message(&key, line("n", Kind::Event, &[], None), body.as_bytes()));
        // RFC 5424, section 6.1: every transport receiver takes 480, and should take 2,048.
        prop_assert!(made.len() <= 2_048, "{}", made.len());
        let message = read(&made);
        let msg = message.msg.trim_start_matches('\u{feff}');
        prop_assert!(body.starts_with(msg));
        let said = message.sd.find_tuple("refreshAudit@32473", "truncated").map(|said| said.parse::<usize>().unwrap());
        if msg.len() == body.len() {
            prop_assert_eq!(said, None);
        } else {
            prop_assert_eq!(said, Some(body.len()));
            // Not more was cut than had to be: a character is 4 bytes at most.
            prop_assert!(made.len() > 2_048 - 4, "{}", made.len());
        }
    }
}

/// Reads to the end, not as fast as it is sent: ids in the order of their arrival.
async fn arrived(listener: tokio::net::TcpListener) -> Vec<String> {
    use tokio::io::AsyncReadExt as _;
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 256 << 10]);
    loop {
        let read = stream.read(&mut chunk).await.unwrap();
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..read]);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let (mut rest, mut ids) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (length, message) = rest.split_at(rest.iter().position(|byte| *byte == b' ').unwrap());
        let end = 1 + std::str::from_utf8(length).unwrap().parse::<usize>().unwrap();
        ids.push(read_id(&message[1..end]));
        rest = &message[end..];
    }
    ids
}

fn read_id(text: &[u8]) -> String {
    read(text).sd.find_tuple("refreshAudit@32473", "id").unwrap().clone()
}

/// A batch of one seq after the other, larger than what the kernel keeps for both sides.
fn large(sink: &Syslog, first: u64) -> Vec<Message> {
    let line = line("n", Kind::Event, &[], None);
    let one = |seq: u64| Message { seq, ..message(&seq.to_string(), line.clone(), &[b'x'; 8_000]) };
    sink.pack().packed((first..first + 2_000).map(one))
}

#[tokio::test]
async fn the_next_batch_is_begun_early_and_comes_once() {
    for between in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = build(&format!("address = '{address}'\ntransport = 'tcp'")).map_err(drop).unwrap();
        let all = tokio::spawn(arrived(listener));
        let (first, second, other) = (large(&sink, 1), large(&sink, 2_001), large(&sink, 9_001));
        sink.deliver_and_begin(&first[..1], &first[1..]).await.unwrap();
        assert!(!sink.state().ahead.begun, "a server that refuses us says so first");
        sink.deliver_and_begin(&first[1..], &second).await.unwrap();
        assert!(sink.state().ahead.begun);
        // What an operator asks for in between does not break a message in two.
        if between {
            sink.deliver(&other[..1]).await.unwrap();
        }
        sink.deliver_and_begin(&second, &other[1..]).await.unwrap();
        sink.close().await;
        let mut expected: Vec<u64> = (1..=4_000).collect();
        expected.extend(between.then_some(9_001));
        let mut ids: Vec<u64> = all.await.unwrap().iter().map(|id| id.parse().unwrap()).collect();
        // Closed with what was begun: whole messages of it, or none.
        let begun = ids.split_off(expected.len());
        assert_eq!(ids, expected, "{between}");
        assert!(begun.is_empty() || begun == (9_002..=11_000).collect::<Vec<_>>(), "{}", begun.len());
    }
}

#[test]
fn nonsense_is_refused_with_a_word_on_what_is_right() {
    for (config, said) in [
        ("address = '10.0.0.1'", "host:port"),
        ("address = '2001:db8::1:514'", "host:port"),
        ("address = 'h:0'", "host:port"),
        ("address = 'h:514'\ntransport = 'udp'\nframing = 'lf'", "framing"),
        ("address = 'h:514'\ntransport = 'tcp'\nca_file = 'ca'", "tls"),
        ("address = 'h:514'\ntransport = 'tcp'\nserver_name = 'x'", "tls"),
        ("address = 'h:6514'\nca_file = 'ca'", "/nonexistent/ca"),
        ("address = 'h:6514'\ncert_file = 'c'", "key_file"),
        ("address = 'h:6514'\nserver_name = 'a b'", "server_name"),
        ("address = 'h:514'\ntransport = 'udp'\nmax_size = '64KiB'", "max_size"),
        ("address = 'h:514'\ntransport = 'udp'\nmax_size = '1KiB'", "max_size"),
        ("address = 'h:514'\ntransport = 'udp'\napp_name = 'a b'", "app_name"),
        ("address = 'h:514'\ntransport = 'udp'\nhostname = ''", "hostname"),
        ("address = 'h:514'\ntransport = 'udp'\nsd_id = 'refreshAudit'", "sd_id"),
        ("address = 'h:514'\ntransport = 'udp'\nsd_id = 'a]@1'", "sd_id"),
        ("address = 'h:514'\ntransport = 'udp'\ntimeout = '0s'", "timeout"),
        ("address = 'h:514'\ntransport = 'udp'\nfacility = 'local8'", "local7"),
        ("address = 'h:514'\ntransport = 'udp'\nport = 5", "port"),
    ] {
        let error = build(config).map(drop).unwrap_err();
        assert!(error.contains(said), "{config}: {error}");
    }
    for good in
        ["address = '[::1]:514'\ntransport = 'tcp'", "address = 'h:514'\ntransport = 'udp'\nmax_size = '65507B'"]
    {
        build(good).map(drop).unwrap();
    }
}
