//! Who is believed: signatures made by another implementation, and every request that must be refused.
//!
//! `fixtures/fusionauth/make_signatures.py` made keys, headers and bodies. A new refusal is a row there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use refresh_audit::source::{
    RawRequest, Source, SourceError,
    fusionauth::{Config, Fusionauth},
};
use serde_json::{Value, json};

pub const HEADER: &str = "x-fusionauth-signature-jwt";

/// The folder of the signatures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fusionauth/signatures")
}

/// One file of it.
pub fn fixture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The refusals' table.
pub fn refused() -> Value {
    serde_json::from_slice(&fixture("refused.json")).unwrap()
}

pub fn source(config: Value) -> Result<Fusionauth, String> {
    let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
    config.build(&fixtures(), &[]).map_err(|error| error.to_string())
}

/// Posts a body with headers; the evidence, or why not.
pub async fn post(source: &Fusionauth, headers: &[(&str, &[u8])], body: &[u8]) -> Result<Value, SourceError> {
    let arrived = Instant::now();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let request = RawRequest { headers, body, id: "", peer, arrived, deadline: arrived + Duration::from_secs(10) };
    source.authenticate(&request).await.map(|authentic| serde_json::to_value(authentic.evidence()).unwrap())
}

/// The step that refused; `None` if none did.
pub async fn step(source: &Fusionauth, headers: &[(&str, &[u8])], body: &[u8]) -> Option<&'static str> {
    match post(source, headers, body).await {
        Ok(_) => None,
        Err(SourceError::Unauthenticated { step, fix }) => {
            assert!(!fix.is_empty(), "{step} says nothing of what to do");
            Some(step)
        }
        Err(other) => panic!("{other}"),
    }
}

/// Header value, body and expected evidence of one algorithm.
pub fn signed(name: &str) -> (Vec<u8>, Vec<u8>, Value) {
    let evidence = serde_json::from_slice(&fixture(&format!("{name}/evidence.json"))).unwrap();
    (fixture(&format!("{name}/header.txt")).trim_ascii().to_vec(), fixture(&format!("{name}/body.json")), evidence)
}

/// Every way to name the key of that algorithm in a configuration.
fn entries(name: &str, kid: &Value) -> Vec<Value> {
    let alg = name;
    let files = match name {
        "HS256" | "HS384" | "HS512" => vec![json!({"alg": alg, "secret_file": format!("{name}/secret.txt")})],
        "RS256" | "RS384" | "RS512" => vec![
            json!({"alg": alg, "pem_file": format!("{name}/public.pem")}),
            json!({"alg": alg, "pem_file": format!("{name}/public-pkcs1.pem")}),
        ],
        "Ed25519" | "EdDSA" => {
            ["Ed25519", "EdDSA"].map(|alg| json!({"alg": alg, "pem_file": format!("{name}/public.pem")})).to_vec()
        }
        _ => vec![json!({"alg": alg, "pem_file": format!("{name}/public.pem")})],
    };
    let with_kid = files.iter().map(|entry| {
        let mut entry = entry.clone();
        entry["kid"] = kid.clone();
        entry
    });
    files.iter().cloned().chain(with_kid).collect()
}

const NAMES: [&str; 11] =
    ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"];

#[tokio::test]
async fn every_algorithm_as_another_implementation_signs_it() {
    for name in NAMES {
        let (header, body, evidence) = signed(name);
        for entry in entries(name, &evidence["key_id"]) {
            let source = source(json!({"keys": [entry]})).unwrap();
            let found = post(&source, &[(HEADER, &header)], &body).await.unwrap_or_else(|e| panic!("{entry}: {e}"));
            assert_eq!(found, evidence, "{entry}");
            // Without a key id every key of the algorithm is tried, whatever its own is.
            let bare = fixture(&format!("{name}/header-no-kid.txt"));
            let found = post(&source, &[(HEADER, bare.trim_ascii())], &body).await.unwrap();
            assert_eq!(found.get("key_id"), None, "{entry}");
        }
    }
}

