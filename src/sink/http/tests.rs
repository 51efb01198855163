//! Configuration and bodies. Requests and answers: see the sinks' contract test.

use crate::record::{Kept, Kind};

use super::*;

fn build(config: &str) -> Result<Http, String> {
    let config: Config = toml::from_str(config).map_err(|error| error.to_string())?;
    config.build(Path::new("/nonexistent")).map_err(|error| error.to_string())
}

fn message(seq: u64) -> Message {
    Message {
        seq,
        kind: Kind::Alarm,
        key: format!("k{seq}"),
        head: Kept::default(),
        line: "{}".into(),
        body: format!("{{\"n\":{seq}}}").into(),
        media_type: "application/json",
    }
}

#[test]
fn secrets_are_never_inline_and_never_in_an_error() {
    for (config, said) in [
        ("url = 'https://u:hunter22@h/'", "headers"),
        ("url = 'http://127.0.0.1/'\nheaders = { Authorization = 'Bearer hunter22' }", "file"),
        ("url = 'http://127.0.0.1/'\nheaders = { webhook-id = 'hunter22' }", "leave it out"),
        ("url = 'http://127.0.0.1/'\nheaders = { 'a b' = 'hunter22' }", "header name"),
        ("url = 'http://127.0.0.1/'\nheaders = { a = \"hunter22\\n\" }", "control"),
        ("url = 'http://127.0.0.1/'\nheaders = { a = { file = 'none' } }", "/nonexistent/none"),
        ("url = 'http://127.0.0.1/'\nsign = {}", "secret_file"),
        ("url = 'http://127.0.0.1/'\ncert_file = 'c'", "key_file"),
        ("url = 'http://127.0.0.1/'\nca_file = 'c'", "/nonexistent/c"),
        ("url = 'http://127.0.0.1/'\ntimeout = '0s'", "timeout"),
    ] {
        let error = build(config).map(drop).unwrap_err();
        assert!(error.contains(said) && !error.contains("hunter22"), "{config}: {error}");
    }
    assert!(build("url = 'http://127.0.0.1/'\nmethod = 'PUT'").is_err(), "an unknown member");
}

fn of(body: Body, batch: &[Message]) -> String {
    String::from_utf8(body.of(&body.pack().packed(batch.to_vec())).concat()).unwrap()
}

/// Its seq is the one that it vouches for: a receiver that knows `2-2` would not look at it.
#[test]
fn a_checkpoints_id_is_no_records() {
    let checkpoint = |seq| Message { kind: Kind::Checkpoint, ..message(seq) };
    for body in [Body::Lines, Body::Array] {
        assert_eq!(body.id(&[message(2)]), "2-2");
        assert_eq!(body.id(&[checkpoint(2)]), "checkpoint-2-2");
        assert_eq!(body.id(&[checkpoint(2), checkpoint(9)]), "checkpoint-2-9");
    }
    assert_eq!(Body::Single.id(&[checkpoint(2)]), "k2");
}

#[test]
fn bodies_and_ids_are_as_told() {
    let batch = [message(7), message(8), message(9)];
    assert_eq!(of(Body::Single, &batch[..1]), "{\"n\":7}");
    assert_eq!(of(Body::Array, &batch), "[{\"n\":7},{\"n\":8},{\"n\":9}]");
    assert_eq!(of(Body::Array, &batch[..1]), "[{\"n\":7}]");
    assert_eq!(of(Body::Lines, &batch), "{\"n\":7}\n{\"n\":8}\n{\"n\":9}\n");
    let line = Message { body: "CEF:0|a \"b\"".into(), media_type: "text/plain; charset=utf-8", ..message(7) };
    assert_eq!(of(Body::Array, &[line.clone(), message(8)]), "[\"CEF:0|a \\\"b\\\"\",{\"n\":8}]");
    assert_eq!(of(Body::Lines, &[line]), "CEF:0|a \"b\"\n");
    assert_eq!(Body::Single.id(&batch[..1]), "k7");
    assert_eq!(Body::Lines.id(&batch), "7-9");
    assert_eq!(Body::Array.id(&batch[..1]), "7-7");
}
