//! What detection remembers and does not hold in memory, under `state/`: files of entries, only ever added to. Derived like
//! the copies of the rest (`state`): each copy names the files that it needs, and what was written after it is written
//! again by judging the records after it.
//!
//! Which entry counts is known to the state itself, by key and seq; so a torn, old or repeated entry needs no mark, and of
//! two that are alike the later counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    detect::state::{
        State,
        shards::Shards,
        spilled::{Cellar, InMemory, Kind, Name, Spilled},
        tiers::{OutsideKeys, low},
    },
    files,
};

mod entry;
#[cfg(test)]
pub(super) mod tests;

use entry::{HEAD_BYTES, decode, encode, entry_bytes};

/// A file is ended at this size. One that holds less than half of it that counts is moved into the current one.
const FILE_BYTES: u32 = 64 << 20;
/// Entries are written when so many bytes wait.
const WRITE_BYTES: usize = 64 << 10;
/// Read at once, so that one read is enough for nearly all.
const READ_BYTES: usize = 768;
/// Entries moved between two looks at what is asked.
const MOVED_AT_ONCE: usize = 32;
/// What the files are called, before their number.
const PREFIX: &str = "spill-";

/// Where an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    file: u32,
    offset: u32,
}

/// A file.
pub struct Stored {
    file: File,
    /// Written to since it was last synced.
    dirty: AtomicBool,
}

impl Stored {
    /// Makes durable what was written.
    pub fn sync(&self) -> io::Result<()> {
        if self.dirty.swap(false, Ordering::AcqRel) {
            self.file.sync_data().inspect_err(|_| self.dirty.store(true, Ordering::Release))?;
        }
        Ok(())
    }
}

/// How much a file holds.
struct Held {
    stored: Arc<Stored>,
    bytes: u32,
    entries: u32,
}

/// What a copy of the state needs.
#[derive(Default)]
pub struct Needed {
    /// The files by their number; to be synced first.
    pub files: BTreeMap<u32, Arc<Stored>>,
    /// The newest number that the store had used by then.
    pub newest: u32,
}

/// See the module.
pub struct Store {
    dir: PathBuf,
    places: [Shards<Place>; 2],
    held: BTreeMap<u32, Held>,
    /// The one that is written to.
    current: Option<u32>,
    /// The end of the current one, not written yet.
    tail: Vec<u8>,
    moving: Vec<(Kind, u64, Place)>,
    file_bytes: u32,
    /// How often something was written.
    writes: u64,
}

