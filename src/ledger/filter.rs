//! The exact-negative filter over the dedupe window: "never seen" is certain, "seen" is a question for the index.
//!
//! Ids live in Bloom filters, grouped by time bucket so that a bucket expires whole, and filled in seq order so that a
//! hit also says between which seqs the id must be. Durable copies under `index/filters/` spare a start the reading of
//! the whole window; they are derived, and made anew from the journal whenever anything about them is doubtful.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fastbloom::BloomFilter;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{files, record::Seq};

/// 128 bits of SHA-256 over source and event id: what the window remembers.
pub type IdKey = [u8; 16];

/// Number of a time bucket: `received_at` divided by the bucket's width.
pub type Bucket = u32;

/// Ids that a bucket's filters hold, each in turn; the last size repeats. Small first, so that a quiet week stays small;
/// none so large that the journal's stretch that it names cannot be searched while a sender waits, or that a copy of it
/// (1.4 MB) holds up the thread.
const CAPACITIES: [usize; 3] = [1 << 14, 1 << 16, 1 << 18];
/// Chance that a full filter takes a new id for a known one. A new id taken for a known one waits for the index, so it
/// must be rare at any rate of events. At 43 bits an id, 10 M ids take 54 MB.
const FALSE_POSITIVE: f64 = 1e-9;
/// Fixed, so that a durable copy reads back. Ids are hashed with SHA-256 first, so the seed protects nothing.
const SEED: u128 = 0x7265_6672_6573_682d_6175_6469_742f_3031;

/// Ids of one stretch of the journal inside one bucket.
#[derive(Clone)]
struct Filter {
    bucket: Bucket,
    first: Seq,
    last: Seq,
    ids: usize,
    capacity: usize,
    bloom: Arc<BloomFilter>,
}

/// A stretch of the journal that may hold an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its bucket.
    pub bucket: Bucket,
    /// First seq.
    pub first: Seq,
    /// Last seq.
    pub last: Seq,
}

/// All filters of the window, oldest first. Cloning is cheap but for the one filter that is written to next.
#[derive(Clone, Default)]
pub struct Filters {
    filters: Vec<Filter>,
    covered: Seq,
}

fn bloom(capacity: usize) -> BloomFilter {
    BloomFilter::with_false_pos(FALSE_POSITIVE).seed(&SEED).expected_items(capacity)
}

fn hash(key: &IdKey) -> u64 {
    let mut half = [0; 8];
    half.copy_from_slice(&key[..8]);
    u64::from_le_bytes(half)
}

impl Filters {
    /// The last seq whose id is in here.
    pub fn covered(&self) -> Seq {
        self.covered
    }

    /// Everything up to `seq` is in here (records without an id included).
    pub fn cover(&mut self, seq: Seq) {
        self.covered = self.covered.max(seq);
    }

    /// Adds the id of record `seq`; seqs and buckets never decrease.
    pub fn insert(&mut self, bucket: Bucket, seq: Seq, key: &IdKey) {
        let nth = self.filters.iter().filter(|filter| filter.bucket == bucket).count();
        let has_room = self.filters.last().is_some_and(|last| last.bucket == bucket && last.ids < last.capacity);
        if !has_room {
            let capacity = CAPACITIES[nth.min(CAPACITIES.len() - 1)];
            let bloom = Arc::new(bloom(capacity));
            self.filters.push(Filter { bucket, first: seq, last: seq, ids: 0, capacity, bloom });
        }
        if let Some(last) = self.filters.last_mut() {
            Arc::make_mut(&mut last.bloom).insert_hash(hash(key));
            last.ids += 1;
            last.last = seq;
        }
        self.covered = self.covered.max(seq);
    }

    /// Where the id may be, newest first; empty = never seen in the window.
    pub fn stretches(&self, key: &IdKey) -> Vec<Stretch> {
        let hash = hash(key);
        let hit = |filter: &&Filter| filter.bloom.contains_hash(hash);
        let hits = self.filters.iter().rev().filter(hit);
        hits.map(|filter| Stretch { bucket: filter.bucket, first: filter.first, last: filter.last }).collect()
    }

    /// Forgets buckets before `oldest`.
    pub fn expire(&mut self, oldest: Bucket) {
        self.filters.retain(|filter| filter.bucket >= oldest);
    }

    /// The buckets held, oldest first.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut buckets: Vec<Bucket> = self.filters.iter().map(|filter| filter.bucket).collect();
        buckets.dedup();
        buckets
    }
}

/// Which files a durable copy is.
const MANIFEST: &str = "manifest.json";

#[derive(Serialize, Deserialize)]
struct Manifest {
    journal: String,
    bucket_secs: u64,
    covered: Seq,
    filters: Vec<Saved>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    bucket: Bucket,
    first: Seq,
    last: Seq,
    ids: usize,
    capacity: usize,
    sha256: String,
}

