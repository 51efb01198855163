//! The structure, checked as text: who may name whom, what must be absent, how long things may be.
//!
//! Every rule takes one file and returns complaints; the last tests break each rule once, to see that it can fail.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops by panicking")]

#[path = "tidy/text.rs"]
mod text;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use text::{blank, block_end, line_of, named_under, without_tests, word_offsets};

/// Lines of a file.
const FILE_LINES_MAX: usize = 400;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// How far above an `unwrap` the attribute with its reason may stand, lines.
const REASON_ABOVE_LINES: usize = 12;

/// What everything may name, besides the modules in [`ARROWS`]; these name nothing of ours but what ARROWS says.
const BASE: &[&str] = &["build_error", "event", "files", "host", "record", "slice", "time", "units"];

/// Which modules of ours each module may name. A module not listed here is a complaint: say where it belongs.
const ARROWS: &[(&str, &str)] = &[
    ("build_error", ""),
    ("slice", ""),
    ("time", ""),
    ("units", ""),
    ("files", ""),
    ("host", ""),
    ("event", "time units"),
    ("record", "event host time units"),
    ("secret", ""),
    ("telemetry", ""),
    ("scope", ""),
    ("privacy", "enrich secret"),
    ("source", "secret"),
    ("sink", "secret"),
    ("format", ""),
    ("enrich", ""),
    ("detect", ""),
    ("ledger", "detect secret telemetry"),
    ("deliver", "format ledger scope sink telemetry"),
    ("intake", "detect enrich ledger privacy scope secret source telemetry"),
    ("web", "deliver intake ledger secret source telemetry"),
    ("config", "deliver detect enrich format intake ledger privacy scope secret sink source telemetry web"),
    ("keys", "config ledger secret"),
    ("app", "config deliver detect enrich format intake keys ledger privacy scope secret sink source telemetry web"),
    ("cli", "app config deliver detect enrich format intake keys ledger privacy scope secret sink source telemetry"),
    ("main", "cli"),
    ("lib", ""),
];

/// Folders with plugins: the files that the list at the end of their `mod.rs` names. No file there names another plugin.
const PLUGINS: &[&str] = &["source", "sink", "format"];

/// What makes a `static` more than a constant.
const SHARED: &[&str] = &["Lock", "Cell", "Mutex", "Atomic", "mut"];

/// Who opens the one door of a secret.
const EXPOSE: &[&str] = &[
    "src/secret.rs",
    // Writes the key files.
    "src/keys.rs",
    // Tokens, webhook keys, credentials of senders.
    "src/source/",
    // Signs what it sends; credentials of the other side.
    "src/sink/http/",
    // Header values, what is cut from answers, client keys.
    "src/sink/client.rs",
    "src/sink/client/",
    "src/sink/tls.rs",
    "src/sink/kafka.rs",
    "src/sink/nats.rs",
    // A key or a password that is a part of what is sent.
    "src/sink/pagerduty.rs",
    "src/sink/smtp.rs",
    "src/sink/azure_logs/token.rs",
    // Signs checkpoints.
    "src/ledger/checkpoint.rs",
    // The admin token: compared here, sent there.
    "src/web/admin.rs",
    "src/cli/admin.rs",
    // Signs test events as a sender would.
    "src/cli/sign.rs",
    "src/cli/send.rs",
];

/// Words and the only files (or folders) whose code may hold them.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("sled", &["src/ledger/index.rs"]),
    ("actix_web", &["src/web/", "src/app.rs", "src/app/serving.rs"]),
    ("actix_rt", &["src/web/", "src/app.rs"]),
    ("expose", EXPOSE),
    ("flush_async", &[]),
    ("lazy_static", &[]),
    ("thread_local", &[]),
    ("set_var", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("unsafe", &[]),
];

/// One file of ours.
struct Source {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// `text` with comments and what is inside of quotes blanked.
    code: String,
    /// `code` with test modules blanked.
    product: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let is_product = path.starts_with("src/") && !path.ends_with("tests.rs") && !path.contains("/tests/");
        let product = if is_product { without_tests(&code) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code, product }
    }

    /// `src/ledger/read.rs` -> `ledger`; `None` outside of `src`.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next().unwrap().trim_end_matches(".rs"))
    }

    /// `src/sink/file.rs` -> (`sink`, `file`): a folder with plugins, and the file or folder in it; not for `mod.rs`.
    fn in_plugins(&self) -> Option<(&str, &str)> {
        let (kind, name) = self.path.strip_prefix("src/")?.split_once('/')?;
        let name = name.split('/').next()?.trim_end_matches(".rs");
        (PLUGINS.contains(&kind) && name != "mod").then_some((kind, name))
    }

    /// The plugins that a `mod.rs` lists: `sinks! { file => File, … }`.
    fn listed(&self) -> Vec<(&str, &str)> {
        let Some(kind) = PLUGINS.iter().find(|kind| self.path == format!("src/{kind}/mod.rs")) else {
            return Vec::new();
        };
        let Some((_, list)) = self.code.rsplit_once(&format!("{kind}s! {{")) else { return Vec::new() };
        let list = list.split('}').next().unwrap_or_default();
        list.split(',').filter_map(|entry| Some((*kind, entry.split_once("=>")?.0.trim()))).collect()
    }
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: the module `{module}` has no line in ARROWS", source.path)];
    };
    let roots = ["crate", "refresh_audit"].into_iter();
    let named = roots.flat_map(|root| named_under(&source.product, root));
    // Macros at the crate's root and the crate's own `crate::name!` are no modules.
    let named = named.filter(|(_, name)| ARROWS.iter().any(|(module, _)| module == name));
    let base: &[&str] = if BASE.contains(&module) { &[] } else { BASE };
    let wrong = named
        .filter(|(_, name)| *name != module && !allowed.split(' ').any(|one| one == *name) && !base.contains(name));
    wrong.map(|(line, name)| format!("{}:{line}: `{module}` must not name `{name}`", source.path)).collect()
}