impl Store {
    /// Opens the files `ids` and looks for what is outside of `state`. Nothing is changed.
    pub fn open(dir: &Path, ids: &BTreeSet<u32>, state: &State) -> Self {
        let mut this = Self {
            dir: dir.to_owned(),
            places: [Shards::default(), Shards::default()],
            held: BTreeMap::new(),
            current: None,
            tail: Vec::new(),
            moving: Vec::new(),
            file_bytes: FILE_BYTES,
            writes: 0,
        };
        let outside = [state.sessions.outside_keys(), state.users.outside_keys()];
        for id in ids {
            if let Err(error) = this.scan(*id, outside) {
                tracing::warn!(%error, file = %path_of(dir, *id).display(), "a file of detection's state cannot be read to its end");
            }
        }
        this
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.places[0].len() + self.places[1].len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps an entry. An error means that what was kept shortly before is lost, or this one.
    pub fn add(&mut self, entry: &Spilled) -> io::Result<()> {
        let (place, before) = match self.append(entry) {
            Ok(place) => (place, Ok(())),
            // What waited could not be written, and its file is given up. This one begins another.
            Err(error) => (self.append(entry)?, Err(error)),
        };
        self.places[entry.kind as usize].insert(entry.key, place);
        let written = if self.tail.len() >= WRITE_BYTES { self.write() } else { Ok(()) };
        before.and(written)
    }

    /// Puts an entry behind the others, not written yet.
    fn append(&mut self, entry: &Spilled) -> io::Result<Place> {
        let id = self.writable()?;
        let Some(held) = self.held.get_mut(&id) else { return Err(io::Error::other("its file is gone")) };
        let place = Place { file: id, offset: held.bytes };
        let before = self.tail.len();
        encode(entry, &mut self.tail);
        held.bytes += u32::try_from(self.tail.len() - before).unwrap_or(u32::MAX);
        held.entries += 1;
        Ok(place)
    }

    /// Finds an entry; none where it is lost.
    pub fn find(&self, name: Name) -> Option<Spilled> {
        let place = self.places[name.kind as usize].get(name.key)?;
        let read = self.read(place).inspect_err(|error| {
            tracing::warn!(%error, file = place.file, "what detection remembered of a session or user cannot be read");
        });
        let entry = read.ok()?;
        ((entry.kind, entry.key, low(entry.seq)) == (name.kind, name.key, name.seq)).then_some(entry)
    }

    /// Writes what waits.
    pub fn write(&mut self) -> io::Result<()> {
        let tail = std::mem::take(&mut self.tail);
        let Some(held) = self.current.and_then(|id| self.held.get(&id)).filter(|_| !tail.is_empty()) else {
            return Ok(());
        };
        held.stored.dirty.store(true, Ordering::Release);
        if let Err(error) = held.stored.file.write_all_at(&tail, u64::from(held.bytes) - tail.len() as u64) {
            // What is in it reads as damaged. The next one may fare better.
            self.current = None;
            return Err(error);
        }
        self.writes += 1;
        self.tail = tail;
        self.tail.clear();
        Ok(())
    }

    /// How often something was written since it was opened.
    pub const fn writes(&self) -> u64 {
        self.writes
    }

    /// Forgets what is not outside any more and says what a copy of the state needs. Begins to move what is left of files
    /// that hold little: see [`Self::move_some`].
    pub fn save(&mut self, outside: [&OutsideKeys; 2]) -> io::Result<Needed> {
        for (places, outside) in self.places.iter_mut().zip(outside) {
            places.retain(|key, _| outside.get(key).is_some());
        }
        self.write()?;
        let mut live: BTreeMap<u32, u32> = BTreeMap::new();
        for place in self.places.iter().flat_map(|places| places.iter().map(|(_, place)| place)) {
            *live.entry(place.file).or_default() += 1;
        }
        let newest = self.held.keys().next_back().copied().unwrap_or(0);
        self.held.retain(|id, _| live.contains_key(id) || Some(*id) == self.current);
        let is_little = |id: &u32| {
            let (Some(held), Some(live)) = (self.held.get(id), live.get(id)) else { return false };
            let bytes = u64::from(held.bytes) * u64::from(*live) / u64::from(held.entries.max(1));
            Some(*id) != self.current && bytes < u64::from(self.file_bytes / 2)
        };
        let little: BTreeSet<u32> = live.keys().copied().filter(is_little).collect();
        self.moving.clear();
        for kind in [Kind::Session, Kind::User] {
            let places = self.places[kind as usize].iter().filter(|(_, place)| little.contains(&place.file));
            self.moving.extend(places.map(|(key, place)| (kind, key, place)));
        }
        // In the order of the files.
        self.moving.sort_unstable_by_key(|(_, _, place)| std::cmp::Reverse((place.file, place.offset)));
        let files: BTreeMap<u32, Arc<Stored>> =
            self.held.iter().map(|(id, held)| (*id, Arc::clone(&held.stored))).collect();
        Ok(Needed { files, newest })
    }

    /// Whether something is to be moved.
    pub const fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// Moves a few entries into the current file. Each counts where it was until it is written anew: a disk that takes nothing
    /// must not cost what is on it.
    pub fn move_some(&mut self) -> io::Result<()> {
        let some = self.moving.split_off(self.moving.len().saturating_sub(MOVED_AT_ONCE));
        let mut moved = Vec::with_capacity(some.len());
        for (kind, key, place) in some.into_iter().rev() {
            if self.places[kind as usize].get(key) != Some(place) {
                continue;
            }
            match self.read(place) {
                Ok(entry) => moved.push((kind, key, self.append(&entry)?)),
                Err(_) => drop(self.places[kind as usize].remove(key)),
            }
        }
        self.write()?;
        for (kind, key, place) in moved {
            self.places[kind as usize].insert(key, place);
        }
        Ok(())
    }

    fn read(&self, Place { file, offset }: Place) -> io::Result<Spilled> {
        let Some(held) = self.held.get(&file) else { return Err(io::Error::from(io::ErrorKind::NotFound)) };
        let written = if self.current == Some(file) { held.bytes - self.tail.len() as u32 } else { held.bytes };
        if offset >= written {
            return decode(&self.tail[(offset - written) as usize..]).map(|(entry, _)| entry);
        }
        let mut bytes = [0; READ_BYTES];
        let mut len = 0;
        while len < READ_BYTES {
            match held.stored.file.read_at(&mut bytes[len..], u64::from(offset) + len as u64)? {
                0 => break,
                read => len += read,
            }
        }
        match entry_bytes(&bytes[..len])? {
            whole if whole <= len => decode(&bytes[..whole]).map(|(entry, _)| entry),
            whole => {
                let mut bytes = vec![0; whole];
                held.stored.file.read_exact_at(&mut bytes, u64::from(offset))?;
                decode(&bytes).map(|(entry, _)| entry)
            }
        }
    }

    /// The file to add to, a new one where it is full.
    fn writable(&mut self) -> io::Result<u32> {
        if let Some(id) = self.current {
            let is_full = self.held.get(&id).is_none_or(|held| held.bytes >= self.file_bytes);
            if !is_full {
                return Ok(id);
            }
            self.write()?;
        }
        let mut id = newest(&self.dir)? + 1;
        let file = loop {
            match files::make(&path_of(&self.dir, id)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => id += 1,
                opened => break opened?,
            }
        };
        let stored = Arc::new(Stored { file, dirty: AtomicBool::new(true) });
        self.held.insert(id, Held { stored, bytes: 0, entries: 0 });
        self.current = Some(id);
        Ok(id)
    }

    /// Reads a file and remembers where it holds what is outside.
    fn scan(&mut self, id: u32, outside: [&OutsideKeys; 2]) -> io::Result<()> {
        let file = File::open(path_of(&self.dir, id))?;
        let mut reader = BufReader::with_capacity(1 << 20, file.try_clone()?);
        let stored = Arc::new(Stored { file, dirty: AtomicBool::new(false) });
        let held = self.held.entry(id).or_insert(Held { stored, bytes: 0, entries: 0 });
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if (&mut reader).take(HEAD_BYTES as u64).read_to_end(&mut bytes)? == 0 {
                return Ok(());
            }
            let whole = entry_bytes(&bytes)?;
            (&mut reader).take((whole - HEAD_BYTES) as u64).read_to_end(&mut bytes)?;
            let (entry, whole) = decode(&bytes)?;
            let known = outside[entry.kind as usize].get(entry.key);
            if known.is_some_and(|known| known.seq == low(entry.seq)) {
                self.places[entry.kind as usize].insert(entry.key, Place { file: id, offset: held.bytes });
            }
            held.entries += 1;
            held.bytes += u32::try_from(whole).unwrap_or(u32::MAX);
        }
    }
}

