//! Any body: never a panic, and nothing stored that holds a token of it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use refresh_audit::{
    secret::{Fingerprinter, Secret},
    source::{
        Authentic, Decoded, Source,
        fusionauth::{Config, Fusionauth},
    },
};
use serde_json::{Value, json};

static SOURCE: LazyLock<Fusionauth> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("key"), "fixture-key-not-a-secret-0123456789abcdefgh").expect("a file");
    let keys = json!([{"alg": "HS256", "secret_file": "key"}]);
    let config: Config =
        serde_json::from_value(json!({"keys": keys, "keep": ["info.data.a"]})).expect("a configuration");
    config.build(dir.path(), &[]).unwrap_or_else(|error| panic!("{error}"))
});
static FINGERPRINTS: LazyLock<Fingerprinter> = LazyLock::new(|| Fingerprinter::new(&[Secret::new(vec![7; 32])]));

fuzz_target!(|body: &[u8]| {
    let Ok(decoded) = SOURCE.decode(&Authentic::imported(body), &FINGERPRINTS) else { return };
    for decoded in decoded {
        let Decoded::Event(event) = decoded else { continue };
        let stored = serde_json::to_string(&event).expect("an event is JSON");
        // Bytes that are no UTF-8 are taken as U+FFFD. What is taken beyond that (halves of pairs, numbers past all bounds in
        // members that are skipped) cannot be read here.
        let Ok(sent) = serde_json::from_str::<Value>(&String::from_utf8_lossy(body)) else { continue };
        for token in ["original", "token", "refreshToken"] {
            // Short ones are inside of anything.
            if let Some(token) = sent["event"][token].as_str().filter(|token| token.len() >= 16) {
                let text = serde_json::to_string(token).expect("a string is JSON");
                assert!(!stored.contains(text.trim_matches('"')), "a token is stored");
            }
        }
    }
});
