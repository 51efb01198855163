//! Any signature header over a fixed body: never a panic, and never believed. (Nobody guesses an HMAC.)
#![no_main]

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use refresh_audit::source::{
    RawRequest, Source,
    fusionauth::{Config, Fusionauth},
};
use serde_json::json;

static SOURCE: LazyLock<Fusionauth> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("key"), "fixture-key-not-a-secret-0123456789abcdefgh").expect("a file");
    let keys = json!([{"alg": "HS256", "secret_file": "key"}]);
    let config: Config = serde_json::from_value(json!({"keys": keys})).expect("a configuration");
    config.build(dir.path(), &[]).unwrap_or_else(|error| panic!("{error}"))
});

fuzz_target!(|header: &[u8]| {
    let arrived = Instant::now();
    let request = RawRequest {
        headers: &[("x-fusionauth-signature-jwt", header)],
        body: b"{}",
        id: "",
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        arrived,
        deadline: arrived + Duration::from_secs(10),
    };
    // Without a JWKS nothing is waited for.
    match pin!(SOURCE.authenticate(&request)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => assert!(result.is_err(), "a made-up signature is believed"),
        Poll::Pending => panic!("it waits for something"),
    }
});