impl Cellar for Store {
    fn put(&mut self, entry: Spilled) {
        if let Err(error) = self.add(&entry) {
            tracing::warn!(%error, "what detection remembers cannot be written to disk; some of it is lost");
        }
    }

    fn get(&mut self, name: Name) -> Option<Vec<u8>> {
        self.find(name).map(|entry| entry.bytes)
    }
}

/// For whoever looks from outside, beside a service that may run: nothing is written.
pub struct Borrowed {
    store: Store,
    newer: InMemory,
}

impl Borrowed {
    /// What is outside by that store, and from here on in memory.
    pub fn new(store: Store) -> Self {
        Self { store, newer: InMemory::default() }
    }
}

impl Cellar for Borrowed {
    fn put(&mut self, entry: Spilled) {
        self.newer.put(entry);
    }

    fn get(&mut self, name: Name) -> Option<Vec<u8>> {
        self.newer.get(name).or_else(|| self.store.get(name))
    }
}

/// Deletes the files up to `newest` that no copy needs.
pub fn forget(dir: &Path, needed: &BTreeSet<u32>, newest: u32) -> io::Result<()> {
    for id in list(dir)?.into_iter().filter(|id| *id <= newest && !needed.contains(id)) {
        fs::remove_file(path_of(dir, id))?;
    }
    Ok(())
}

fn path_of(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{PREFIX}{id:010}"))
}

fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|id| id.parse::<u32>().ok()));
    }
    Ok(ids)
}

fn newest(dir: &Path) -> io::Result<u32> {
    Ok(list(dir)?.into_iter().max().unwrap_or(0))
}
