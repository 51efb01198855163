//! Published keys: when they are fetched, and what holds while they cannot be.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use refresh_audit::source::{RawRequest, Source, SourceError, fusionauth::Fusionauth};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::signatures::{HEADER, fixture, post, refused, signed, source, step};

const PUBLISHED: [&str; 8] = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"];

/// The published keys of those algorithms.
fn jwks(names: &[&str]) -> String {
    let keys = names.iter().flat_map(|name| {
        let set: Value = serde_json::from_slice(&fixture(&format!("{name}/jwks.json"))).unwrap();
        set["keys"].as_array().unwrap().clone()
    });
    json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An identity provider that answers what it is told, once it is let.
struct Provider {
    url: String,
    answers: Arc<Mutex<VecDeque<String>>>,
    asked: watch::Receiver<usize>,
    gate: Arc<Semaphore>,
    task: JoinHandle<()>,
}

impl Provider {
    /// Gives the answers in turn, the last one for ever.
    async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let (asks, asked) = watch::channel(0);
        let gate = Arc::new(Semaphore::new(1_000));
        let (queue, door) = (Arc::clone(&answers), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                asks.send_modify(|asked| *asked += 1);
                tokio::spawn(Self::answer(stream, Arc::clone(&queue), Arc::clone(&door)));
            }
        });
        Self { url, answers, asked, gate, task }
    }

    async fn answer(mut stream: TcpStream, queue: Arc<Mutex<VecDeque<String>>>, door: Arc<Semaphore>) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut request).await.unwrap();
            assert_ne!(read, 0, "the request ends early");
        }
        assert!(request.starts_with(b"GET /jwks.json HTTP/1.1\r\n"));
        door.acquire().await.unwrap().forget();
        let answer = {
            let mut queue = queue.lock().unwrap();
            if queue.len() > 1 { queue.pop_front().unwrap() } else { queue[0].clone() }
        };
        // The other side may hang up in the middle of a long answer.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    fn source(&self) -> Fusionauth {
        source(json!({"jwks_url": self.url})).unwrap()
    }

    fn says(&self, answer: String) {
        *self.answers.lock().unwrap() = VecDeque::from([answer]);
    }

    fn close_gate(&self) {
        let open = self.gate.available_permits();
        self.gate.try_acquire_many(u32::try_from(open).unwrap()).unwrap().forget();
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Returns when it has been asked that often.
    async fn asked_times(&self, times: usize) {
        self.asked.clone().wait_for(|asked| *asked >= times).await.unwrap();
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn post_signed(source: &Fusionauth, name: &str) -> Result<Value, SourceError> {
    let (header, body, _) = signed(name);
    post(source, &[(HEADER, &header)], &body).await
}

async fn step_of(source: &Fusionauth, name: &str) -> Option<&'static str> {
    let (header, body, _) = signed(name);
    step(source, &[(HEADER, &header)], &body).await
}

fn assert_unavailable(result: Result<Value, SourceError>, part: &str) {
    match result {
        Err(SourceError::Unavailable { reason, retry_after }) => {
            assert!(reason.contains(part), "{reason}");
            assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(5), "{retry_after:?}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was believed"),
    }
}

#[tokio::test]
async fn every_published_algorithm_verifies_after_one_fetch() {
    let provider = Provider::start([ok(&jwks(&PUBLISHED))]).await;
    let source = provider.source();
    for name in PUBLISHED {
        assert_eq!(post_signed(&source, name).await.unwrap(), signed(name).2, "{name}");
        let (bare, body) = (fixture(&format!("{name}/header-no-kid.txt")), signed(name).1);
        assert!(post(&source, &[(HEADER, bare.trim_ascii())], &body).await.is_ok(), "{name} without kid");
    }
    assert_eq!(provider.asked(), 1);
    assert_eq!(source.standing(), Some(Ok(())));
}

#[tokio::test]
async fn a_new_key_is_fetched_when_it_is_first_used() {
    let provider = Provider::start([ok(&jwks(&["RS256"])), ok(&jwks(&["RS256", "ES256"]))]).await;
    let source = provider.source();
    assert!(post_signed(&source, "RS256").await.is_ok());
    assert!(post_signed(&source, "ES256").await.is_ok());
    assert!(post_signed(&source, "RS256").await.is_ok());
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn an_unknown_key_is_refused_only_after_a_fresh_fetch_and_fetches_are_few() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let source = provider.source();
    for fetches in 1..=3 {
        assert_eq!(step_of(&source, "ES256").await, Some("signature"));
        assert_eq!(provider.asked(), fetches);
    }
    // The burst is used up: now it is unknown whether the key is new.
    assert_unavailable(post_signed(&source, "ES256").await, "too often");
    assert_eq!(provider.asked(), 3);
    assert!(post_signed(&source, "RS256").await.is_ok());
}

#[tokio::test]
async fn a_known_key_that_did_not_sign_is_refused_without_a_fetch() {
    let provider = Provider::start([ok(&jwks(&["RS256", "ES256"]))]).await;
    let source = provider.source();
    assert!(post_signed(&source, "RS256").await.is_ok());
    let table = refused();
    for name in ["RS256: wrong key", "ES256: altered claim"] {
        let case = table["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
        let header = case["headers"][0].as_str().unwrap();
        let body = case.get("body").unwrap_or(&table["body"]).as_str().unwrap();
        assert_eq!(step(&source, &[(HEADER, header.as_bytes())], body.as_bytes()).await, Some("signature"));
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_users_access_token_is_no_signature_though_its_key_is_published() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let table = refused();
    let case = table["cases"].as_array().unwrap().iter().find(|case| case["name"] == "a user's access token").unwrap();
    let (header, body) = (case["headers"][0].as_str().unwrap(), table["body"].as_str().unwrap());
    let found = step(&provider.source(), &[(HEADER, header.as_bytes())], body.as_bytes()).await;
    assert_eq!(found, Some("claims"));
}

#[tokio::test]
async fn when_it_cannot_be_reached_known_keys_hold_and_unknown_ones_are_unknown() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let source = provider.source();
    assert!(post_signed(&source, "RS256").await.is_ok());
    provider.stop().await;
    assert_unavailable(post_signed(&source, "ES256").await, "cannot fetch");
    assert!(post_signed(&source, "RS256").await.is_ok());
    assert_eq!(source.standing(), Some(Ok(())), "the keys are fresh");
}

#[tokio::test]
async fn an_answer_that_is_no_jwks_changes_nothing() {
    let huge = format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(1 << 20));
    for (answer, part) in [
        ("HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(), "302"),
        ("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(), "500"),
        (ok("<html>"), "no JWKS"),
        (ok(r#"{"keys":{}}"#), "no JWKS"),
        (ok(&huge), "1 MiB"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(), "cannot fetch"),
    ] {
        let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
        let source = provider.source();
        assert!(post_signed(&source, "RS256").await.is_ok());
        provider.says(answer);
        assert_unavailable(post_signed(&source, "ES256").await, part);
        assert!(post_signed(&source, "RS256").await.is_ok(), "{part}");
        assert_eq!(provider.asked(), 2, "{part}");
    }
}

#[tokio::test]
async fn requests_share_one_fetch() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let source = Arc::new(provider.source());
    provider.close_gate();
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { post_signed(&source, "RS256").await.is_ok() })
        })
        .collect();
    provider.asked_times(1).await;
    provider.gate.add_permits(1_000);
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_waiter_that_gives_up_does_not_end_the_fetch() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let source = provider.source();
    provider.close_gate();
    let (header, body, _) = signed("RS256");
    let arrived = Instant::now();
    let request = RawRequest {
        headers: &[(HEADER, &header)],
        body: &body,
        id: "",
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        arrived,
        deadline: arrived + Duration::from_millis(30),
    };
    let given_up = source.authenticate(&request).await.map(|_| json!(null));
    assert_unavailable(given_up, "not answered in time");
    provider.asked_times(1).await;
    provider.gate.add_permits(1_000);
    assert!(post_signed(&source, "RS256").await.is_ok());
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_fetch_begun_before_the_request_arrived_does_not_refuse_it() {
    let provider = Provider::start([ok(&jwks(&["RS256"])), ok(&jwks(&["RS256", "ES384"]))]).await;
    let source = Arc::new(provider.source());
    provider.close_gate();
    let early = Arc::clone(&source);
    let early = tokio::spawn(async move { step_of(&early, "ES256").await });
    provider.asked_times(1).await;
    let late = Arc::clone(&source);
    let late = tokio::spawn(async move { post_signed(&late, "ES384").await.is_ok() });
    // The late one has begun to wait before the first answer goes out.
    tokio::task::yield_now().await;
    provider.gate.add_permits(1);
    assert_eq!(early.await.unwrap(), Some("signature"));
    provider.asked_times(2).await;
    provider.gate.add_permits(1);
    assert!(late.await.unwrap());
}

#[tokio::test]
async fn a_published_secret_is_never_an_hmac_key() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let secret = URL_SAFE_NO_PAD.encode(fixture("HS256/secret.txt").trim_ascii());
    let published = json!({"keys": [{"kty": "oct", "k": secret, "alg": "HS256", "kid": "fixture-hs256"}]});
    let provider = Provider::start([ok(&published.to_string())]).await;
    let source = provider.source();
    assert_eq!(step_of(&source, "HS256").await, Some("signature"));
    assert_eq!(provider.asked(), 0, "an HMAC signature is not worth a fetch");
    assert_unavailable(source.connect().await.map(|()| json!(null)), "no signature key");
}

#[tokio::test]
async fn only_pinned_keys_are_taken() {
    let provider = Provider::start([ok(&jwks(&["RS256", "ES256"]))]).await;
    let source = source(json!({"jwks_url": provider.url, "allowed_kids": ["fixture-es256"]})).unwrap();
    assert_eq!(step_of(&source, "RS256").await, Some("signature"));
    assert_eq!(provider.asked(), 0);
    assert!(post_signed(&source, "ES256").await.is_ok());
    let (bare, body) = (fixture("RS256/header-no-kid.txt"), signed("RS256").1);
    assert_eq!(step(&source, &[(HEADER, bare.trim_ascii())], &body).await, Some("signature"));
}

#[tokio::test]
async fn configured_and_published_keys_go_together() {
    let provider = Provider::start([ok(&jwks(&["RS256"]))]).await;
    let keys = json!([{"alg": "HS256", "secret_file": "HS256/secret.txt"}]);
    let source = source(json!({"jwks_url": provider.url, "keys": keys})).unwrap();
    assert!(post_signed(&source, "HS256").await.is_ok());
    assert_eq!(provider.asked(), 0);
    assert!(post_signed(&source, "RS256").await.is_ok());
    assert_eq!(step_of(&source, "HS384").await, Some("signature"));
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn connecting_says_what_is_wrong_before_the_first_event() {
    let provider = Provider::start([ok(&jwks(&["RS256"])), ok(r#"{"keys":[]}"#)]).await;
    let fine = provider.source();
    fine.connect().await.unwrap();
    assert!(post_signed(&fine, "RS256").await.is_ok());
    assert_eq!(provider.asked(), 1);
    assert_unavailable(provider.source().connect().await.map(|()| json!(null)), "no signature key");
    let (unreachable, url) = (provider.source(), provider.url.clone());
    provider.stop().await;
    assert_unavailable(unreachable.connect().await.map(|()| json!(null)), "cannot fetch");
    assert!(unreachable.standing().unwrap().unwrap_err().contains(&url));
}
