//! Alarms that outlive a restart, and what ends them: what they were about is mended, or is not there any more.

use std::{
    fs,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    signatures::signed,
    support::{
        app::{Settings, TestApp, free_port},
        event::Event,
        eventually, seed,
    },
};

fn raised(app: &TestApp, name: &str) -> bool {
    app.metric("refresh_audit_alarm", &[("name", name)]).unwrap_or_default() > 0.0
}

fn post(app: &TestApp, rng: &mut StdRng) {
    assert!(app.client().send(&Event::new(rng), &app.signer()).unwrap().is_recorded());
}

#[test]
fn an_alarm_about_what_is_configured_no_more_ends() {
    let mut rng = StdRng::seed_from_u64(seed("standing"));
    // A path below a file: nothing that the service can mend.
    let broken = "[[sinks]]\nname = \"gone\"\ntype = \"file\"\npath = \"hook.key/x\"\n";
    let mut app =
        TestApp::start(Settings { source: "quiet_after = \"1s\"\n".to_owned(), ..Settings::new().and(broken) });
    post(&app, &mut rng);
    eventually("both alarms", || raised(&app, "sink_stuck") && raised(&app, "source_silent"));
    app.stop();
    let config = fs::read_to_string(app.path("config.toml")).unwrap();
    let config = config.replace(broken, "").replace("quiet_after = \"1s\"", "");
    fs::write(app.path("config.toml"), config.replace("name = \"fusionauth\"", "name = \"other\"")).unwrap();
    app.launch();
    assert!(!raised(&app, "sink_stuck") && !raised(&app, "source_silent"), "{}", app.log());
    app.stop();
    for name in ["sink_stuck", "source_silent"] {
        assert!(app.journal().has_alarm(name, "cleared"), "{name}");
    }
}

#[test]
fn a_new_fingerprint_key_is_no_trouble_once_the_old_one_is_back_or_named() {
    let mut rng = StdRng::seed_from_u64(seed("standing-key"));
    for named in [false, true] {
        let mut app = TestApp::start(Settings::new());
        post(&app, &mut rng);
        app.stop();
        let key = app.data().join("fingerprint.key");
        let old = app.path("old.key");
        fs::rename(&key, &old).unwrap();
        for start in ["with a new key", "with the same new key"] {
            app.launch();
            assert!(raised(&app, "fingerprint_key_new"), "{start}");
            app.stop();
        }
        if named {
            let config = fs::read_to_string(app.path("config.toml")).unwrap();
            let config = format!("{config}\n[fingerprint]\nprevious_key_files = [\"old.key\"]\n");
            fs::write(app.path("config.toml"), config).unwrap();
        } else {
            fs::copy(&old, &key).unwrap();
        }
        app.launch();
        assert!(!raised(&app, "fingerprint_key_new"), "named: {named}");
        app.stop();
        assert!(app.journal().has_alarm("fingerprint_key_new", "cleared"), "named: {named}");
    }
}

#[test]
fn keys_that_a_failed_start_made_are_told_of_by_the_next() {
    let mut rng = StdRng::seed_from_u64(seed("standing-made"));
    let mut app = TestApp::start(Settings::new());
    post(&app, &mut rng);
    app.stop();
    for key in ["fingerprint.key", "checkpoint.key"] {
        fs::remove_file(app.data().join(key)).unwrap();
    }
    let taken = TcpListener::bind(app.listen).unwrap();
    app.spawn();
    assert!(!app.wait().success() && app.data().join("checkpoint.key").exists());
    drop(taken);
    app.launch();
    assert!(raised(&app, "fingerprint_key_new") && raised(&app, "damage_found"), "{}", app.log());
    app.stop();
    // The key that is there at this start is not called new once more.
    app.launch();
    assert!(!raised(&app, "damage_found"), "{}", app.log());
}

#[test]
fn keys_that_were_never_had_are_no_fresher_after_a_restart() {
    let unreachable = format!("jwks_url = \"http://{}/jwks\"\n", free_port());
    let mut app = TestApp::start(Settings { source: unreachable, ..Settings::new() });
    let (header, body, _) = signed("RS256");
    assert_eq!(app.client().post(&body, str::from_utf8(&header).unwrap()).unwrap().status, 503);
    eventually("the alarm", || raised(&app, "jwks_stale"));
    app.stop();
    app.launch();
    // Sources are looked at every second; nothing was heard, so the age is the time since the start.
    eventually("the source was looked at", || {
        app.metric("refresh_audit_last_event_age_seconds", &[("source", "fusionauth")]).unwrap_or_default() > 1.0
    });
    assert!(raised(&app, "jwks_stale"), "{}", app.log());
}

#[test]
fn a_source_that_is_silent_over_many_short_runs_is_told_of() {
    let mut rng = StdRng::seed_from_u64(seed("standing-silent"));
    let source = "quiet_after = \"8s\"\n".to_owned();
    let mut app = TestApp::start(Settings { source, ..Settings::new() });
    let since = Instant::now();
    post(&app, &mut rng);
    let mut launched = since;
    for run in 0.. {
        thread::sleep(Duration::from_secs(2));
        if run > 1 && since.elapsed() > Duration::from_secs(8) {
            break;
        }
        launched = Instant::now();
        // A crash forgets nothing that was kept before, nor does a stop.
        if run == 0 {
            app.kill()
        } else {
            app.stop()
        }
        app.launch();
    }
    let age = |app: &TestApp| app.metric("refresh_audit_last_event_age_seconds", &[("source", "fusionauth")]);
    eventually("the alarm", || raised(&app, "source_silent") && age(&app).is_some_and(|age| age > 8.0));
    assert!(age(&app).unwrap() > launched.elapsed().as_secs_f64(), "only this run counted: {}", app.log());
    post(&app, &mut rng);
    eventually("it is over", || !raised(&app, "source_silent"));
    app.stop();
    // What was heard in the last run is what the next one begins with.
    app.launch();
    eventually("the source was looked at", || age(&app).is_some_and(|age| age > 1.0));
    assert!(age(&app).unwrap() < since.elapsed().as_secs_f64() && !raised(&app, "source_silent"), "{}", app.log());
}
