//! The whole way: the binary, what a file and an HTTP receiver hold after kills and restarts, and what that is good for.

use std::{collections::BTreeMap, fs, path::Path};

use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use crate::support::{
    app::{Settings, TestApp},
    event::Event,
    eventually,
    journal::{Journal, Line},
    note,
    receiver::Receiver,
    seed,
};

/// As often as may be.
const JOURNAL: &str = "[journal]\ncheckpoint_every = \"1s\"\n";

fn send(app: &TestApp, rng: &mut StdRng, count: usize) {
    let mut client = app.client();
    for _ in 0..count {
        let event = Event::new(rng);
        assert_eq!(client.send(&event, &app.signer()).unwrap().status, 200);
    }
}

/// The notes of a journal by seq, verified.
fn signed(app: &TestApp) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(app.path("data/journal/checkpoints")).unwrap_or_default();
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let notes = blocks.chunks(2).filter(|pair| pair.len() == 2 && (pair[1].ends_with('=') || pair[1].ends_with("=\n")));
    let notes = notes.map(|pair| format!("{}\n\n{}\n", pair[0], pair[1].trim_end()));
    notes.map(|note| (note::read(note::open(&note, &public(app)).unwrap()).1, note)).collect()
}

fn public(app: &TestApp) -> String {
    fs::read_to_string(app.path("data/checkpoint.pub")).unwrap()
}

fn of_kind(lines: &[String], kind: &str) -> Vec<Value> {
    // The last line may be under way.
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["kind"] == kind).collect()
}

/// Whether what the file sink wrote is the journal and its checkpoints, each behind what it vouches for.
fn check(app: &TestApp, journal: &Journal) {
    let (lines, public) = (app.file_sink_lines(), public(app));
    let mut last = 0;
    for line in &lines {
        let record: Value = serde_json::from_str(line).unwrap();
        let (seq, at) = (record["seq"].as_u64().unwrap(), &record["checkpoint"]["note"]);
        let Some(text) = at.as_str() else {
            last = last.max(seq);
            continue;
        };
        let (origin, of, hash) = note::read(note::open(text, &public).unwrap());
        let vouched: &Line = &journal.lines[usize::try_from(of).unwrap() - 1];
        assert_eq!((origin, of, hash), (&*format!("test-node/{}", vouched.journal), seq, &*vouched.hash));
        assert_eq!((&record["prev"], &record["kind"]), (&hash.into(), &"checkpoint".into()));
        assert!(last >= seq, "the checkpoint of {seq} came before its record");
    }
}

#[test]
fn a_file_holds_what_others_can_verify_and_a_cut_journal_shows() {
    let sink = Settings::FILE_SINK.to_owned() + "checkpoints = true\n";
    let mut app = TestApp::start(Settings { tables: sink + JOURNAL, ..Settings::new() });
    let (mut kept, mut rng) = (0, StdRng::seed_from_u64(seed("checkpoints")));
    for round in 0..3 {
        send(&app, &mut rng, 20);
        let seen = kept;
        eventually("another checkpoint", || of_kind(&app.file_sink_lines(), "checkpoint").len() > seen);
        // A crash, an orderly stop, a crash.
        if round == 1 {
            app.stop()
        } else {
            app.kill()
        }
        kept = of_kind(&app.file_sink_lines(), "checkpoint").len();
        if round < 2 {
            app.launch();
        }
    }
    app.launch();
    send(&app, &mut rng, 3);
    app.stop();
    let journal = app.journal();
    let lines = app.file_sink_lines();
    check(&app, &journal);
    // Every one that was signed is there; the last vouches for the last record.
    let held: BTreeMap<u64, String> = of_kind(&lines, "checkpoint")
        .iter()
        .map(|line| (line["seq"].as_u64().unwrap(), line["checkpoint"]["note"].as_str().unwrap().to_owned()))
        .collect();
    let signed = signed(&app);
    assert!(signed.len() >= 4 && held == signed, "{signed:?}\n{held:?}");
    assert_eq!(held.last_key_value().unwrap().0, &journal.last_seq());
    let status: Value = serde_json::from_slice(&app.run(&["sinks", "--format", "json"]).stdout).unwrap();
    assert_eq!(status[0]["checkpoint"], journal.last_seq());
    assert_eq!(status[0]["recorded"], journal.last_seq(), "checkpoints are no records of the journal");
    let proof = app.run(&["sinks", "proof", "--seq", "2", "--format", "json"]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&proof).unwrap()["sinks"][0]["checkpoint"], journal.last_seq());

    what_is_elsewhere_shows_it(&app, &held, journal.last_seq());
}

