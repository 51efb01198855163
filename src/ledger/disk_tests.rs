//! What is low, what gives way, and what waits for it.

use super::*;
use crate::{record::AlarmState, units::ByteSize};

const SEGMENT: usize = 64 << 10;

fn disk(dir: &Path, when_full: WhenFull) -> Disk {
    let config = JournalConfig {
        segment: ByteSize::new(SEGMENT as u64),
        max_bytes: ByteSize::new(8 * SEGMENT as u64),
        min_free: ByteSize::new(0),
        when_full,
        ..JournalConfig::default()
    };
    let consumers = Consumers::default();
    consumers.complete();
    let (metrics, open) = (Metrics::new(), OpenFrom::default());
    open.begins(Seq::MAX);
    let told = (Alarms::new(Arc::clone(&metrics)), metrics);
    Disk::new(dir.to_owned(), open, config, (consumers, Copies::default()), told)
}

fn write(dir: &Path, first: Seq) {
    fs::write(segment::plain_path(dir, first), vec![b'x'; SEGMENT]).unwrap();
}

#[test]
fn what_is_written_between_two_looks_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(dir.path(), WhenFull::Refuse);
    write(dir.path(), 1);
    disk.watch(|_, _| {}).unwrap();
    let room = disk.room();
    // 8 segments less one; less than a segment is low.
    assert!(!room.is_used_up(7 * SEGMENT - 1) && room.is_used_up(7 * SEGMENT));
    assert!(!room.take(5 * SEGMENT) && !room.take(SEGMENT) && room.take(1) && !room.take(1));
    assert!(!room.is_used_up(0) && !room.take(SEGMENT) && room.is_used_up(0));
    // It looks again: it was not written after all.
    disk.watch(|_, _| {}).unwrap();
    assert!(!room.is_used_up(7 * SEGMENT - 1));
}

#[test]
fn as_many_segments_give_way_as_are_in_the_way_under_one_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
    for first in 1..=20 {
        write(dir.path(), first);
    }
    disk.watch(|_, _| {}).unwrap();
    for first in 21..=40 {
        write(dir.path(), first);
        disk.watch(|_, _| {}).unwrap();
        // 8 fit, two are kept free.
        let left: Vec<Seq> = segment::list(dir.path()).unwrap().iter().map(|segment| segment.first).collect();
        assert_eq!(left, (first - 5..=first).collect::<Vec<_>>());
        assert!(!disk.room().is_used_up(0));
    }
    let changes = |name: Alarm| -> Vec<AlarmState> {
        let pending = disk.alarms.pending(0).into_iter().map(|(_, change)| change);
        pending.filter(|change| change.name == name.name()).map(|change| change.state).collect()
    };
    assert_eq!(changes(Alarm::RecordsDropped), [AlarmState::Raised]);
    assert_eq!(disk.dropped, Some((1, 34)));
    assert!(changes(Alarm::DiskLow).len() <= 1, "{:?}", changes(Alarm::DiskLow));
}

#[test]
fn what_detection_has_no_copy_of_gives_way_once_it_has_one_or_cannot_have_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
    let left = |dir: &Path| segment::list(dir).unwrap().iter().map(|segment| segment.first).collect::<Vec<_>>();
    (1..=5).for_each(|n| write(dir.path(), 10 * n - 9));
    disk.consumers.copied(0);
    disk.watch(|_, _| {}).unwrap();
    // 5 of 8, and the next two that come will need what is not copied.
    assert_eq!((disk.copies.wanted(), disk.room().may_come()), (Some(Why::Room), true));
    disk.copies.end();
    disk.consumers.copied(50);
    disk.watch(|_, _| {}).unwrap();
    assert_eq!((disk.copies.wanted(), left(dir.path()).len()), (None, 5));
    (6..=9).for_each(|n| write(dir.path(), 10 * n - 9));
    // 19 is the last that is copied: 1 to 10 may go, 11 to 20 may not.
    disk.consumers.copied(19);
    disk.watch(|_, _| {}).unwrap();
    assert_eq!((left(dir.path())[0], disk.copies.wanted()), (11, Some(Why::Room)));
    assert!(disk.room().is_used_up(0) && disk.room().may_come(), "it is worth waiting for the copy");
    disk.copies.end();
    disk.consumers.copied(20);
    disk.watch(|_, _| {}).unwrap();
    assert_eq!((left(dir.path())[0], disk.copies.wanted()), (21, Some(Why::Room)));
    disk.copies.end();
    disk.copied(false);
    disk.watch(|_, _| {}).unwrap();
    assert_eq!(left(dir.path()), [31, 41, 51, 61, 71, 81]);
    // For once: the next is tried again.
    (10..=12).for_each(|n| write(dir.path(), 10 * n - 9));
    disk.watch(|_, _| {}).unwrap();
    assert_eq!((left(dir.path())[0], disk.copies.wanted()), (31, Some(Why::Room)));
}

#[test]
fn nobody_waits_where_nothing_can_give_way() {
    let dir = tempfile::tempdir().unwrap();
    for (when_full, segments, may_come) in [
        (WhenFull::Refuse, 1, false),
        (WhenFull::Refuse, 9, false),
        (WhenFull::DropUndelivered, 1, true),
        (WhenFull::DropUndelivered, 9, true),
    ] {
        let mut disk = disk(dir.path(), when_full);
        (1..=segments).for_each(|first| write(dir.path(), first));
        disk.watch(|_, _| {}).unwrap();
        assert_eq!(disk.room().may_come(), may_come, "{when_full:?} {segments}");
    }
    let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
    disk.config.max_bytes = ByteSize::new(1);
    disk.watch(|_, _| {}).unwrap();
    disk.watch(|_, _| {}).unwrap();
    assert!(disk.room().is_used_up(0) && !disk.room().may_come(), "only the open one is left");
}

#[test]
fn room_that_others_took_and_gave_back_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(dir.path(), WhenFull::Refuse);
    let (max, min_free) = (disk.config.max_bytes.get(), 1_000);
    disk.config.min_free = ByteSize::new(min_free);
    let mut is_raised = |tenths: u64, free: u64| {
        disk.say(Found { bytes: max / 10 * tenths, free }, false);
        !disk.alarms.raised().is_empty()
    };
    // 90 % of max_bytes is low, and twice min_free; 50 % is well.
    assert_eq!([is_raised(7, 9_000), is_raised(7, 1_999), is_raised(7, 2_000)], [false, true, false]);
    assert_eq!([is_raised(9, 9_000), is_raised(7, 9_000), is_raised(4, 9_000)], [true, true, false]);
    assert_eq!([is_raised(9, 1_000), is_raised(7, 9_000), is_raised(4, 1_000)], [true, true, true]);
}

#[test]
fn the_open_segment_never_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = disk(dir.path(), WhenFull::DropUndelivered);
    fs::write(segment::plain_path(dir.path(), 1), vec![b'x'; 9 * SEGMENT]).unwrap();
    disk.watch(|_, _| {}).unwrap();
    assert!(disk.room().is_used_up(0) && segment::plain_path(dir.path(), 1).exists());
}
