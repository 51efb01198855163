//! What is lost of what is not in memory: it stops nothing, each loss is told once, and a replay ends where the service did.

use std::{collections::BTreeSet, fs, path::Path};

use super::cold_tests::{Story, copy, files, records, relearned, remembered, send, start, tiny};
use crate::{
    detect::{
        Facts,
        judge::{Case, Judge, Memory},
        state::spilled::{Cellar, Guests, InMemory, Kind, Name, Spilled},
    },
    record::{Evidence, Record},
    time::ReceivedAt,
};

/// Of which some sessions are lost, by key and seq.
#[derive(Default)]
struct Leaky(InMemory, BTreeSet<(u64, u32)>);

impl Cellar for Leaky {
    fn put(&mut self, entry: Spilled) {
        self.0.put(entry);
    }

    fn get(&mut self, name: Name) -> Option<Vec<u8>> {
        let is_lost = name.kind == Kind::Session && self.1.contains(&(name.key, name.seq));
        self.0.get(name).filter(|_| !is_lost)
    }
}

#[test]
fn what_is_lost_is_missed_once() {
    let (mut story, mut judge, mut cellar) = (Story::new(), Judge::new(&tiny(), Memory::default()), Leaky::default());
    let first = story.next();
    // One user, who is in memory all the time; of three sessions one or two are outside.
    let events = std::iter::repeat_with(|| story.next()).filter(|event| event.user_id == first.user_id);
    let mut missed = 0;
    for (seq, event) in (1..=400).zip(events) {
        if seq % 20 == 0 {
            let state = judge.memory().state;
            cellar.1.extend(state.sessions.outside_keys().iter().map(|(key, known)| (key, known.seq)));
        }
        let (facts, warm) = (Facts::of(&event), Evidence::default());
        let cold = Evidence { cold: true, ..Evidence::default() };
        let at = ReceivedAt::from_micros(event.occurred_at.millis() * 1_000);
        let case = |evidence| Case { event: &event, facts: &facts, evidence, at, seq };
        let guests = judge.fetch(case(&warm), &mut cellar);
        if judge.missing(case(&warm), &guests).is_empty() {
            judge.event(case(&warm), guests, &|| false);
        } else {
            judge.event(case(&cold), Guests::default(), &|| false);
            missed += 1;
        }
        judge.take_unwritten();
        judge.take_spilled().for_each(|entry| cellar.put(entry));
    }
    // Not again with each refresh of another session of the same user.
    let lost = cellar.1.len();
    assert!(missed > 10 && missed <= lost, "{missed} of {lost}");
}

/// A story that has begun: 400 events, and a stop.
async fn told(dir: &Path) -> Story {
    let mut story = Story::new();
    let (ledger, running, _) = start(dir);
    send(&ledger, &mut story, 400).await;
    running.stop();
    story
}

#[tokio::test]
async fn what_is_lost_stops_nothing_and_the_record_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = told(dir.path()).await;
    for file in files(dir.path(), "spill-") {
        let half = fs::metadata(&file).unwrap().len() / 2;
        fs::File::options().write(true).open(file).unwrap().set_len(half).unwrap();
    }
    assert!(remembered(dir.path()).1 > 10);
    let (ledger, running, metrics) = start(dir.path());
    let alarm = |name| metrics.text().contains(&format!("refresh_audit_alarm{{name=\"{name}\"}} 1"));
    assert!(alarm("state_not_spilled"));
    send(&ledger, &mut story, 400).await;
    running.stop();
    let cold = |record: &&Record| record.evidence.as_ref().is_some_and(|evidence| evidence.cold);
    let said = records(dir.path()).iter().filter(cold).count();
    assert!(said > 5 && said as u64 == metrics.state.cold.get(), "{said}");
    // A replay is told which they were, and needs nothing that was lost.
    assert_eq!(remembered(dir.path()).0, relearned(dir.path()));
}

#[tokio::test]
async fn killed_with_damaged_files_it_starts_and_a_replay_ends_where_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = told(dir.path()).await;
    // A durable copy, its files, and what was judged since.
    let (ledger, running, _) = start(dir.path());
    send(&ledger, &mut story, 120).await;
    let change = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    type Harm<'a> = (&'a str, &'a dyn Fn(&Path));
    let harms: [Harm<'_>; 5] = [
        ("cut", &|path| change(path, &|bytes| bytes.truncate(bytes.len() / 3))),
        ("gone", &|path| fs::remove_file(path).unwrap()),
        ("one bit", &|path| change(path, &|bytes| bytes[200] ^= 4)),
        ("zeros", &|path| change(path, &|bytes| bytes[100..600].fill(0))),
        ("others", &|path| change(path, &|bytes| bytes.reverse())),
    ];
    for (harm, damage) in harms {
        let (killed, later) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(dir.path(), killed.path());
        let files = files(killed.path(), "spill-").into_iter();
        files.filter(|file| fs::metadata(file).unwrap().len() > 1_000).for_each(|file| damage(&file));
        let mut story = story.clone();
        let (ledger, again, metrics) = start(killed.path());
        assert!(metrics.text().contains("refresh_audit_alarm{name=\"state_not_spilled\"} 1"), "{harm}");
        send(&ledger, &mut story, 160).await;
        copy(killed.path(), later.path());
        again.stop();
        assert!(metrics.state.cold.get() > 0, "{harm}");
        assert_eq!(remembered(later.path()).0, remembered(killed.path()).0, "{harm}");
    }
    running.stop();
}
