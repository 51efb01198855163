//! Proof: the order of system calls. For each 200 there is a journal write that ended before an `fdatasync` of the same
//! file began, and that ended with 0 before the answer went out. Read from a trace by `strace`.

use std::{collections::HashMap, fs, process::Command};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{PATIENT, Settings, TestApp},
    event::Event,
    seed,
};

/// Enough to see more than the first batch, and one segment change.
const EVENTS: usize = 40;
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync";

/// One completed call: line numbers of its begin and end in the trace.
struct Call {
    name: String,
    begin: usize,
    end: usize,
    arguments: String,
    result: String,
}

/// Reads `strace -f -o`: `PID name(arguments) = result`, split in two where another thread came between.
fn parse(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(pid, (number, begun.to_owned()));
            continue;
        }
        let (begin, whole) = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, resumed)) => match open.remove(pid) {
                Some((begin, begun)) => (begin, begun + resumed),
                None => continue,
            },
            None => (number, rest.to_owned()),
        };
        let Some((call, result)) = whole.rsplit_once(" = ") else { continue };
        let Some((name, arguments)) = call.split_once('(') else { continue };
        let (name, arguments, result) = (name.to_owned(), arguments.to_owned(), result.to_owned());
        calls.push(Call { name, begin, end: number, arguments, result });
    }
    calls
}

/// The digits behind `key` in a call's data, where `strace` writes quotes with a backslash.
fn seqs(data: &str, key: &str) -> Vec<u64> {
    let parts = data.split(key).skip(1);
    parts.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
}

/// `12</path>` of the first argument.
fn file(call: &Call) -> &str {
    call.arguments.split([',', ')']).next().unwrap_or_default()
}

/// The journal write of each seq was synced before the answer that names it. Returns the number of answers.
fn check(trace: &str) -> usize {
    let calls = parse(trace);
    let is_journal = |call: &&Call| file(call).contains("/journal/") && file(call).ends_with(".jsonl>");
    let writes: Vec<&Call> = calls.iter().filter(|call| call.name.contains("write")).filter(is_journal).collect();
    let syncs: Vec<&Call> = calls.iter().filter(|call| call.name.ends_with("sync")).filter(is_journal).collect();
    let mut answers = 0;
    for answer in calls.iter().filter(|call| call.arguments.contains("HTTP/1.1 200") && !file(call).contains(".jsonl"))
    {
        for seq in seqs(&answer.arguments, "\\\"seq\\\":") {
            let written = |call: &&&Call| seqs(&call.arguments, "\\\",\\\"seq\\\":").contains(&seq);
            let write = writes.iter().find(written).unwrap_or_else(|| panic!("no journal write of seq {seq}"));
            let sync =
                syncs.iter().find(|sync| sync.begin > write.end && file(sync) == file(write) && sync.result == "0");
            let sync = sync.unwrap_or_else(|| panic!("no sync of {} after the write of seq {seq}", file(write)));
            assert!(
                sync.end < answer.begin,
                "seq {seq} was answered in line {} before its sync ended",
                answer.begin + 1
            );
            answers += 1;
        }
    }
    answers
}

#[test]
fn the_answer_follows_the_sync_that_follows_the_write() {
    let installed = Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(installed, "this proof needs strace: apt-get install strace");
    let under = ["strace", "-f", "-y", "-s", "65536", "-e", CALLS, "-o", "trace.txt"].map(str::to_owned);
    let settings = Settings { under: under.into(), server: PATIENT.to_owned(), ..Settings::default() }
        .and("[journal]\nsegment = \"64KiB\"\n");
    let mut app = TestApp::start(settings);
    let mut rng = StdRng::seed_from_u64(seed("order of system calls"));
    let mut client = app.client();
    for _ in 0..EVENTS {
        let verdict = client.send(&Event::new(&mut rng), &app.signer()).unwrap();
        assert_eq!(verdict.word, "accepted", "{verdict:?}");
    }
    app.stop();
    let trace = fs::read_to_string(app.path("trace.txt")).unwrap();
    assert_eq!(check(&trace), EVENTS);
}

/// A trace by hand: write, sync, answer, in this order or another.
fn trace(lines: [&str; 4]) -> String {
    lines.join("\n")
}

const WRITE: &str =
    r#"7 write(9</d/journal/00000000000000000001.jsonl>, "{\"node\":\"n\",\"seq\":1,\"kind\"", 28) = 28"#;
const SYNC_BEGIN: &str = "7 fdatasync(9</d/journal/00000000000000000001.jsonl> <unfinished ...>";
const SYNC_END: &str = "7 <... fdatasync resumed>) = 0";
const ANSWER: &str =
    r#"8 writev(5<socket:[1]>, [{iov_base="HTTP/1.1 200 OK\r\n\r\n{\"status\":\"accepted\",\"seq\":1}"}], 1) = 50"#;

#[test]
fn a_right_order_is_seen() {
    assert_eq!(check(&trace([WRITE, SYNC_BEGIN, SYNC_END, ANSWER])), 1);
}

#[test]
#[should_panic(expected = "before its sync ended")]
fn an_answer_during_the_sync_is_seen() {
    check(&trace([WRITE, SYNC_BEGIN, ANSWER, SYNC_END]));
}

#[test]
#[should_panic(expected = "no sync of")]
fn a_sync_before_the_write_is_seen() {
    check(&trace([SYNC_BEGIN, SYNC_END, WRITE, ANSWER]));
}
