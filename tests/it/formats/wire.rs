//! From the wire to the file: what a client can make of its user agent, through the binary and into every format.

use serde_json::{Value, json};

use super::{
    FORMATS, cef,
    evil::{PIECES, carried},
    leef, schema,
};
use crate::support::app::{Settings, TestApp};

/// What the decoder keeps of a user agent, in bytes.
const AGENT_BYTES_MAX: usize = 8 * 1_024;

/// A user agent as JSON text, raw bytes and all, and what is recorded of it.
fn agents() -> Vec<(Vec<u8>, String)> {
    let pieces = PIECES.concat();
    let texts = [pieces.clone(), pieces.repeat(AGENT_BYTES_MAX / pieces.len() + 1), "\\\"|=^".repeat(2_000)];
    let mut agents: Vec<_> = texts
        .into_iter()
        .map(|text| {
            let kept = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= AGENT_BYTES_MAX);
            let kept = text[..kept.last().unwrap()].to_owned();
            (json!(text).to_string().into_bytes(), kept)
        })
        .collect();
    agents.push((
        b"\"a\xff|=\\\\^\xc3(\xe2\x82b\xf0\x9f\"".to_vec(),
        "a\u{fffd}|=\\^\u{fffd}(\u{fffd}b\u{fffd}".to_owned(),
    ));
    agents.push((br#""a\ud83d|=\n\udE00""#.to_vec(), "a\u{fffd}|=\n\u{fffd}".to_owned()));
    agents
}

fn check(format: &str, line: &str, agent: &str) {
    match format {
        "'cef'" => {
            let parsed = cef::parse(line).unwrap_or_else(|error| panic!("{error}\n{line:?}"));
            cef::check(&parsed).unwrap();
            let expected = carried(agent, 1_023, &['\n', '\r'], &[]);
            assert_eq!(parsed.get("requestClientApplication"), Some(&*expected));
        }
        "'leef'" => {
            let parsed = leef::parse(line).unwrap_or_else(|error| panic!("{error}\n{line:?}"));
            assert_eq!(parsed.get("userAgent"), Some(&*carried(agent, 1_023, &[], &['^'])));
        }
        format => {
            let document: Value = serde_json::from_str(line).unwrap();
            let (wrong, at) = match format {
                "'json'" => (Vec::new(), "/event/user_agent"),
                "'ecs'" => (schema::ecs(&document), "/user_agent/original"),
                "'cloudevents'" => (schema::cloudevent(&document), "/data/event/user_agent"),
                _ => (schema::ocsf(&document), "/http_request/user_agent"),
            };
            assert_eq!(wrong, [""; 0], "{format}");
            assert_eq!(document.pointer(at).unwrap(), agent, "{format}");
        }
    }
}

#[test]
fn whatever_a_client_calls_itself_every_format_has_one_record_of_it() {
    let formats: Vec<&str> = FORMATS.iter().copied().chain(["'json'"]).collect();
    let sink = |(number, format): (usize, &&str)| {
        format!(
            "[[sinks]]\nname = \"f{number}\"\ntype = \"file\"\npath = \"out/{number}\"\nformat = {format}\nkinds = [\"event\"]\n"
        )
    };
    let sinks: String = formats.iter().enumerate().map(sink).collect();
    let tables = format!("[detect]\nenabled = false\n[gate]\nmode = \"off\"\n{sinks}");
    let mut app = TestApp::start(Settings { tables, ..Settings::new() });
    let (mut client, agents) = (app.client(), agents());
    for (number, (agent, _)) in agents.iter().enumerate() {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let head =
            format!(r#"{{"event":{{"type":"jwt.refresh","id":"e{number}","createInstant":{now},"info":{{"userAgent":"#);
        let body = [head.as_bytes(), agent, b"}}}"].concat();
        let answer = client.post(&body, &app.signer().sign(&body)).unwrap();
        assert_eq!((answer.status, answer.verdict().word.as_str()), (200, "accepted"), "{number}: {}", answer.text());
    }
    app.stop();
    app.verify();
    for (number, format) in formats.iter().enumerate() {
        let text = std::fs::read_to_string(app.path(&format!("out/{number}"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), text.ends_with('\n')), (agents.len(), true), "{format}");
        lines.iter().zip(&agents).for_each(|(line, (_, agent))| check(format, line, agent));
    }
}
