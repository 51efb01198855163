//! What judging costs: generated traffic through the thing that the ledger's thread calls, each call timed; and the memory
//! of what is remembered.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    time::{Duration, Instant},
};

use refresh_audit::{
    config::Config,
    detect::{
        Facts, Policy,
        gate::{self, Mode},
        judge::{Case, Judge, Memory},
        state::{State, spilled::Guests},
    },
    enrich::Enricher,
    event::RefreshEvent,
    ledger::spill::Store,
    record::Evidence,
    secret::Fingerprinter,
    source::{Authentic, Decoded},
    time::ReceivedAt,
};

use crate::{
    generate::{self, Options},
    resident::resident_mb,
};

/// Judges all of it, once where the gate observes and once where it enforces, and prints how long that took; the first half
/// is not counted: it fills what is remembered.
pub fn run(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    generate::write(&generate::traffic(options), dir.path()).unwrap();
    let cases = cases(dir.path());
    let enforcing = gate::Config { mode: Mode::Enforce, ..gate::Config::default() };
    judge("observing", &Policy::default(), &cases);
    judge("enforcing", &Policy { gate: enforcing, ..Policy::default() }, &cases);
}

fn judge(mode: &str, policy: &Policy, cases: &[(RefreshEvent, Facts, ReceivedAt)]) {
    let mut judge = Judge::new(policy, Memory::default());
    let mut taken = Vec::with_capacity(cases.len());
    let (mut found, mut denied) = (0, 0);
    for (seq, (event, facts, at)) in (1..).zip(cases) {
        let evidence = Evidence::default();
        let begun = Instant::now();
        let ruling =
            judge.event(Case { event, facts, evidence: &evidence, at: *at, seq }, Guests::default(), &|| false);
        taken.push(begun.elapsed());
        found += ruling.findings.len();
        denied += usize::from(ruling.denies());
        judge.take_unwritten();
    }
    let hot = &mut taken[cases.len() / 2..];
    hot.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a list in memory"
    )]
    let at = |share: f64| hot[((hot.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    let mean = hot.iter().sum::<Duration>().as_secs_f64() * 1e6 / f64::from(u32::try_from(hot.len()).unwrap());
    println!(
        "{mode}: {} of {} refreshes, {found} findings, {denied} refused, {} sessions and users remembered",
        hot.len(),
        cases.len(),
        judge.remembered()
    );
    println!(
        "judging one: mean {mean:.1} us, p50 {:.1} us, p99 {:.1} us, p999 {:.1} us, slowest {:.1} us",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// What workers make of the bodies, before the ledger's thread sees it.
fn cases(dir: &Path) -> Vec<(RefreshEvent, Facts, ReceivedAt)> {
    let text = "data_dir = 'data'\n[enrich]\ndatabases = ['geo.mmdb']\nnetworks = 'networks.csv'\n\
                [[sources]]\nname = 'fusionauth'\ntype = 'fusionauth'\nkeys = [{ alg = 'HS256', secret_file = 'k' }]\n";
    let config = Config::parse(text, "the bench's configuration", dir, []).unwrap();
    let decoder = config.sources[0].config.decoder().unwrap();
    let enricher: Enricher = config.enrich.build(dir).unwrap();
    let fingerprints = Fingerprinter::new(&[]);
    let (mut cases, mut clock) = (Vec::new(), i64::MIN);
    for line in BufReader::new(File::open(dir.join("events.jsonl")).unwrap()).lines() {
        let line = line.unwrap();
        for decoded in decoder.decode(&Authentic::imported(line.as_bytes()), &fingerprints).unwrap() {
            if let Decoded::Event(mut event) = decoded {
                enricher.enrich(&mut event);
                let facts = Facts::of(&event);
                clock = clock.max(event.occurred_at.millis() * 1_000);
                cases.push((*event, facts, ReceivedAt::from_micros(clock)));
            }
        }
    }
    cases
}

/// Remembers `sessions`, two of each user, each from an address of its user's, what does not fit into memory in files, and
/// prints what that takes.
pub fn memory(sessions: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &BTreeSet::new(), &State::default());
    let before = resident_mb("self");
    let mut judge = Judge::new(&Policy::default(), Memory::default());
    let evidence = Evidence::default();
    for seq in 1..=sessions {
        let user = seq / 2;
        let [.., b, c, d] = user.to_be_bytes();
        let claims = serde_json::json!({ "sid": format!("s{seq}"), "exp": 1_795_333_200, "iat": 1_795_329_600 });
        let json = serde_json::json!({
            "id": format!("e{seq}"), "type": "jwt.refresh", "occurred_at": "2026-11-22T06:40:00.000Z",
            "outcome": "attempted", "tenant_id": "t", "application_id": "a", "user_id": format!("u{user}"),
            "session_id": format!("s{seq}"), "ip": format!("10.{b}.{c}.{d}"), "user_agent": "Mozilla/5.0 (X11; Linux x86_64)",
            "client": { "browser": "Firefox", "version": "140.0", "os": "Linux", "kind": "browser" },
            "tokens": { "access": { "issued": { "fingerprint": format!("1a2b:{seq:032x}"), "claims": claims } } },
        });
        let event: RefreshEvent = serde_json::from_value(json).unwrap();
        let facts = Facts::of(&event);
        let at = ReceivedAt::from_micros(1_795_329_600_000_000);
        judge.event(Case { event: &event, facts: &facts, evidence: &evidence, at, seq }, Guests::default(), &|| false);
        judge.take_unwritten();
        judge.take_spilled().for_each(|entry| store.add(&entry).unwrap());
    }
    store.write().unwrap();
    let on_disk: u64 = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    println!(
        "{} sessions and users in memory, {} on disk in {} MB: {} MB resident",
        judge.remembered(),
        judge.outside(),
        on_disk >> 20,
        resident_mb("self") - before
    );
    let (begun, outside) = (Instant::now(), judge.memory().state);
    let needed = store.save([outside.sessions.outside_keys(), outside.users.outside_keys()]).unwrap();
    let saved = begun.elapsed();
    let ids = needed.files.keys().copied().collect();
    let begun = Instant::now();
    let again = Store::open(dir.path(), &ids, &outside);
    assert_eq!(again.len(), store.len());
    println!("what a copy needs is known after {saved:?}; opened again after {:?}", begun.elapsed());
}
