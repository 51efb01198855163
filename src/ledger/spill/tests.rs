//! Files of entries, torn, changed, repeated and tidied.

use std::collections::BTreeSet;

use super::*;
use crate::{
    detect::state::{
        session::Session,
        table::Limits,
        tiers::{Outside, TierLimits},
    },
    record::Seq,
};

/// One in memory of all that share a shard.
const ONE: TierLimits = TierLimits { hot: Limits { entries: 1, kept: 1_000_000 }, spilled: 1 << 20 };

fn session(state: &mut State, key: u64, seq: Seq) -> Vec<Spilled> {
    state.begin(seq, &[], crate::detect::state::spilled::Guests::default());
    state.sessions.entry(key, 1, ONE, Session::default).events = u32::try_from(seq).unwrap();
    state.take_spilled().collect()
}

/// A state of which sessions 1 to `count` - 1 are outside, by the events 2 to `count`, and what went out.
pub(in crate::ledger) fn spilled(count: u64) -> (State, Vec<Spilled>) {
    let mut state = State::default();
    let gone = (1..=count).flat_map(|n| session(&mut state, n, n)).collect();
    (state, gone)
}

fn names(state: &State) -> Vec<Name> {
    let name = |(key, Outside { seq, .. })| Name { kind: Kind::Session, key, seq };
    state.sessions.outside_keys().iter().map(name).collect()
}

fn outside(state: &State) -> [&OutsideKeys; 2] {
    [state.sessions.outside_keys(), state.users.outside_keys()]
}

/// How many of all that is outside are found as they were.
pub(in crate::ledger) fn found(store: &Store, state: &State, gone: &[Spilled]) -> usize {
    let as_it_was = |name: &Name| {
        let entry = store.find(*name)?;
        assert!(gone.contains(&entry), "{entry:?}");
        assert_eq!((entry.key, low(entry.seq)), (name.key, name.seq));
        Some(())
    };
    names(state).iter().filter_map(as_it_was).count()
}

/// Small enough for several files: an entry of these has about 120 bytes.
pub(in crate::ledger) fn small(mut store: Store) -> Store {
    store.file_bytes = 4_000;
    store
}

fn ids(needed: &Needed) -> BTreeSet<u32> {
    needed.files.keys().copied().collect()
}

fn fill(store: &mut Store, gone: &[Spilled]) {
    for entry in gone {
        store.add(entry).unwrap();
    }
}

#[test]
fn what_was_put_is_found_before_and_after_it_is_written_and_by_who_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone) = spilled(200);
    assert_eq!((gone.len(), names(&state).len()), (199, 199));
    let mut store = small(Store::open(dir.path(), &BTreeSet::new(), &state));
    assert_eq!(found(&store, &state, &gone), 0);
    fill(&mut store, &gone);
    assert_eq!(found(&store, &state, &gone), 199);
    let needed = store.save(outside(&state)).unwrap();
    assert_eq!(found(&store, &state, &gone), 199);
    assert!(needed.files.len() > 3, "{}", needed.files.len());
    let again = Store::open(dir.path(), &ids(&needed), &state);
    assert_eq!((again.len(), found(&again, &state, &gone)), (199, 199));
    // Another version of the same key is another entry.
    let older = Name { seq: 1, ..names(&state)[0] };
    assert_eq!(again.find(older), None);
}

#[test]
fn a_torn_or_changed_file_loses_what_it_held_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone) = spilled(200);
    let mut store = small(Store::open(dir.path(), &BTreeSet::new(), &state));
    fill(&mut store, &gone);
    let needed = ids(&store.save(outside(&state)).unwrap());
    let path = path_of(dir.path(), *needed.first().unwrap());
    let good = fs::read(&path).unwrap();
    let held = store.held[needed.first().unwrap()].entries as usize;
    assert!(held > 10);
    for cut in [0, 1, HEAD_BYTES, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..cut]).unwrap();
        let torn = Store::open(dir.path(), &needed, &state);
        let lost = 199 - found(&torn, &state, &gone);
        assert!((1..=held).contains(&lost) && lost == 199 - torn.len(), "{lost} of {held} at {cut}");
    }
    for at in 0..good.len() / held * 2 {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        // To a store that was open already, only the entry itself is lost.
        assert!(found(&store, &state, &gone) >= 198, "byte {at}");
        assert!(found(&Store::open(dir.path(), &needed, &state), &state, &gone) >= 199 - held, "byte {at}");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(found(&Store::open(dir.path(), &needed, &state), &state, &gone), 199 - held);
}

