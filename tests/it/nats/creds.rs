//! `creds_file`: a user's JWT and seed, as an operator hands them out, against a real server that knows its operator.
//!
//! Keys and JWTs as <https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt> and the NATS JWT
//! library, version 2, have them: what the operator signs is an account, what the account signs is a user.

use std::fs;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use nkeys::KeyPair;
use refresh_audit::sink::{Sink as _, SinkError};
use serde_json::{Value, json};

use super::{sink, small};
use crate::servers::nats::Nats;

/// `claims` of `subject`, signed.
fn jwt(signer: &KeyPair, subject: &KeyPair, name: &str, expires: Option<u64>, claims: Value) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut all = json!({
        // 2026-11-22T00:00:00Z, `date -d … +%s`.
        "jti": name, "iat": 1_795_305_600, "iss": signer.public_key(), "name": name, "sub": subject.public_key(), "nats": claims,
    });
    if let Some(expires) = expires {
        all["exp"] = expires.into();
    }
    let text = format!("{}.{}", encode(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(all));
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signer.sign(text.as_bytes()).unwrap()))
}

/// All that a server gives; the system's account may have no stream.
fn account(operator: &KeyPair, account: &KeyPair, streams: bool) -> String {
    let all = -1;
    let mut limits = json!({
        "subs": all, "data": all, "payload": all, "imports": all, "exports": all, "wildcards": true, "conn": all, "leaf": all,
    });
    for limit in ["mem_storage", "disk_storage", "streams", "consumer"].into_iter().filter(|_| streams) {
        limits[limit] = all.into();
    }
    jwt(operator, account, "account", None, json!({ "limits": limits, "type": "account", "version": 2 }))
}

/// The file that `nsc generate creds` writes.
fn creds(jwt: &str, seed: &KeyPair) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        seed.seed().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn creds_let_in_whom_the_operators_account_knows() {
    let (operator, ours, other) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let system = KeyPair::new_account();
    let config = format!(
        "operator: \"{}\"\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: \"{}\", {}: \"{}\" }}",
        jwt(&operator, &operator, "operator", None, json!({ "type": "operator", "version": 2 })),
        system.public_key(),
        ours.public_key(),
        account(&operator, &ours, true),
        system.public_key(),
        account(&operator, &system, false),
    );
    let Some(nats) = Nats::start("nats-server", &config) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let claims = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let mut reader = claims.clone();
    reader["pub"] = json!({ "deny": ["audit.>"] });
    let good = creds(&jwt(&ours, &user, "user", None, claims.clone()), &user);
    let deliver = async |creds: &str, seq: u64| {
        fs::write(dir.path().join("creds"), creds).unwrap();
        let members = format!("servers = ['nats://{}']\ncreds_file = 'creds'\ncreate = true", nats.address);
        sink(dir.path(), &members).deliver(&[small(seq)]).await
    };
    deliver(&good, 1).await.unwrap();
    for (what, creds) in [
        ("another user's seed", creds(&jwt(&ours, &user, "user", None, claims.clone()), &stranger)),
        ("an account that nobody knows", creds(&jwt(&other, &user, "user", None, claims.clone()), &user)),
        ("a user that is over", creds(&jwt(&ours, &user, "user", Some(1_795_305_601), claims.clone()), &user)),
        ("no permission", creds(&jwt(&ours, &user, "user", None, reader), &user)),
    ] {
        let error = deliver(&creds, 2).await.unwrap_err();
        let (SinkError::Retry { fault, .. } | SinkError::Partly { fault, .. }) = &error else {
            panic!("{what}: {error:?}")
        };
        assert!(fault, "{what}: {error:?}");
        let secrets = [user.seed().unwrap(), stranger.seed().unwrap()];
        assert!(!secrets.iter().any(|seed| error.to_string().contains(seed)), "{what}: {error}");
    }
    // Without any: nothing either.
    let none = sink(dir.path(), &format!("servers = ['nats://{}']", nats.address)).deliver(&[small(2)]).await;
    assert!(matches!(none, Err(SinkError::Retry { fault: true, .. })), "{none:?}");
    let ack = deliver(&good, 3).await.unwrap();
    assert_eq!(ack.records, [(3, "2".to_owned())], "the stream holds what was let in, and nothing else");
}