fn plugins(source: &Source, all: &[Source]) -> Vec<String> {
    let Some((kind, own)) = source.in_plugins() else { return Vec::new() };
    let mut complaints = Vec::new();
    for (other_kind, other) in all.iter().flat_map(Source::listed).filter(|found| *found != (kind, own)) {
        let roots = [format!("crate::{other_kind}"), "super".to_owned()];
        for root in &roots[..if other_kind == kind { 2 } else { 1 }] {
            let named = named_under(&source.product, root).filter(|(_, name)| *name == other);
            complaints.extend(named.map(|(line, _)| format!("{}:{line}: names the plugin `{other}`", source.path)));
        }
    }
    for kind in PLUGINS.iter().filter(|other| **other != kind) {
        let named = named_under(&source.product, "crate").filter(|(_, name)| name == kind);
        complaints.extend(named.map(|(line, _)| format!("{}:{line}: names `{kind}`", source.path)));
    }
    complaints
}

fn only_in(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (word, places) in ONLY_IN {
        let allowed =
            places.iter().any(|place| source.path == *place || place.ends_with('/') && source.path.starts_with(place));
        if !allowed {
            let found = word_offsets(&source.product, word).map(|at| line_of(&source.product, at));
            complaints.extend(found.map(|line| format!("{}:{line}: `{word}` belongs to {places:?} only", source.path)));
        }
    }
    complaints
}

fn globals(source: &Source) -> Vec<String> {
    let statics = word_offsets(&source.product, "static").filter(|at| !source.product[..*at].ends_with('\''));
    let shared = statics.filter(|at| {
        let item = source.product[*at..].split(['=', ';']).next().unwrap_or_default();
        SHARED.iter().any(|word| item.contains(word))
    });
    let complain = |at| format!("{}:{}: global state", source.path, line_of(&source.product, at));
    shared.map(complain).collect()
}

fn unwraps(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (number, line) in source.product.lines().enumerate() {
        let above = &lines[number.saturating_sub(REASON_ABOVE_LINES)..=number];
        let excused = above.iter().any(|line| line.contains("expect(clippy::") || line.contains("allow(clippy::"));
        for call in [".unwrap()", ".expect(", "panic!(", "unreachable!("] {
            if line.contains(call) && !excused {
                complaints.push(format!("{}:{}: `{call}` without a stated reason", source.path, number + 1));
            }
        }
    }
    for attribute in ["[expect(", "[allow("] {
        for (at, _) in source.code.match_indices(attribute) {
            let end = at + source.code[at..].find(")]").unwrap_or(0);
            if !source.code[at..end].contains("reason") {
                complaints.push(format!("{}:{}: no reason", source.path, line_of(&source.code, at)));
            }
        }
    }
    complaints
}

fn sizes(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("{}: {lines} lines, more than {FILE_LINES_MAX}", source.path));
    }
    for at in word_offsets(&source.code, "fn") {
        let rest = &source.code[at..];
        let lines = rest[..block_end(rest)].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let line = line_of(&source.code, at);
            complaints.push(format!("{}:{line}: {lines} lines, more than {FUNCTION_LINES_MAX}", source.path));
        }
    }
    complaints
}

fn heads(source: &Source) -> Vec<String> {
    let says = source.text.starts_with("//!");
    if says { Vec::new() } else { vec![format!("{}: does not begin by saying what it owns (//!)", source.path)] }
}

fn tests_run(source: &Source, all: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    if source.code.contains("#[ignore") {
        complaints.push(format!("{}: an ignored test proves nothing", source.path));
    }
    let name = source.path.strip_prefix("tests/it/").and_then(|rest| rest.strip_suffix(".rs"));
    if let Some(name) = name.filter(|name| *name != "main" && !name.contains('/')) {
        let listed = all.iter().any(|s| s.path == "tests/it/main.rs" && s.code.contains(&format!("mod {name};")));
        if !listed {
            complaints.push(format!("{}: tests/it/main.rs has no `mod {name};`, so it never runs", source.path));
        }
    }
    complaints
}