/// Somebody cuts off the end of the journal, and the checkpoint of it.
fn what_is_elsewhere_shows_it(app: &TestApp, held: &BTreeMap<u64, String>, last: u64) {
    let kept = held.values().cloned().collect::<Vec<_>>().join("\n");
    fs::write(app.path("kept"), &kept).unwrap();
    let verify = |arguments: &[&str]| {
        let output = app.run(&[&["verify"], arguments].concat());
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = verify(&["--checkpoint", "kept"]);
    assert!(code == 0 && said.contains(&format!("checkpoints kept elsewhere: {0} of {0} fit", held.len())), "{said}");
    cut(&app.data(), last);
    let (code, said) = verify(&[]);
    assert!(code == 0 && said.contains("the chain holds"), "nothing here shows it: {said}");
    let (code, said) = verify(&["--checkpoint", "kept"]);
    let expected = format!(
        "record {last}: a checkpoint that was kept elsewhere vouches for seq {last}, but the journal ends at {}",
        last - 1
    );
    assert!(code == 1 && said.contains(&expected), "{said}");
    // Neither does a forged one pass, nor something else.
    let forged = kept.replace(&format!("\n{last}\n"), &format!("\n{}\n", last - 1));
    for (content, expected) in [
        (forged.as_str(), "the signature of the checkpoint that was kept elsewhere is wrong"),
        ("a\n\nb\n", "no checkpoint"),
    ] {
        fs::write(app.path("other"), content).unwrap();
        let (code, said) = verify(&["--checkpoint", "other"]);
        assert!(code == 1 && said.contains(expected), "{said}");
    }
    fs::write(app.path("other"), "").unwrap();
    assert_eq!(verify(&["--checkpoint", "other"]).0, 1);
}

/// Takes the record `last` and its checkpoint away.
fn cut(data: &Path, last: u64) {
    let segment = crate::support::journal::segments(data).pop().unwrap();
    let text = fs::read_to_string(&segment).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    assert!(text[end..].contains(&format!("\"seq\":{last},")));
    fs::write(&segment, &text[..end]).unwrap();
    let notes = fs::read_to_string(data.join("journal/checkpoints")).unwrap();
    let at = notes.find(&format!("\n{last}\n")).unwrap();
    fs::write(data.join("journal/checkpoints"), &notes[..notes[..at].rfind("\n\n").unwrap() + 1]).unwrap();
}

#[test]
fn an_http_receiver_has_each_at_least_once_with_one_id() {
    let receiver = Receiver::start(true);
    let sink = receiver.sink() + "checkpoints = true\n";
    let mut app = TestApp::start(Settings { tables: sink + JOURNAL, ..Settings::new() });
    let mut rng = StdRng::seed_from_u64(seed("checkpoints"));
    for round in 0..3 {
        send(&app, &mut rng, 10);
        let has = |id: &str| receiver.look(|seen| seen.count_by_id.contains_key(id));
        let ids = |app: &TestApp, journal: &str| -> Vec<String> {
            signed(app).keys().map(|seq| format!("{journal}-checkpoint-{seq}")).collect()
        };
        let journal = app.journal().lines[0].journal.clone();
        eventually("a checkpoint of this round", || signed(&app).len() > round);
        eventually("it has them", || ids(&app, &journal).iter().all(|id| has(id)));
        app.kill();
        app.launch();
    }
    app.stop();
    app.verify();
    // What it got is the note itself.
    let raw = receiver.look(|seen| String::from_utf8(seen.raw.clone().unwrap()).unwrap());
    for note in signed(&app).values() {
        assert!(raw.contains(&serde_json::to_string(note).unwrap()), "{note}");
    }
}
