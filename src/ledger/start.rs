//! Starting the ledger: recover, load the window, start the threads. Always succeeds after a crash or damage; fails only
//! where the data directory itself cannot be read or written.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    thread::{self, JoinHandle},
};

use tokio::sync::{oneshot, watch};

use super::{
    Command, Ledger, QUEUE_ENTRIES_MAX, Settings,
    admit::Admitter,
    asked::{StartIndex, Watched},
    begin,
    cellar::SpillThread,
    checkpoint::{self, Checkpoint},
    clock::{self, Clock},
    commit::tell_jump,
    copies::Copies,
    core::{self, Core, Found, Places},
    dedupe::Dedupe,
    keeper::{self, Keeper},
    link::{self, Index},
    lookup::JournalLookup,
    meta::{self, Meta},
    recovery::{self, Damage},
    scrub::Scrub,
    seals::{self, Signing},
    segment,
    spill::Store,
    state,
};
use crate::{
    files,
    record::Seq,
    telemetry::{Alarm, Alarms},
    time::ReceivedAt,
};

/// The thread behind a [`Ledger`].
pub struct Running {
    thread: JoinHandle<()>,
    commands: std::sync::mpsc::SyncSender<Command>,
    /// Closed when the thread has ended.
    ended: oneshot::Receiver<Infallible>,
}

impl Running {
    /// Resolves once the thread has ended though nobody told it to: by a panic. Nothing is recorded from then on.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Finishes what was asked before, leaves everything ready for the next start, and returns. Blocks.
    pub fn stop(self) {
        let _ = self.commands.send(Command::Stop);
        let _ = self.thread.join();
    }
}

impl Ledger {
    /// Recovers and starts. Blocks for as long as that takes (about 2 s for a window of 1 M records). The data
    /// directory must be locked ([`super::lock::DataLock`]).
    pub fn start(settings: Settings) -> io::Result<(Self, Running)> {
        Self::start_with(settings, None)
    }

    pub(super) fn start_with(mut settings: Settings, start_index: Option<StartIndex>) -> io::Result<(Self, Running)> {
        for dir in ["journal", "state"].map(|name| settings.data_dir.join(name)) {
            files::create_dir(&dir).map_err(|error| files::at(&dir, error))?;
        }
        let (mut meta, is_new) = Meta::open(&settings.data_dir.join("journal"), settings.key_scheme)?;
        let mut places = Places {
            data_dir: settings.data_dir.clone(),
            journal: meta.journal.clone(),
            window: settings.dedupe.window.get(),
            segment_bytes: settings.journal.segment.get(),
            policy: settings.policy.clone(),
        };
        restore_alarms(&places, &settings.alarms);
        if let Err(error) = state::sweep(&places.state_dir()) {
            tracing::warn!(%error, "what earlier runs left of detection's state cannot be removed; it only takes room");
        }
        let (core, found, mut store) = core::load(&places, ReceivedAt::wall())?;
        report(&found, &settings.alarms);
        settings.consumers.copied(found.copied);
        let last = core.tail.next - 1;
        let notes = recovery::checkpoints(&places.journal_dir());
        report_notes(&places, &notes, &settings.alarms);
        let vouched = recovery::vouched_for(&notes);
        warn_if_cut(&vouched, &meta, last, &settings.alarms);
        if is_new {
            warn_if_gone(&settings, &places);
        } else {
            renew_if_put_back(&settings, &mut places, (&core, &mut store), &mut meta, &vouched)?;
        }
        state::forget_after(&places.state_dir(), last)?;
        // Both at once, and only now: loading takes its time.
        let (clock, jump) = Clock::start(ReceivedAt::wall(), core.tail.last_received, places.window, clock::steady());
        tell_jump(&settings.alarms, jump);

        let (commands, inbox) = sync_channel(QUEUE_ENTRIES_MAX);
        let (synced_sender, synced) = watch::channel(last);
        settings.metrics.synced_seq.set(i64::try_from(last).unwrap_or(i64::MAX));
        let keeper = start_keeper(&mut settings, &places, (&meta, &notes), (core.synced.0, !found.damage.is_empty()))?;
        let answers = commands.clone();
        let lookup = JournalLookup::start(&places.journal_dir(), Dedupe::bucket_secs(places.window), move |answer| {
            answers.send(Command::Journal(answer)).is_ok()
        })?;
        let answers = commands.clone();
        let answers = Arc::new(move |answer| answers.send(Command::Cold(answer)).is_ok());
        let spill = SpillThread::start(store, answers, settings.alarms.clone())?;
        let home = link::Home {
            dir: places.index_dir(),
            journal_dir: places.journal_dir(),
            journal: meta.journal.clone(),
            bucket_secs: Dedupe::bucket_secs(places.window),
            synced: synced.clone(),
        };
        let start_index = start_index.unwrap_or_else(|| sled_index(commands.clone()));
        let index = Watched::new(home, start_index, settings.alarms.clone());
        let journal_dir = places.journal_dir();
        let admitter = Admitter::new(settings, places, core, clock, synced_sender, (keeper, index, lookup, spill));
        let (ending, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            let _ending: oneshot::Sender<Infallible> = ending;
            admitter.run(&inbox);
        })?;
        let ledger = Self {
            commands: commands.clone(),
            synced,
            journal_dir: journal_dir.into(),
            meta: Arc::new(meta),
            queued_bytes: Arc::default(),
        };
        Ok((ledger, Running { thread, commands, ended }))
    }
}