fn complaints(all: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in all {
        for rule in [arrows, only_in, globals, unwraps, sizes, heads] {
            complaints.extend(rule(source));
        }
        complaints.extend(plugins(source, all));
        complaints.extend(tests_run(source, all));
    }
    complaints
}

fn collect(root: &Path, dir: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root.join(dir)) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = format!("{dir}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(root, &name, found);
        } else if name.ends_with(".rs") {
            found.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for dir in ["src", "tests", "benches"] {
        collect(root, dir, &mut all);
    }
    assert!(all.len() > 20, "the tree was not found");
    let complaints = complaints(&all);
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
    for (file, says) in
        [("LICENSE", "Apache License"), ("CHANGELOG.md", "## [Unreleased]"), ("deny.toml", "[licenses]")]
    {
        assert!(fs::read_to_string(root.join(file)).unwrap_or_default().contains(says), "{file}");
    }
    assert_ne!(
        fs::metadata(root.join(".ci/run")).unwrap().permissions().mode() & 0o100,
        0,
        ".ci/run is not executable"
    );
}

/// What the rules say of one file in an otherwise empty tree.
fn complaints_about(path: &str, text: &str) -> String {
    let list = Source::new("src/sink/mod.rs", "//! The list.\nsinks! {\n    file => File,\n    other => Other,\n}\n");
    complaints(&[Source::new(path, &format!("//! Says.\n{text}")), list]).join("\n")
}

#[test]
fn every_rule_can_fail() {
    let long_function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(FUNCTION_LINES_MAX));
    let long_file = "// Line.\n".repeat(FILE_LINES_MAX);
    for (path, text, expected) in [
        ("src/web/mod.rs", "use crate::{app::App, event::RefreshEvent};", "`web` must not name `app`"),
        ("src/main.rs", "fn main() { refresh_audit::ledger::x() }", "`main` must not name `ledger`"),
        ("src/units.rs", "fn f() { crate::time::now() }", "`units` must not name `time`"),
        ("src/novel.rs", "", "no line in ARROWS"),
        ("src/sink/file.rs", "use super::{Sink, other::Thing};", "names the plugin `other`"),
        ("src/sink/file.rs", "use crate::sink::other;", "names the plugin `other`"),
        ("src/sink/file.rs", "use crate::config::Config;", "`sink` must not name `config`"),
        ("src/sink/file.rs", "use crate::source::BuildError;", "names `source`"),
        ("src/ledger/dedupe.rs", "use sled::Db;", "`sled` belongs to"),
        ("src/deliver/mod.rs", "use actix_web::web;", "`actix_web` belongs to"),
        ("src/web/mod.rs", "fn f() { s.expose() }", "`expose` belongs to"),
        ("src/ledger/index.rs", "fn f() { db.flush_async() }", "`flush_async` belongs to"),
        ("src/telemetry.rs", "static mut X: u8 = 0;", "global state"),
        ("src/telemetry.rs", "pub static X: std::sync::OnceLock<u8> = 0;", "global state"),
        ("src/app.rs", "fn f() { todo!() }", "`todo!` belongs to"),
        ("src/app.rs", "fn f() { g().unwrap() }", "`.unwrap()` without a stated reason"),
        ("src/app.rs", "#[expect(clippy::unwrap_used)]\nfn f() { g().unwrap() }", "no reason"),
        ("src/app.rs", &long_function, "72 lines, more than 70"),
        ("src/app.rs", &long_function.replace("f()", "f(of: [u8; 2])"), "72 lines, more than 70"),
        ("src/app.rs", &long_file, "401 lines, more than 400"),
        ("tests/it/new.rs", "#[ignore]\nfn f() {}", "an ignored test proves nothing"),
        ("tests/it/new.rs", "", "so it never runs"),
    ] {
        let said = complaints_about(path, text);
        assert!(said.contains(expected), "{path}: {text:?}: expected {expected:?}, not {said:?}");
    }
    let silent = Source::new("src/app.rs", "fn f() {}\n");
    assert!(heads(&silent)[0].contains("does not begin"));
}

#[test]
fn what_is_right_is_left_alone() {
    for (path, text) in [
        (
            "src/web/mod.rs",
            "use crate::intake::Intake;\n// crate::app is not for us\nconst A: &str = \"crate::app todo!()\";",
        ),
        ("src/app.rs", "#[expect(clippy::expect_used, reason = \"why\")]\nfn f() { g().expect(\"fits\") }"),
        ("src/app.rs", "#[cfg(test)]\nmod tests {\n    fn f() { g().unwrap() }\n}"),
        ("src/sink/file.rs", "use super::{Sink, BuildError, helper::help};"),
        ("src/app.rs", "fn f(x: &'static AtomicU8) { static NAMES: &[&str] = &[]; }"),
        ("src/ledger/index.rs", "use sled::Db;"),
    ] {
        assert_eq!(complaints_about(path, text), "", "{path}: {text}");
    }
}