impl Saved {
    /// A file's name says what is in it, so that a full filter is written once.
    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}-{:020}.bloom", self.first, self.last))
    }
}

fn words(filter: &BloomFilter) -> Vec<u8> {
    filter.as_slice().iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Writes a durable copy; files that it no longer needs are removed.
pub fn save(filters: &Filters, dir: &Path, journal: &str, bucket_secs: u64) -> io::Result<()> {
    files::create_dir(dir)?;
    let mut manifest = Manifest { journal: journal.to_owned(), bucket_secs, covered: filters.covered, filters: vec![] };
    for filter in &filters.filters {
        let bytes = words(&filter.bloom);
        let saved = Saved {
            bucket: filter.bucket,
            first: filter.first,
            last: filter.last,
            ids: filter.ids,
            capacity: filter.capacity,
            sha256: hex::encode(Sha256::digest(&bytes)),
        };
        let path = saved.path(dir);
        if !path.exists() {
            files::replace(&path, &bytes)?;
        }
        manifest.filters.push(saved);
    }
    let list = dir.join(MANIFEST);
    files::replace(&list, &serde_json::to_vec(&manifest)?)?;
    files::sync_dir(dir)?;
    let needed: Vec<PathBuf> = manifest.filters.iter().map(|saved| saved.path(dir)).chain([list]).collect();
    for entry in fs::read_dir(dir)? {
        // What a stop left half-written, too.
        let path = entry?.path();
        if !needed.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes a durable copy be none.
pub fn forget(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(MANIFEST))?;
    files::sync_dir(dir)
}

/// Reads a durable copy of this very journal back; `None` when there is none or anything about it is doubtful.
pub fn load(dir: &Path, journal: &str, bucket_secs: u64) -> Option<Filters> {
    let manifest: Manifest = serde_json::from_slice(&fs::read(dir.join(MANIFEST)).ok()?).ok()?;
    if manifest.journal != journal || manifest.bucket_secs != bucket_secs {
        return None;
    }
    let mut filters = Filters { filters: Vec::new(), covered: manifest.covered };
    for saved in manifest.filters {
        let bytes = fs::read(saved.path(dir)).ok()?;
        let fresh = bloom(saved.capacity);
        let is_whole = CAPACITIES.contains(&saved.capacity)
            && bytes.len() == fresh.as_slice().len() * 8
            && hex::encode(Sha256::digest(&bytes)) == saved.sha256;
        if !is_whole {
            return None;
        }
        let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
        let bloom = BloomFilter::from_vec(words).seed(&SEED).hashes(fresh.num_hashes());
        let Saved { bucket, first, last, ids, capacity, .. } = saved;
        filters.filters.push(Filter { bucket, first, last, ids, capacity, bloom: Arc::new(bloom) });
    }
    Some(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> IdKey {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(n.to_le_bytes())[..16]);
        key
    }

    #[test]
    fn a_known_id_is_never_missed_and_its_stretch_holds_it() {
        let mut filters = Filters::default();
        for n in 1..=200_000 {
            filters.insert(u32::try_from(n / 50_000).unwrap(), n, &key(n));
        }
        for n in 1..=200_000 {
            assert!(filters.stretches(&key(n)).iter().any(|s| (s.first..=s.last).contains(&n)), "{n}");
        }
        let wrong = (300_000..400_000).filter(|n| !filters.stretches(&key(*n)).is_empty()).count();
        // 100,000 strangers, at most 12 filters of 1e-9: 0.001 expected at the very most.
        assert!(wrong < 5, "{wrong}");
        filters.expire(3);
        assert_eq!(filters.buckets(), [3, 4]);
        assert!(filters.stretches(&key(1)).is_empty());
    }

    #[test]
    fn a_saved_copy_reads_back_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut filters = Filters::default();
        for n in 1..=20_000 {
            filters.insert(1, n, &key(n));
        }
        save(&filters, dir.path(), "3f9a1c2e", 60).unwrap();
        filters.insert(1, 20_001, &key(20_001));
        // As a stop in the middle of a copy leaves it.
        let left = dir.path().join("00000000000000000001-00000000000000000007.bloom.tmp");
        fs::write(&left, b"half").unwrap();
        save(&filters, dir.path(), "3f9a1c2e", 60).unwrap();
        assert!(!left.exists());
        let loaded = load(dir.path(), "3f9a1c2e", 60).unwrap();
        assert_eq!(loaded.covered(), 20_001);
        assert!((1..=20_001).all(|n| !loaded.stretches(&key(n)).is_empty()));
        assert!(load(dir.path(), "3f9a1c2f", 60).is_none());
        assert!(load(dir.path(), "3f9a1c2e", 61).is_none());
        let file =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().unwrap() == "bloom");
        let mut bytes = fs::read(file.as_ref().unwrap()).unwrap();
        bytes[100] ^= 1;
        fs::write(file.unwrap(), bytes).unwrap();
        assert!(load(dir.path(), "3f9a1c2e", 60).is_none());
    }
}