fn sled_index(commands: std::sync::mpsc::SyncSender<Command>) -> StartIndex {
    Box::new(move |home, generation| {
        let replies = commands.clone();
        Index::start(home.clone(), generation, move |reply| replies.send(Command::Index(generation, reply)).is_ok())
    })
}

/// The checkpoint that a stop kept the segment from that was closed last; `open` is the first seq of the one behind it.
fn unsigned_seal(
    settings: &Settings,
    places: &Places,
    (meta, notes): (&Meta, &[checkpoint::Found]),
    open: Seq,
) -> Option<Checkpoint> {
    settings.signer.as_ref()?;
    let found = seals::at_start(&places.journal_dir(), (&settings.node, meta), notes, open, &settings.alarms);
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "whether every closed file has its checkpoint is not known");
        None
    })
}

/// The open segment begins with `first`.
fn start_keeper(
    settings: &mut Settings,
    places: &Places,
    notes: (&Meta, &[checkpoint::Found]),
    (first, is_open_damaged): (Seq, bool),
) -> io::Result<Keeper> {
    let unsigned = unsigned_seal(settings, places, notes, first);
    let open = segment::OpenFrom::default();
    open.begins(first);
    let checkpoints =
        settings.signer.take().map(|signer| checkpoint::Log::open(&places.journal_dir(), signer)).transpose();
    let checkpoints = checkpoints.map_err(|error| files::at(&checkpoint::path(&places.journal_dir()), error))?;
    let home = keeper::Home {
        journal_dir: places.journal_dir(),
        filters_dir: places.filters_dir(),
        state_dir: places.state_dir(),
        node: settings.node.clone(),
        journal: places.journal.clone(),
        bucket_secs: Dedupe::bucket_secs(places.window),
        config: settings.journal.clone(),
        open,
        consumers: settings.consumers.clone(),
        copies: Copies::default(),
        alarms: settings.alarms.clone(),
        metrics: Arc::clone(&settings.metrics),
    };
    let scrub = Scrub::new(places.journal_dir(), places.damaged_dir(), settings.alarms.clone(), is_open_damaged);
    Keeper::start(home, Signing::new(checkpoints, unsigned, settings.alarms.clone()), scrub)
}

/// Raised alarms outlive a restart; without the file they are raised, and recorded, once more.
fn restore_alarms(places: &Places, alarms: &Alarms) {
    let kept = std::fs::read(places.alarms_file()).ok();
    if let Some(raised) = kept.and_then(|kept| serde_json::from_slice(&kept).ok()) {
        alarms.restore(raised);
    }
    alarms.clear(Alarm::StorageFailed, None, "the journal was opened again");
}

pub(super) fn report(found: &Found, alarms: &Alarms) {
    if let Some(cut) = &found.cut {
        tracing::warn!(bytes = cut.bytes, kept = %cut.kept.display(), "a torn tail was cut off the journal; a copy is kept");
    }
    report_lost(found.lost, alarms);
    recovery::raise_damage(alarms, &found.damage);
}

/// An older copy of the journal was put back, or its end was cut off: the seqs that follow name other records than they did
/// once, so the journal has another id from here on.
fn renew_if_put_back(
    settings: &Settings,
    places: &mut Places,
    (core, store): (&Core, &mut Store),
    meta: &mut Meta,
    vouched: &BTreeMap<String, Seq>,
) -> io::Result<()> {
    let (last, read) = (core.tail.next - 1, settings.consumers.seen());
    let known = meta.highest_known(&places.data_dir, vouched, &read);
    if known <= last {
        settings.alarms.clear(Alarm::DamageFound, Some("end"), "the journal begins where it ended");
        return Ok(());
    }
    let id = meta::new_id();
    if let Err(error) = save_as(&places.state_dir(), &id, last, core, store) {
        // What was learned up to here would stay known under the new id.
        tracing::warn!(%error, "detection's state cannot be saved; the next start learns it from the journal");
    }
    meta.renew(&places.data_dir, id, last)?;
    let message = format!(
        "seq {known} was on disk once, but the journal ends at {last}: records were cut off, or an older copy was put back; \
         it goes on as journal {} (it was {})",
        meta.journal, places.journal
    );
    settings.alarms.raise(Alarm::DamageFound, Some("end"), message);
    places.journal.clone_from(&meta.journal);
    Ok(())
}