#[tokio::test]
async fn several_keys_at_once_verify_what_any_of_them_signed() {
    let keys: Vec<_> = NAMES.iter().flat_map(|name| entries(name, &json!(format!("fixture-{name}")))).collect();
    let source = source(json!({"keys": keys})).unwrap();
    for name in NAMES {
        let (header, body, evidence) = signed(name);
        assert_eq!(post(&source, &[(HEADER, &header)], &body).await.unwrap(), evidence, "{name}");
    }
}

#[tokio::test]
async fn what_must_be_refused_is_refused_at_the_right_step() {
    let table = refused();
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 60);
    for case in cases {
        let source = source(case["config"].clone()).unwrap();
        let values: Vec<_> = case["headers"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        let headers: Vec<_> = values.iter().map(|value| (HEADER, value.as_bytes())).collect();
        let body = case.get("body").unwrap_or(&table["body"]).as_str().unwrap();
        let found = step(&source, &headers, body.as_bytes()).await;
        assert_eq!(found, case["step"].as_str(), "{}", case["name"]);
    }
}

#[tokio::test]
async fn every_changed_byte_is_refused() {
    for name in ["HS256", "ES256", "Ed25519"] {
        let (header, body, evidence) = signed(name);
        let source = source(json!({"keys": [entries(name, &evidence["key_id"])[0]]})).unwrap();
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(step(&source, &[(HEADER, &changed)], &body).await.is_some(), "{name}: header byte {at}");
        }
        for at in (0..body.len()).step_by(37) {
            let mut changed = body.clone();
            changed[at] ^= 1;
            assert_eq!(step(&source, &[(HEADER, &header)], &changed).await, Some("body hash"), "{name}: byte {at}");
        }
    }
}

#[tokio::test]
async fn other_credentials_hold_beside_a_signature_or_instead_of_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("value"), "fixture-only-header-value\n").unwrap();
    let file = folder.path().join("value");
    let (header, body, _) = signed("HS256");
    let mut config = json!({
        "keys": [{"alg": "HS256", "secret_file": "HS256/secret.txt"}],
        "basic_auth": {"username": "fusionauth", "password_file": file},
        "headers": {"X-Api-Key": {"file": file}},
        "allow_from": ["127.0.0.1"],
    });
    let signature: (&str, &[u8]) = (HEADER, &header);
    // printf fusionauth:fixture-only-header-value | base64
    let basic: (&str, &[u8]) = ("authorization", b"Basic ZnVzaW9uYXV0aDpmaXh0dXJlLW9ubHktaGVhZGVyLXZhbHVl");
    let key: (&str, &[u8]) = ("x-api-key", b"fixture-only-header-value");
    let both = source(config.clone()).unwrap();
    assert_eq!(step(&both, &[signature, basic, key], &body).await, None);
    assert_eq!(step(&both, &[basic, key], &body).await, Some("signature header"));
    assert_eq!(step(&both, &[signature, basic], &body).await, Some("header"));
    assert_eq!(step(&both, &[signature, key], &body).await, Some("basic auth"));
    config["allow_from"] = json!(["192.0.2.0/24"]);
    assert_eq!(step(&source(config.clone()).unwrap(), &[signature, basic, key], &body).await, Some("address"));
    config["allow_from"] = json!([]);
    config["keys"] = json!([]);
    config["unsigned"] = json!(true);
    let unsigned = source(config).unwrap();
    let evidence = post(&unsigned, &[basic, key], b"{}").await.unwrap();
    // printf {} | sha256sum
    let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(evidence, json!({"channel": "webhook", "authenticity": "shared_secret", "body_sha256": hash}));
    assert_eq!(step(&unsigned, &[signature], &body).await, Some("basic auth"));
}