#[test]
fn of_two_entries_that_are_alike_the_later_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone) = spilled(2);
    // What was written by an event that the journal lost, and by the one that took its seq.
    let lost = Spilled { bytes: vec![7; 9], ..gone[0].clone() };
    let mut store = Store::open(dir.path(), &BTreeSet::new(), &state);
    store.add(&lost).unwrap();
    let first = ids(&store.save(outside(&state)).unwrap());
    let mut store = Store::open(dir.path(), &first, &state);
    store.add(&gone[0]).unwrap();
    let both = &first | &ids(&store.save(outside(&state)).unwrap());
    assert_eq!(both.len(), 2);
    assert_eq!(found(&Store::open(dir.path(), &both, &state), &state, &gone), 1);
}

/// From now on nothing can be written to the current file.
pub(in crate::ledger) fn break_current(store: &mut Store) -> u32 {
    let id = store.current.unwrap();
    let file = File::open(path_of(&store.dir, id)).unwrap();
    store.held.get_mut(&id).unwrap().stored = Arc::new(Stored { file, dirty: AtomicBool::new(false) });
    id
}

fn len_of(entry: &Spilled) -> usize {
    HEAD_BYTES + entry.bytes.len()
}

#[test]
fn a_write_that_fails_loses_what_waited_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone) = spilled(200);
    let mut store = small(Store::open(dir.path(), &BTreeSet::new(), &state));
    // Which ends in the midst of a file.
    let before = 105;
    fill(&mut store, &gone[..before]);
    store.write().unwrap();
    // What still fits into the file that fails, which is ended at 4,000 bytes, waits to be written, and is lost.
    let broken = break_current(&mut store);
    let mut bytes = store.held[&broken].bytes as usize;
    let fit = gone[before..].iter().take_while(|entry| {
        let fits = bytes < 4_000;
        bytes += len_of(entry);
        fits
    });
    let waits = fit.count();
    assert!((1..60).contains(&waits), "{waits}");
    let failed: Vec<usize> = (before..199).filter(|number| store.add(&gone[*number]).is_err()).collect();
    assert_eq!(failed, [before + waits], "said once, with the one that began the next file");
    assert_eq!(found(&store, &state, &gone), 199 - waits);
    // The one that said so is kept, and so is all that came after it; whoever opens the files sees the same.
    let needed = ids(&store.save(outside(&state)).unwrap());
    let again = Store::open(dir.path(), &needed, &state);
    assert_eq!((again.len(), found(&again, &state, &gone)), (199 - waits, 199 - waits));
    assert!(
        again.find(names(&state)[before + waits]).is_some() && again.find(names(&state)[before + waits - 1]).is_none()
    );
}

#[test]
fn a_long_entry_is_read_whole_and_a_file_with_a_hole_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone) = spilled(60);
    let mut store = Store::open(dir.path(), &BTreeSet::new(), &state);
    let long = Spilled { bytes: (0..3_000_u32).map(|n| (n % 251) as u8).collect(), ..gone[0].clone() };
    store.add(&long).unwrap();
    store.write().unwrap();
    assert_eq!(store.find(names(&state)[0]), Some(long));
    // One write fails; then the disk is well again.
    fill(&mut store, &gone[1..20]);
    let broken = break_current(&mut store);
    assert!(store.write().is_err());
    let file = File::options().read(true).write(true).open(path_of(dir.path(), broken)).unwrap();
    store.held.get_mut(&broken).unwrap().stored = Arc::new(Stored { file, dirty: AtomicBool::new(true) });
    fill(&mut store, &gone[20..]);
    let needed = ids(&store.save(outside(&state)).unwrap());
    let again = Store::open(dir.path(), &needed, &state);
    assert!(names(&state)[20..].iter().all(|name| again.find(*name).is_some()));
}

