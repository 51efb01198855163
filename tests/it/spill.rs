//! Proof: what detection holds on disk instead of in memory changes nothing of what it finds, after kill -9 and on a disk
//! that fails. Judged again by somebody with room for everything, the journal says the same.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use refresh_audit::detect::{key::key, state::shards::shard_of};

use crate::support::{
    app::{Settings, TestApp},
    event::{Event, Signer},
    eventually,
    http::Client,
    seed,
    session::{From, Session, record_of, records, rules},
    shim::{EIO, Fault, SYNC, Shim, WRITE},
};

/// One session and one user for each of 4,096 parts of the table.
const TINY: &str = "[detect]\nsessions_max = 1\nusers_max = 1\n";
const SESSIONS: usize = 40;
const ROUNDS: u32 = 12;

/// Numbers whose keys are in the way of each other: in 8 of the 4,096 parts.
fn crowded(key_of: impl Fn(u32) -> u64) -> impl Iterator<Item = u32> {
    (1..).filter(move |number| shard_of(key_of(*number)) < 8)
}

/// Sessions of half as many users.
fn crowd() -> Vec<Session> {
    let tenant = key(&["t", "tenant-fixture"]).to_string();
    let sessions = crowded(|number| key(&["s", &tenant, &format!("session-{number}")])).take(SESSIONS);
    let users = crowded(|number| key(&["u", "tenant-fixture", &format!("user-{number}")]));
    let users: Vec<u32> = users.take(SESSIONS / 2).flat_map(|user| [user, user]).collect();
    sessions.zip(users).map(|(number, user)| Session { user, ..Session::new(number) }).collect()
}

/// One refresh of each session; every seventh shows a token of long ago, abroad.
fn round(sessions: &[Session], round: u32) -> Vec<Event> {
    let event = |(number, session): (u32, &Session)| match (number + round) % 7 {
        0 => session.refresh((round / 2).max(1), 60 + round, From::Abroad),
        _ => session.refresh(round, round + 1, From::Home),
    };
    (0..).zip(sessions).map(event).collect()
}

/// Sends each until it is recorded or nobody answers; whether all are.
fn deliver(app: &TestApp, events: &[Event], signer: &Signer) -> bool {
    let recorded = |event: &Event| app.client().send(event, signer).is_ok_and(|verdict| verdict.is_recorded());
    events.iter().all(recorded)
}

/// What was found, by those who had room for little, is found by who has room for everything.
fn check(app: &TestApp) {
    app.verify();
    let records = records(app);
    let found = |rule: &str| records.iter().flat_map(rules).filter(|(found, _)| found == rule).count();
    assert!(found("RA101") > 0 && found("RA102") > 20, "{} and {}", found("RA101"), found("RA102"));
    assert!(records.iter().all(|record| record["evidence"]["cold"].is_null()));
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    assert!(config.contains(TINY));
    fs::write(app.path("roomy.toml"), config.replace(TINY, "")).unwrap();
    for config in ["config.toml", "roomy.toml"] {
        assert_eq!(otherwise(app, config), "", "by {config}");
    }
}

/// What is found otherwise by this configuration than it was then.
fn otherwise(app: &TestApp, config: &str) -> String {
    let output = app.run_with(config, &["backtest", "--journal"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kill_9_changes_nothing_of_what_is_found() {
    let mut rng = StdRng::seed_from_u64(seed("kill -9 with little room"));
    let (mut app, sessions) = (TestApp::start(Settings::new().and(TINY)), crowd());
    let (signer, listen) = (app.signer(), app.listen);
    for number in 1..=ROUNDS {
        let events = round(&sessions, number);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                for event in &events {
                    if Client::connect(listen).and_then(|mut client| client.send(event, &signer)).is_err() {
                        break;
                    }
                }
            });
            // The instant of the kill is what is random here; nothing is waited for.
            thread::sleep(Duration::from_micros(rng.random_range(1_000..100_000)));
            app.kill();
            sending.join().unwrap();
        });
        app.launch();
        assert!(deliver(&app, &events, &signer));
        if number % 4 == 0 {
            // A durable copy: the next ones begin with it.
            app.stop();
            app.launch();
        }
    }
    assert!(deliver(&app, &round(&sessions, ROUNDS + 1), &signer));
    let fetched = app.metric("refresh_audit_state_fetched_total", &[]).unwrap();
    assert!(fetched > 20.0, "{fetched}");
    check(&app);
}

#[test]
fn a_disk_that_fails_changes_nothing_of_what_is_found() {
    let mut rng = StdRng::seed_from_u64(seed("a failing disk with little room"));
    let (shim, sessions) = (Shim::build(), crowd());
    let app = TestApp::start(shim.under(Settings::new().and(TINY)));
    let signer = app.signer();
    for number in 1..=ROUNDS {
        let kinds = if number % 2 == 0 { WRITE } else { SYNC };
        shim.arm(Fault { kinds, nth: rng.random_range(1..20), times: 1, error: EIO, half: number % 4 == 0 });
        let events = round(&sessions, number);
        for event in &events {
            eventually("it is recorded in the end", || deliver(&app, std::slice::from_ref(event), &signer));
        }
        assert!(shim.fired() > 0, "round {number}");
        shim.disarm();
    }
    check(&app);
}

#[test]
fn a_disk_that_hangs_holds_up_nobody_whose_state_is_in_memory() {
    let mut rng = StdRng::seed_from_u64(seed("a hung disk with little room"));
    let (shim, sessions) = (Shim::build(), crowd());
    let mut app = TestApp::start(shim.under(Settings::new().and(TINY)));
    let (signer, listen) = (app.signer(), app.listen);
    assert!(deliver(&app, &round(&sessions, 1), &signer));
    // What was written is read from its file.
    app.stop();
    app.launch();
    let timed = |event: &Event| {
        let begun = Instant::now();
        let verdict = Client::connect(listen).unwrap().send(event, &signer).unwrap();
        assert!(verdict.is_recorded(), "{verdict:?}");
        begun.elapsed()
    };
    shim.hang_spilled(true);
    let cold = sessions[0].refresh(2, 3, From::Home);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| timed(&cold));
        let others: Vec<Duration> = (0..20).map(|_| timed(&Event::new(&mut rng))).collect();
        let waited = waiting.join().unwrap();
        assert!(waited >= Duration::from_millis(250), "{waited:?}");
        assert!(others.iter().max() < Some(&Duration::from_millis(150)), "{others:?}");
    });
    assert_eq!(record_of(&app, &cold)["evidence"]["cold"], true);
    shim.hang_spilled(false);
    // Those who waited in vain are known anew, the others as they were.
    assert!(deliver(&app, &round(&sessions, 3), &signer));
    assert_eq!(app.metric("refresh_audit_state_cold_total", &[]), Some(1.0));
    assert_eq!(otherwise(&app, "config.toml"), "");
}
