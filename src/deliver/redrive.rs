//! `sinks/<name>/redrive.json`: what an operator asked to be delivered again, and how far that has come. On disk before
//! the command says so, so that no crash loses the request; done again in part at worst.

use std::{collections::BTreeSet, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::{files, record::Seq};

/// Ranges that can wait at once: enough for a hand, not for a runaway script.
pub const RANGES_MAX: usize = 100;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// Ranges of the journal, the first one under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// Parked records to try again.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retry: BTreeSet<Seq>,
}

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Its first seq.
    pub from: Seq,
    /// Its last seq.
    pub to: Seq,
    /// The first seq of it that is not done.
    pub next: Seq,
}

impl Redrive {
    /// Reads the file. `InvalidData` where it is not readable.
    pub fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file, or deletes it when nothing is asked for.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if !self.is_empty() {
            let mut bytes = serde_json::to_vec(self)?;
            bytes.push(b'\n');
            return files::replace(path, &bytes);
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.retry.is_empty()
    }

    /// These parked records need no further try, and the first range is done before `reached`.
    pub fn done(&mut self, retried: &[Seq], reached: Option<Seq>) {
        for seq in retried {
            self.retry.remove(seq);
        }
        if let (Some(range), Some(reached)) = (self.ranges.first_mut(), reached) {
            range.next = reached;
            if range.next > range.to {
                self.ranges.remove(0);
            }
        }
    }

    /// Records still to go, as far as can be told without reading them.
    pub fn left(&self) -> u64 {
        let ranges: u64 = self.ranges.iter().map(|range| (range.to + 1).saturating_sub(range.next)).sum();
        ranges + self.retry.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_release_s_file_is_read_and_an_empty_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redrive.json");
        assert!(Redrive::load(&path).unwrap().is_empty());
        let fixture = include_str!("../../fixtures/sinks/files/redrive.json");
        fs::write(&path, fixture).unwrap();
        let redrive = Redrive::load(&path).unwrap();
        // 7 to 20 is 14 records, and two parked ones.
        assert_eq!(redrive.left(), 16);
        redrive.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), fixture);
        Redrive::default().save(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "{").unwrap();
        assert_eq!(Redrive::load(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