/// A store of 200 entries, most of which nothing needs any more: what is left is to be moved.
fn mostly_gone(dir: &Path) -> (State, Vec<Spilled>, Store) {
    let (mut state, gone) = spilled(200);
    let mut store = small(Store::open(dir, &BTreeSet::new(), &state));
    fill(&mut store, &gone);
    for key in (1..=180).filter(|key| key % 10 != 0) {
        state.sessions.remove(key);
    }
    store.save(outside(&state)).unwrap();
    (state, gone, store)
}

#[test]
fn what_went_out_anew_while_it_was_to_be_moved_is_what_it_became() {
    let dir = tempfile::tempdir().unwrap();
    let (_, gone, mut store) = mostly_gone(dir.path());
    let newer = Spilled { seq: 500, bytes: vec![7; 9], ..gone[9].clone() };
    assert_eq!(newer.key, 10);
    store.add(&newer).unwrap();
    while store.is_moving() {
        store.move_some().unwrap();
    }
    assert_eq!(store.find(Name { kind: Kind::Session, key: 10, seq: 500 }), Some(newer));
}

#[test]
fn what_cannot_be_moved_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (state, gone, mut store) = mostly_gone(dir.path());
    let left = names(&state).len();
    assert_eq!((left, found(&store, &state, &gone)), (37, 37));
    break_current(&mut store);
    // There is room for all of it: that it cannot be written shows when it is.
    store.file_bytes = 1 << 20;
    assert!(store.is_moving() && store.move_some().is_err());
    assert_eq!(found(&store, &state, &gone), left);
    // Another file takes them.
    while store.is_moving() {
        store.move_some().unwrap();
    }
    assert_eq!(found(&store, &state, &gone), left);
    let needed = ids(&store.save(outside(&state)).unwrap());
    assert_eq!(found(&Store::open(dir.path(), &needed, &state), &state, &gone), left);
}

#[test]
fn files_that_hold_little_are_moved_and_go_when_no_copy_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, mut gone) = spilled(200);
    let mut store = small(Store::open(dir.path(), &BTreeSet::new(), &state));
    fill(&mut store, &gone);
    let before = state.clone();
    let first = store.save(outside(&state)).unwrap();
    // Nine of ten are forgotten: the rest fits into one file or two.
    for key in (1..=180).filter(|key| key % 10 != 0) {
        state.sessions.remove(key);
    }
    let second = ids(&store.save(outside(&state)).unwrap());
    assert_eq!(found(&store, &state, &gone), names(&state).len());
    while store.is_moving() {
        store.move_some().unwrap();
    }
    assert_eq!(found(&store, &state, &gone), names(&state).len());
    let third = store.save(outside(&state)).unwrap();
    let entries = |ids: &BTreeSet<u32>, state: &State| Store::open(dir.path(), ids, state).len();
    assert!(third.files.len() < second.len() && third.files.len() <= 3, "{:?} of {second:?}", ids(&third));
    // Two copies are kept, the first and the third: both find what they know.
    forget(dir.path(), &(&ids(&first) | &ids(&third)), third.newest).unwrap();
    assert_eq!((entries(&ids(&first), &before), entries(&ids(&third), &state)), (199, names(&state).len()));
    // Then only the third. What is newer than it is not its business.
    gone.extend(session(&mut state, 900, 900));
    let mut newer = Store::open(dir.path(), &BTreeSet::new(), &state);
    fill(&mut newer, &gone);
    newer.write().unwrap();
    forget(dir.path(), &ids(&third), third.newest).unwrap();
    let left: BTreeSet<u32> = list(dir.path()).unwrap().into_iter().collect();
    assert_eq!(left, &ids(&third) | &BTreeSet::from([third.newest + 1]));
}