#[test]
fn a_configuration_that_cannot_work_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        json!(path)
    };
    let private = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let (private, short) = (file("private.pem", private.as_bytes()), file("short", b"fifteen bytes.."));
    let two = file("two.pem", &[fixture("ES256/public.pem"), fixture("ES384/public.pem")].concat());
    let cut = file("cut.pem", fixture("ES256/public.pem").split_at(90).0);
    let hs = json!({"alg": "HS256", "secret_file": "HS256/secret.txt"});
    let key = |entry: Value| json!({"keys": [entry]});
    let pem = |alg: &str, file: &Value| key(json!({"alg": alg, "pem_file": file}));
    for (config, part) in [
        (json!({}), "nothing to check signatures with"),
        (json!({"unsigned": true}), "needs basic_auth or headers"),
        (json!({"unsigned": true, "keys": [hs]}), "exclude each other"),
        (json!({"keys": [hs], "allowed_kids": ["a"]}), "for jwks_url"),
        (json!({"keys": [hs], "events": []}), "at least one event type"),
        (json!({"keys": [hs], "colour": "red"}), "unknown field `colour`"),
        (json!({"keys": [hs], "keep": ["refreshToken"]}), "names a secret"),
        (json!({"keys": [hs], "keep": ["info.data.token"]}), "names a secret"),
        (json!({"keys": [hs], "keep": ["event.info"]}), "must start below event"),
        (json!({"keys": [hs], "keep": ["info..data"]}), "not a dotted path"),
        (json!({"keys": [hs], "allow_from": ["10.0.0.0/40"]}), "is no network"),
        (json!({"jwks_url": "http://auth.example.com/jwks"}), "https://"),
        (key(json!({"alg": "none"})), "not a signature algorithm"),
        (key(json!({"alg": "PS256", "pem_file": "RS256/public.pem"})), "use one of HS256, "),
        (key(json!({"alg": "HS256"})), "needs one of secret_file and secret_env"),
        (key(json!({"alg": "HS256", "pem_file": "RS256/public.pem"})), "needs one of secret_file and secret_env"),
        (key(json!({"alg": "HS256", "secret_file": "HS256/secret.txt", "secret_env": "A"})), "needs one of"),
        (key(json!({"alg": "HS256", "secret_file": "none.txt"})), "refresh-audit keygen hmac"),
        (key(json!({"alg": "HS256", "secret_env": "REFRESH_AUDIT_TEST_UNSET"})), "is not set"),
        (key(json!({"alg": "HS256", "secret_file": short})), "15 bytes, fewer than 16"),
        (key(json!({"alg": "HS256", "secret_file": "HS256/header.txt", "encoding": "base64"})), "is not base64"),
        (key(json!({"alg": "RS256", "secret_file": "HS256/secret.txt"})), "needs pem_file"),
        (key(json!({"alg": "RS256", "pem_file": "RS256/public.pem", "encoding": "utf8"})), "encoding is for secrets"),
        (pem("RS256", &json!("rsa-1024.pem")), "2048"),
        (pem("RS256", &json!("ES256/public.pem")), "RS256 needs an RSA key, but this is an EC key on P-256"),
        (pem("ES256", &json!("ES384/public.pem")), "write alg = one of ES384"),
        (pem("ES512", &json!("Ed25519/public.pem")), "this is an Ed25519 key"),
        (pem("Ed25519", &json!("RS256/public-pkcs1.pem")), "this is an RSA key"),
        (pem("RS256", &json!("HS256/secret.txt")), "no PEM public key"),
        (pem("ES256", &private), "private key"),
        (pem("ES256", &two), "more than one key"),
        (pem("ES256", &cut), "cut short"),
    ] {
        let error = source(config.clone()).err().unwrap_or_else(|| panic!("{config} was taken"));
        assert!(error.contains(part), "{config}: {error}");
        assert!(!error.contains("fixture-only"), "{config}: {error}");
    }
}
