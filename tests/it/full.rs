//! A journal that may not grow any more: no limit is overrun, and what gives way is in the books as what it is.

use std::{fs, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::support::{
    app::{PATIENT, Settings, TestApp, free_port},
    event::Event,
    eventually, journal,
    receiver::Receiver,
    seed,
};

/// `max_bytes` of these tests, eight segments.
const MAX_BYTES: u64 = 512 << 10;

fn settings(when_full: &str) -> Settings {
    let journal = format!(
        "[journal]\nsegment = \"64KiB\"\nmax_bytes = \"512KiB\"\nmin_free = \"0B\"\nwhen_full = \"{when_full}\"\n"
    );
    Settings { server: PATIENT.to_owned(), ..Settings::default() }.and(&journal)
}

fn journal_bytes(app: &TestApp) -> u64 {
    let files = fs::read_dir(app.data().join("journal")).unwrap().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// The first seq of the journal.
fn oldest(app: &TestApp) -> u64 {
    let path = journal::segments(&app.data()).remove(0);
    path.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

/// Posts until `enough`; the most bytes that the journal had in between, and how many were refused.
fn post_until(app: &TestApp, rng: &mut StdRng, mut enough: impl FnMut(u64) -> bool) -> (u64, u64) {
    let (mut most, mut refused) = (0, 0);
    let mut client = app.client();
    while !enough(refused) {
        let verdict = client.send(&Event::new(rng), &app.signer()).unwrap();
        if !verdict.is_recorded() {
            refused += 1;
            // A sender comes again in a second; this one is in a hurry.
            std::thread::sleep(Duration::from_millis(50));
        }
        most = most.max(journal_bytes(app));
    }
    (most, refused)
}

#[test]
fn refused_before_the_limit_is_overrun() {
    let mut rng = StdRng::seed_from_u64(seed("full, refuse"));
    let app = TestApp::start(settings("refuse"));
    // Sealed segments shrink to a sixth: about 1,000 events of 2 kB until it is full.
    let (most, _) = post_until(&app, &mut rng, |refused| refused > 20);
    // What is not an event is recorded all the same: alarms, checkpoints.
    assert!(most < MAX_BYTES + (16 << 10), "{most} bytes");
    // Said when it was used up; compressing what is closed makes room again, and then it is over.
    eventually("an alarm", || app.log().contains("alarm raised: the journal takes"));
}

#[test]
fn what_gives_way_is_dropped_and_not_pending_and_not_damaged() {
    let mut rng = StdRng::seed_from_u64(seed("full, drop"));
    let nobody = free_port();
    let mut app = TestApp::start(settings("drop_undelivered").and(&Receiver::sink_to(nobody)));
    let (most, refused) = post_until(&app, &mut rng, |_| oldest(&app) > 300);
    assert!(most < MAX_BYTES + (16 << 10), "{most} bytes");
    assert_eq!(refused, 0, "although there was something to delete");
    let dropped = app.log().matches("alarm raised: seq ").count();
    assert_eq!(dropped, 1, "one alarm while it goes on");

    // By the service, by the files, seq by seq: what is gone is dropped.
    let table =
        |app: &TestApp| serde_json::from_slice::<Vec<Value>>(&app.run(&["sinks", "--format", "json"]).stdout).unwrap();
    let reconciled = |app: &TestApp| {
        let output = app.run(&["sinks", "reconcile", "hook", "--files-only", "--format", "json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    eventually("the running service says so", || {
        let (gone, row) = (oldest(&app) - 1, &table(&app)[0]);
        let sum = ["delivered", "skipped", "parked", "damaged", "pending"].map(|count| row[count].as_u64().unwrap());
        row["dropped"] == gone && gone + sum.iter().sum::<u64>() == row["recorded"].as_u64().unwrap()
    });
    // What gives way last goes once there is a copy of it.
    eventually("the metric says so", || {
        let metric = app.metric("refresh_audit_sink_records", &[("sink", "hook"), ("state", "dropped")]);
        metric == Some((oldest(&app) - 1) as f64)
    });
    app.stop();
    let (gone, found) = (oldest(&app) - 1, reconciled(&app));
    assert_eq!((&found["dropped"]["records"], &table(&app)[0]["dropped"]), (&gone.into(), &gone.into()), "{found}");
    assert_eq!(found["dropped"]["ranges"][0], serde_json::json!([1, gone]));
    assert_eq!(found["pending"]["ranges"][0][0], gone + 1);

    // The sink is back: the same words.
    let _receiver = Receiver::at(nobody, false);
    app.launch();
    eventually("the sink has what is left", || table(&app)[0]["pending"] == 0);
    app.stop();
    let found = reconciled(&app);
    assert_eq!((&found["damaged"]["records"], &found["problems"]), (&0.into(), &serde_json::json!([])), "{found}");
    let row = &table(&app)[0];
    assert_eq!((&row["damaged"], &row["dropped"]), (&0.into(), &found["dropped"]["records"]));
    assert!(row["dropped"].as_u64().unwrap() >= gone);

    // Nobody is promised what is gone: of a range only what is left, of one that is gone nothing.
    let redeliver = |from: u64, to: u64| {
        let (from, to) = (from.to_string(), to.to_string());
        app.run(&["sinks", "redeliver", "hook", "--from", &from, "--to", &to])
    };
    let refused = redeliver(1, 5);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("gone from the journal"), "{refused:?}");
    let oldest = oldest(&app);
    let part = redeliver(1, oldest + 1);
    assert!(String::from_utf8_lossy(&part.stdout).contains(" 2 records will be delivered again"), "{part:?}");
}
