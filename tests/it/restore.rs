//! A journal that was put back from an older copy, or whose end was cut off: no sink goes on as if nothing had happened, and
//! no name is given to two records.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use rand::{SeedableRng as _, rngs::StdRng};
use refresh_audit::telemetry::Alarm;
use serde_json::{Value, json};

use crate::{
    journal::{ID, World, json as read_json},
    scripted::{CONFIG, Scripted, accept, counts, raised},
    support::{
        app::{Settings, TestApp},
        copy_dir,
        event::Event,
        eventually, journal,
        load::Load,
        seed,
    },
};

/// Takes the last lines of the newest segment away.
fn cut_lines(data_dir: &Path, lines: usize) {
    let path = journal::segments(data_dir).pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let keep = text.lines().count() - lines;
    fs::write(&path, text.lines().take(keep).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

fn post(app: &TestApp, rng: &mut StdRng, count: usize) {
    let mut client = app.client();
    for _ in 0..count {
        assert!(client.send(&Event::new(rng), &app.signer()).unwrap().is_recorded());
    }
}

fn halted(app: &TestApp) -> bool {
    app.metric("refresh_audit_alarm", &[("name", "cursor_ahead")]) == Some(1.0)
}

fn journal_id(app: &TestApp) -> String {
    read_json(&app.data().join("journal/meta.json"))["journal"].as_str().unwrap().to_owned()
}

/// What a sink says of itself; its counts add up to what is recorded.
fn sink_status(app: &TestApp) -> Value {
    let told = app.run(&["sinks", "--format", "json"]).stdout;
    let status = serde_json::from_slice::<Vec<Value>>(&told).unwrap().remove(0);
    let counts = ["delivered", "skipped", "parked", "dropped", "damaged", "pending"];
    assert_eq!(counts.iter().map(|name| status[name].as_u64().unwrap()).sum::<u64>(), status["recorded"], "{status}");
    status
}

/// It counts what both journals share, up to `shared`, as delivered, and all else that is there as pending.
fn counts_what_is_shared(app: &TestApp, shared: u64, is_running: bool) {
    let mut told = None;
    eventually("nothing is written between two looks", || {
        let last = app.journal().last_seq();
        let status = sink_status(app);
        let is_quiet = status["recorded"] == last && app.journal().last_seq() == last;
        told = Some((status, last));
        is_quiet
    });
    let (status, last) = told.unwrap();
    let count = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(["recorded", "delivered", "pending", "next"].map(count), [last, shared, last - shared, shared + 1]);
    assert_eq!(status["state"], "halted");
    if !is_running {
        return assert_eq!(status["lag_seconds"].as_f64().unwrap() > 0.0, last > shared, "{status}");
    }
    let metric = |state: &str| {
        let value = app.metric("refresh_audit_sink_records", &[("sink", "audit-file"), ("state", state)]);
        value.unwrap()
    };
    assert_eq!((metric("delivered"), metric("pending")), (shared as f64, (last - shared) as f64));
    eventually("the age of what is pending", || {
        app.metric("refresh_audit_sink_lag_seconds", &[("sink", "audit-file")]).is_some_and(|lag| lag > 0.0)
    });
}

#[test]
fn a_sink_stands_still_until_it_is_told_and_no_name_is_given_twice() {
    let mut rng = StdRng::seed_from_u64(seed("restore"));
    let mut app = TestApp::start(Settings::new());
    post(&app, &mut rng, 10);
    app.stop();
    let (before, taken) = (app.journal(), app.file_sink_lines().len());
    assert_eq!(taken, before.lines.len(), "the sink has everything");
    let (old, end) = (journal_id(&app), before.last_seq() - 3);
    cut_lines(&app.data(), 3);

    // Longer than before, and started again: still the sink does not have the records that replaced the others.
    counts_what_is_shared(&app, end, false);
    app.launch();
    assert!(halted(&app));
    post(&app, &mut rng, 5);
    app.kill();
    for _ in 0..2 {
        app.launch();
        assert!(halted(&app), "forgotten over a restart: {}", app.log());
        post(&app, &mut rng, 1);
        assert!(!app.run(&["sinks", "reconcile", "audit-file", "--files-only"]).status.success());
        counts_what_is_shared(&app, end, true);
        app.stop();
        counts_what_is_shared(&app, end, false);
    }
    assert_eq!(app.file_sink_lines().len(), taken);
    let after = app.journal();
    let named = |journal: &journal::Journal| -> HashSet<(String, u64)> {
        journal.lines.iter().map(|line| (line.journal.clone(), line.seq)).collect()
    };
    assert_ne!(journal_id(&app), old);
    let is_of_index = |line: &journal::Line| line.alarm.as_ref().is_some_and(|alarm| alarm.name == "index_abandoned");
    assert!(!after.lines.iter().any(is_of_index), "that the index is made anew then is no trouble");
    let both = named(&before).intersection(&named(&after)).count() as u64;
    assert_eq!(both, end, "the records that are the same, and no others, have the same names");

    // Told where to go on, by whoever knows: without a service, too.
    let from = (end + 1).to_string();
    let output = app.run(&["sinks", "redeliver", "audit-file", "--from", &from]);
    assert!(output.status.success(), "{output:?}");
    app.launch();
    let last = app.journal().last_seq();
    eventually("the sink has the records that it lacked", || {
        let seqs = app.file_sink_lines().into_iter().skip(taken);
        let seqs: Vec<u64> =
            seqs.map(|line| serde_json::from_str::<Value>(&line).unwrap()["seq"].as_u64().unwrap()).collect();
        seqs.starts_with(&(end + 1..=last).collect::<Vec<_>>())
    });
    assert!(!halted(&app));
    app.stop();
}

#[test]
fn a_command_without_a_service_gives_the_new_name_too() {
    let mut rng = StdRng::seed_from_u64(seed("restore offline"));
    let mut app = TestApp::start(Settings::new());
    post(&app, &mut rng, 4);
    app.stop();
    let old = app.journal();
    cut_lines(&app.data(), 2);
    let output = app.run(&["sinks", "redeliver", "audit-file", "--from", "1"]);
    assert!(output.status.success(), "{output:?}");
    let new = app.journal();
    let (last, one) = (new.lines.last().unwrap(), &old.lines[0]);
    assert_eq!((last.kind.as_str(), last.seq), ("operator", old.last_seq() - 1));
    assert_ne!(last.journal, one.journal);
    app.launch();
    assert!(!halted(&app));
    app.stop();
}

#[test]
fn nothing_is_acknowledged_into_a_file_that_is_gone() {
    let takes: [fn(&Path); 3] = [
        |journal| fs::remove_dir_all(journal).unwrap(),
        |journal| fs::remove_file(journal.join("00000000000000000001.jsonl")).unwrap(),
        |journal| {
            let open = fs::File::options().write(true).open(journal.join("00000000000000000001.jsonl")).unwrap();
            open.set_len(open.metadata().unwrap().len() - 10).unwrap();
        },
    ];
    let mut rng = StdRng::seed_from_u64(seed("taken away"));
    for (number, take) in takes.into_iter().enumerate() {
        let mut app = TestApp::start(Settings::new());
        post(&app, &mut rng, 3);
        eventually("the sink has them", || app.file_sink_lines().len() == 3);
        take(&app.data().join("journal"));
        let verdict = app.client().send(&Event::new(&mut rng), &app.signer()).unwrap();
        assert_eq!((verdict.status, verdict.retry_after), (503, true), "{number}: {verdict:?}");
        assert_eq!(app.metric("refresh_audit_alarm", &[("name", "storage_failed")]), Some(1.0), "{number}");
        // A start takes it as it is, and says so.
        app.stop();
        app.launch();
        assert!(halted(&app), "{number}");
        post(&app, &mut rng, 1);
        app.stop();
        app.journal();
    }
    // Where nothing is sent it shows, too.
    let app = TestApp::start(Settings::new());
    post(&app, &mut rng, 3);
    fs::remove_file(app.data().join("journal/00000000000000000001.jsonl")).unwrap();
    eventually("an alarm", || app.metric("refresh_audit_alarm", &[("name", "storage_failed")]) == Some(1.0));
}

#[tokio::test]
async fn a_sink_that_was_behind_goes_on_and_one_that_had_other_records_does_not() {
    let hash_of = |world: &World, seq: usize| {
        let text = fs::read_to_string(world.context.journal_dir.join("00000000000000000001.jsonl")).unwrap();
        serde_json::from_str::<Value>(text.lines().nth(seq - 1).unwrap()).unwrap()["hash"].clone()
    };
    for (next, last, goes_on) in [(4, None, true), (4, Some(true), true), (4, Some(false), false), (5, None, false)] {
        let mut world = World::new();
        world.events(5);
        let earlier = json!([{"journal": "00000000", "last": 3}]);
        let meta = json!({"journal": ID, "keys": "event_id", "earlier": earlier});
        fs::write(world.context.journal_dir.join("meta.json"), meta.to_string()).unwrap();
        let mut cursor = json!({"journal": "00000000", "start": 1, "next": next, "delivered": next - 1, "skipped": 0,
            "parked": 0, "dropped": 0, "damaged": 0});
        if let Some(same) = last {
            let hash = if same { hash_of(&world, 3) } else { "ab".repeat(32).into() };
            cursor["last"] = json!({"seq": 3, "hash": hash});
        }
        let path = world.sink_file("s", "cursor");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, cursor.to_string()).unwrap();
        let sink = Scripted::new(accept);
        let running = world.start("s", CONFIG, sink.clone());
        if goes_on {
            assert_eq!(counts(&running.drained().await), [5, 0, 0, 0, 0, 0]);
            running.stop().await;
            let now = read_json(&path);
            assert_eq!((sink.taken(), &now["journal"]), (vec![4, 5], &json!(ID)));
            assert_eq!(now["last"], json!({"seq": 5, "hash": hash_of(&world, 5)}));
        } else {
            assert_eq!((raised(&world), sink.calls()), (vec!["cursor_ahead".to_owned()], 0), "{next} {last:?}");
        }
    }
}

#[tokio::test]
async fn what_is_parked_stays_an_alarm_while_the_sink_stands_still() {
    let mut world = World::new();
    world.events(5);
    world.context.alarms.raise(Alarm::RecordParked, Some("s"), "1 record is parked");
    let path = world.sink_file("s", "cursor");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let cursor = json!({"journal": "00000000", "start": 1, "next": 4, "delivered": 2, "skipped": 0, "parked": 1,
        "dropped": 0, "damaged": 0});
    fs::write(&path, cursor.to_string()).unwrap();
    let running = world.start("s", CONFIG, Scripted::new(accept));
    let status = running.stop().await;
    // Nothing is certain of another journal, and nobody decided about the record.
    assert_eq!(counts(&status), [0, 0, 0, 0, 0, 5]);
    let mut raised = raised(&world);
    raised.sort_unstable();
    assert_eq!(raised, ["cursor_ahead", "record_parked"]);
}

/// The order that the README gives. In another one, the copy knows of records that it does not have.
#[test]
fn a_copy_of_a_running_service_starts_without_an_alarm() {
    let mut app = TestApp::start(Settings::new().and("[journal]\nsegment = \"64KiB\"\ncheckpoint_every = \"1s\"\n"));
    let load = Load::start(app.listen, &app.signer(), 2, seed("copy"));
    let goes_on = || {
        let before = load.recorded();
        eventually("more is recorded", || load.recorded() > before + 200);
    };
    goes_on();
    let (data, to) = (app.data(), app.path("copy"));
    copy_dir(&data, &to, &|name| !["journal", "index"].contains(&name));
    goes_on();
    let (from, copy) = (data.join("journal"), to.join("journal"));
    let first_of = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap()[..20].to_owned();
    let newest = first_of(journal::segments(&data).last().unwrap());
    copy_dir(&from, &copy, &|name| name < newest.as_str());
    goes_on();
    let signed = |name: &str| ["checkpoints", "begins"].contains(&name);
    let mut begun = 0;
    while begun != journal::segments(&data).len() {
        begun = journal::segments(&data).len();
        copy_dir(&from, &copy, &signed);
        copy_dir(&from, &copy, &|name| !signed(name));
    }
    let had = load.recorded();
    load.end();
    app.stop();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&to, &data).unwrap();
    app.launch();
    let alarms = app.get("/api/alarms").unwrap().1;
    assert_eq!(alarms.trim(), "[]", "{}", app.log());
    eventually("the sink has it all", || {
        let status = app.run(&["sinks", "--format", "json"]);
        serde_json::from_slice::<Value>(&status.stdout).is_ok_and(|sinks| sinks[0]["pending"] == 0)
    });
    app.stop();
    app.verify();
    assert!(app.journal().seqs_by_id.len() as u64 > 600 && had >= 600);
}
