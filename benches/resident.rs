//! Resident memory of a process, for benches.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops by panicking")]

use std::fs;

/// Of `/proc/<process>`: a process id, or `self`. MB.
pub fn resident_mb(process: impl std::fmt::Display) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() * 1_024 / 1_000_000
}