/// Nothing of a journal is here, although others have read one: it was deleted, or what is mounted here is another disk.
fn warn_if_gone(settings: &Settings, places: &Places) {
    let copied = state::newest(&places.state_dir(), |_| true);
    let known = settings.consumers.seen().into_iter().chain(copied).max_by_key(|(_, seq)| *seq);
    let Some((journal, seq)) = known.filter(|(_, seq)| *seq > 0) else { return };
    let message = format!(
        "a journal {journal} was here, up to seq {seq} at least, and {} holds nothing of it: it was taken away, or another disk \
         is mounted; a new one, {}, begins",
        places.journal_dir().display(),
        places.journal
    );
    settings.alarms.raise(Alarm::DamageFound, Some("end"), message);
}

/// What is wrong with the notes that are signed beside the journal, or with the journal by them.
fn report_notes(places: &Places, notes: &[checkpoint::Found], alarms: &Alarms) {
    report_bad_notes(places, &recovery::damage_among(notes), alarms);
    if let Err(error) = report_missing_begin(places, alarms) {
        tracing::warn!(%error, "whether the journal begins where it should is not known");
    }
}

/// Files are missing at the beginning that nothing here let go. Signatures are not checked: `verify` does.
fn report_missing_begin(places: &Places, alarms: &Alarms) -> io::Result<()> {
    let dir = places.journal_dir();
    let oldest = segment::list(&dir)?.first().map_or(1, |oldest| oldest.first);
    let wrong = match begin::read(&dir, None)? {
        Err(what) => Some(format!("in {}: {what}", dir.display())),
        Ok(begin) => {
            let first = begin.map_or(0, |begin| begin.seq).saturating_add(1);
            (oldest > first).then(|| {
                format!(
                    "seq {first} to {} are missing in {}, and were not let go by retention or to make room: somebody deleted \
                     them, or a part of a backup was put back",
                    oldest - 1,
                    dir.display()
                )
            })
        }
    };
    match wrong {
        Some(what) => {
            let message = format!("{what}; run `refresh-audit verify`, and compare with a sink or a backup");
            alarms.raise(Alarm::DamageFound, Some(begin::SUBJECT), message);
        }
        None => alarms.clear(Alarm::DamageFound, Some(begin::SUBJECT), "the journal begins where it should"),
    }
    Ok(())
}

/// Bytes that are no checkpoint, in the file of checkpoints. They stay, and `verify` names them.
fn report_bad_notes(places: &Places, damage: &[Damage], alarms: &Alarms) {
    const SUBJECT: Option<&str> = Some("checkpoints file");
    let Some(first) = damage.first() else {
        alarms.clear(Alarm::DamageFound, SUBJECT, "the file of checkpoints holds nothing else any more");
        return;
    };
    if let Err(error) = recovery::list_damage(&places.damaged_dir(), damage) {
        tracing::warn!(%error, "damage in the checkpoints cannot be listed");
    }
    let message = format!(
        "{} damaged place(s) in {}, the first at byte {}; they are left as they are; see damaged/list.jsonl, run \
         `refresh-audit verify`, and compare with the checkpoints that a sink or a backup has",
        damage.len(),
        checkpoint::path(&places.journal_dir()).display(),
        first.offset
    );
    alarms.raise(Alarm::DamageFound, SUBJECT, message);
}

fn save_as(dir: &Path, journal: &str, last: Seq, core: &Core, store: &mut Store) -> io::Result<()> {
    let memory = core.judge.memory();
    let needed = store.save([memory.state.sessions.outside_keys(), memory.state.users.outside_keys()])?;
    state::save(dir, journal, last, &memory, &needed)
}

/// What is in no file any more; the alarm is over once nothing of it is missed.
fn report_lost(lost: usize, alarms: &Alarms) {
    if lost == 0 {
        alarms.clear(Alarm::StateNotSpilled, Some("lost"), "nothing of what detection remembers is missing");
        return;
    }
    let message = format!(
        "{lost} of the sessions and users that detection remembers on disk are lost: files under state/ are damaged or \
         missing; whoever it concerns is judged without (evidence.cold) and learned anew"
    );
    alarms.raise(Alarm::StateNotSpilled, Some("lost"), message);
}

/// A checkpoint past the end means that records were cut off, or an older copy was put back.
fn warn_if_cut(vouched: &BTreeMap<String, Seq>, meta: &Meta, last: Seq, alarms: &Alarms) {
    if let Some(seq) = vouched.values().max().filter(|seq| **seq > last) {
        let message = format!(
            "a checkpoint vouches for seq {seq}, but the journal ends at {last}: records were cut off, or an older copy was \
             put back; `refresh-audit verify` says the same until the rest is restored"
        );
        alarms.raise(Alarm::DamageFound, Some("checkpoints"), message);
    } else if vouched.iter().all(|(journal, seq)| meta.shared_with(journal).is_some_and(|end| *seq <= end)) {
        alarms.clear(Alarm::DamageFound, Some("checkpoints"), "the journal holds what every checkpoint vouches for");
    }
}
