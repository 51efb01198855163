//! Alarms that outlive a restart, and what ends them: what they were about is mended, or is not there any more.

use std::fs;

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually, seed,
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
