//! The frame around real servers: each starts, answers, stops at a signal, comes back where it was, and keeps what it says
//! it keeps.

use crate::{
    servers::{
        ANSWER_TIME, accepts, http,
        nats::Nats,
        osmem::Osmem,
        stunnel::{Files, Stunnel},
        tansu::Tansu,
    },
    support::certs::Authority,
};

#[test]
fn a_server_comes_back_where_it_was() {
    for program in ["nats-server", "nats-server-old"] {
        let Some(mut nats) = Nats::start(program, "") else { return };
        nats.server.kill();
        assert!(!accepts(nats.address));
        nats.server.restart();
        nats.server.reload();
        assert!(accepts(nats.address), "{}", nats.server.log());
    }
}

#[test]
fn a_frozen_server_says_nothing() {
    let Some(osmem) = Osmem::start() else { return };
    let ask = || http(osmem.address, ANSWER_TIME, "GET", "/", "").map(|(status, _)| status);
    osmem.server.freeze();
    assert_eq!(ask(), None);
    osmem.server.thaw();
    assert_eq!(ask(), Some(200));
}

#[test]
fn what_is_asked_for_is_what_is_there() {
    let Some(osmem) = Osmem::start() else { return };
    osmem.ask("PUT", "/i/_create/one", r#"{"n":1}"#);
    assert_eq!(osmem.documents("i"), [("one".to_owned(), serde_json::json!({"n": 1}))]);
}

#[test]
fn a_dropped_server_is_gone() {
    let Some(tansu) = Tansu::start() else { return };
    tansu.create_topic("t", 3);
    let address = tansu.address;
    assert!(accepts(address), "{}", tansu.server.log());
    drop(tansu);
    assert!(!accepts(address));
}

#[test]
fn tls_in_front_of_a_server_asks_for_a_certificate() {
    let Some(osmem) = Osmem::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    authority.issue("server");
    authority.issue_for("elsewhere", &["elsewhere.invalid"]);
    let files = Files::new(dir.path(), "server").only_of(authority.cert.clone());
    let Some(stunnel) = Stunnel::before(osmem.address, &files) else { return };
    // In the clear there is no answer; with TLS: see the sinks' tests.
    assert_eq!(http(stunnel.address, ANSWER_TIME, "GET", "/", ""), None, "{}", stunnel.server.log());
}
