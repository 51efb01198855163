//! The commands from outside: the real binary, its output, its exit codes, the files it makes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fusionauth/example");

/// The binary in a directory of its own, without the environment of the tests.
pub fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refresh-audit"));
    command.args(arguments).current_dir(dir).env_clear();
    command
}

pub fn run(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A running service in a directory of its own.
struct Service {
    dir: TempDir,
    process: Process,
    webhook: String,
    admin: String,
    /// What it has said up to being ready.
    said: String,
}

/// Ends with the test, also with one that fails.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(dir: TempDir) -> Self {
        let child = command(dir.path(), &[])
            .env("REFRESH_AUDIT_SERVER__LISTEN", "127.0.0.1:0")
            .env("REFRESH_AUDIT_ADMIN__LISTEN", "127.0.0.1:0")
            // A busy machine keeps this one.
            .env("REFRESH_AUDIT_SERVER__ACK_DEADLINE", "20s")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Process(child);
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("it ended before it was ready:\n{said}")).unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.ends_with(" ready") {
                break;
            }
        }
        // Its pipe must not run full.
        thread::spawn(move || lines.for_each(drop));
        let told = |what: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(what)).unwrap_or_else(|| panic!("{said}"));
            line.trim().to_owned()
        };
        let (webhook, admin) = (told("webhook"), told("admin"));
        Self { dir, process, webhook, admin, said }
    }

    /// Runs a command that finds this service.
    fn run(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.trim_start_matches("http://").trim_end_matches('/');
        command(self.dir.path(), arguments).env("REFRESH_AUDIT_ADMIN__LISTEN", admin).output().unwrap()
    }

    fn send(&self, arguments: &[&str]) -> Output {
        self.run(&[&["send", "--url", &self.webhook], arguments].concat())
    }

    fn stop(mut self) -> TempDir {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        assert!(self.process.0.wait().unwrap().success());
        self.dir
    }
}

fn example(name: &str) -> String {
    format!("{EXAMPLES}/{name}")
}

#[test]
fn a_fresh_start_makes_its_keys_and_records_a_signed_example() {
    let service = Service::start(tempfile::tempdir().unwrap());
    let data = service.dir.path().join("data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["webhook.key", "fingerprint.key", "checkpoint.key", "checkpoint.pub"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    let secret = fs::read_to_string(data.join("webhook.key")).unwrap();
    assert_eq!(secret.len(), 43);
    assert!(service.said.contains("data/webhook.key (made now)"), "{}", service.said);
    assert!(!service.said.contains(&secret));

    let refresh = example("jwt-refresh.json");
    let sent = service.send(&[&refresh, &refresh, &example("user-login-success.json")]);
    let answers: Vec<String> =
        text(&sent.stdout).lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect();
    assert_eq!(answers, ["200 accepted seq 1", "200 duplicate seq 1", "200 ignored"]);
    assert!(sent.status.success());
    let repeated = service.send(&["--repeat", "25", "--rate", "1000", "--concurrency", "4", &refresh]);
    assert_eq!(text(&repeated.stdout), "25  200 accepted\n");

    let all = service.run(&["records", "--kind", "event"]);
    assert_eq!(text(&all.stdout).lines().count(), 26);
    let one = service.run(&[
        "records",
        "--user",
        "0F2C3A51-92d6-4a7e-8d52-6c1f0b7e9a44",
        "--ip",
        "203.0.113.0/24",
        "--limit",
        "1",
    ]);
    let record: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(record["event"]["id"], "8a6f0d27-5c1b-4e93-b7d4-13f5a2c8e960");
    for nothing in
        [["--kind", "alarm"], ["--since", "2100-01-01"], ["--until", "2020-01-01T00:00:00+01:00"], ["--session", "x"]]
    {
        let found = service.run(&[&["records"], &nothing[..]].concat());
        assert_eq!((text(&found.stdout).as_str(), found.status.code()), ("", Some(0)), "{nothing:?}");
    }
    let table = text(&service.run(&["records", "--format", "table", "--limit", "1"]).stdout);
    let row = table.lines().nth(1).unwrap();
    assert!(row.starts_with("1 ") && row.contains("203.0.113.24") && row.ends_with("jwt.refresh"), "{table}");

    assert!(text(&service.run(&["verify"]).stdout).ends_with("the chain holds\n"));
    let dir = service.stop();
    let journal = fs::read_to_string(dir.path().join("data/journal/00000000000000000001.jsonl")).unwrap();
    assert_eq!(text(&run(dir.path(), &["records"]).stdout), journal);
    assert!(text(&run(dir.path(), &["verify"]).stdout).ends_with("the chain holds\n"));
    // A restart makes no key anew.
    let service = Service::start(dir);
    assert!(!service.said.contains("made now"), "{}", service.said);
    service.stop();
}

#[test]
fn sinks_say_the_same_from_the_service_and_from_its_files() {
    let service = Service::start(tempfile::tempdir().unwrap());
    assert!(service.send(&["--repeat", "3", &example("jwt-refresh.json")]).status.success());
    let status = |output: Output| -> Value {
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        rows[0].clone()
    };
    let counts = |row: &Value| {
        ["recorded", "delivered", "skipped", "parked", "dropped", "damaged"].map(|name| row[name].as_u64().unwrap())
    };
    // Delivery is not on the answer's path: it is done when it is done.
    for attempt in 0.. {
        if status(service.run(&["sinks", "--format", "json"]))["pending"] == 0 {
            break;
        }
        assert!(attempt < 1_000, "not delivered");
    }
    let live = status(service.run(&["sinks", "--format", "json"]));
    // Three events and an incident: the example's tokens are years old.
    assert_eq!(counts(&live), [4, 4, 0, 0, 0, 0]);
    assert_eq!((&live["name"], &live["type"]), (&json!("audit-file"), &json!("file")));
    let again = service.run(&["sinks", "redeliver", "audit-file", "--from", "3"]);
    assert_eq!(text(&again.stdout), "audit-file: 2 records will be delivered again\n");
    let unknown = service.run(&["sinks", "parked", "audit"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no sink `audit`; configured: audit-file"));

    let dir = service.stop();
    let stopped = status(run(dir.path(), &["sinks", "--format", "json"]));
    // The operator's command is a record, too.
    assert_eq!(counts(&stopped), [5, 5, 0, 0, 0, 0]);
    assert_eq!(stopped["pending"], 0);
    assert_eq!(text(&run(dir.path(), &["sinks", "parked", "audit-file", "--format", "json"]).stdout), "[]\n");
    assert!(run(dir.path(), &["sinks", "redeliver", "audit-file", "--from", "1", "--to", "1"]).status.success());
    let read = |arguments: &[&str]| -> Value { serde_json::from_slice(&run(dir.path(), arguments).stdout).unwrap() };
    let id = read(&["records", "--limit", "1"])["event"]["id"].as_str().unwrap().to_owned();
    let proof = read(&["sinks", "proof", &id.to_uppercase(), "--format", "json"]);
    assert_eq!((&proof["seq"], &proof["sinks"][0]["state"]), (&json!(1), &json!("delivered")), "{proof}");
    // The file's own words are true: there the record is.
    let words: Vec<&str> = proof["sinks"][0]["ack"].as_str().unwrap().split(' ').collect();
    let (from, to): (usize, usize) = (words[2].parse().unwrap(), words[4].parse().unwrap());
    assert!(text(&fs::read(dir.path().join("data/audit.jsonl")).unwrap()[from..to]).contains(&id), "{words:?}");
    assert_eq!(run(dir.path(), &["sinks", "proof", "no-such-id"]).status.code(), Some(1));
    assert_eq!(read(&["sinks", "reconcile", "audit-file", "--format", "json"])["delivered"]["ranges"], json!([[1, 5]]));
    // So it is without a service.
    let operator = text(&run(dir.path(), &["records", "--kind", "operator"]).stdout);
    let operator: Vec<Value> = operator.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = operator.iter().map(|record| (record["seq"].clone(), record["operator"]["detail"].clone()));
    assert_eq!(said.collect::<Vec<_>>(), [(json!(5), json!("from 3 to the end")), (json!(6), json!("from 1 to 1"))]);
    assert!(text(&run(dir.path(), &["verify"]).stdout).ends_with("the chain holds\n"));
    let table = text(&run(dir.path(), &["sinks"]).stdout);
    assert!(table.starts_with("NAME        TYPE  STATE"), "{table}");
}

#[test]
fn send_signs_with_every_kind_of_key() {
    let dir = tempfile::tempdir().unwrap();
    let pem = |name: &str, label: &str, der: &[u8]| {
        let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
        fs::write(dir.path().join(name), text).unwrap();
    };
    let mut keys = String::new();
    let mut add = |alg: &str, private: &[u8], public: &[u8]| {
        pem(&format!("{alg}.key"), "PRIVATE KEY", private);
        pem(&format!("{alg}.pem"), "PUBLIC KEY", public);
        keys.push_str(&format!("  {{ alg = \"{alg}\", kid = \"kid-{alg}\", pem_file = \"{alg}.pem\" }},\n"));
    };
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let rsa_public = rsa.public_key().as_der().unwrap();
    add("RS256", rsa.as_der().unwrap().as_ref(), rsa_public.as_ref());
    add("RS512", rsa.as_der().unwrap().as_ref(), rsa_public.as_ref());
    for (alg, algorithm) in [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        add(alg, pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref());
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    add("Ed25519", pair.to_pkcs8v1().unwrap().as_ref(), public.as_ref());
    fs::write(dir.path().join("hmac.key"), STANDARD.encode([7; 64])).unwrap();
    keys.push_str("  { alg = \"HS512\", secret_file = \"hmac.key\", encoding = \"base64\" },\n");
    let config = format!("[[sources]]\nname = \"fusionauth\"\ntype = \"fusionauth\"\nkeys = [\n{keys}]\n");
    fs::write(dir.path().join("config.toml"), config).unwrap();

    let service = Service::start(dir);
    let refresh = example("jwt-refresh.json");
    let mut seq = 0;
    for alg in ["RS256", "RS512", "ES256", "ES384", "ES512", "Ed25519"] {
        let (file, kid) = (format!("{alg}.key"), format!("kid-{alg}"));
        let sent = service.send(&["--alg", alg, "--key-file", &file, "--kid", &kid, "--repeat", "1", &refresh]);
        // Behind the first there is an incident: the example's tokens are years old.
        seq += if alg == "RS512" { 2 } else { 1 };
        assert_eq!(text(&sent.stdout), format!("200 accepted seq {seq}  {refresh}\n"), "{alg}: {}", text(&sent.stderr));
        let wrong_kid = service.send(&["--alg", alg, "--key-file", &file, "--kid", "other", &refresh]);
        assert_eq!(wrong_kid.status.code(), Some(1), "{alg}");
        assert!(text(&wrong_kid.stdout).starts_with("401 "), "{alg}");
    }
    let configured = service.send(&["--repeat", "1", &refresh]);
    assert!(configured.status.success(), "{}", text(&configured.stdout));
    let unfit = service.send(&["--alg", "ES256", "--key-file", "RS256.key", &refresh]);
    assert!(text(&unfit.stderr).contains("the private key does not fit ES256"), "{}", text(&unfit.stderr));
    service.stop();
}

#[test]
fn keys_are_made_once_and_for_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), &["keygen", "hmac", "--out", "new/hook.key"]);
    assert_eq!(text(&made.stdout), "new/hook.key\n");
    let key = fs::read(dir.path().join("new/hook.key")).unwrap();
    assert_eq!(key.len(), 43);
    assert!(key.iter().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(b)));
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("new"), mode("new/hook.key")), (0o700, 0o600));

    let again = run(dir.path(), &["keygen", "hmac", "--out", "new/hook.key"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("new/hook.key exists and is never overwritten"));
    assert_eq!(fs::read(dir.path().join("new/hook.key")).unwrap(), key);

    let signer = ["keygen", "checkpoint", "--name", "audit-1", "--out", "c.key"];
    assert_eq!(text(&run(dir.path(), &signer).stdout), "c.key\nc.pub\n");
    let public = fs::read_to_string(dir.path().join("c.pub")).unwrap();
    let private = fs::read_to_string(dir.path().join("c.key")).unwrap();
    // <name>+<8 hex>+<base64 of 1 and 32 bytes>
    let parts: Vec<&str> = public.trim_end().splitn(3, '+').collect();
    assert_eq!((parts[0], parts[1].len()), ("audit-1", 8));
    let bytes = STANDARD.decode(parts[2]).unwrap();
    assert_eq!((bytes.len(), bytes[0]), (33, 1));
    assert!(private.starts_with(&format!("PRIVATE+KEY+audit-1+{}+", parts[1])));
    fs::remove_file(dir.path().join("c.key")).unwrap();
    let stale = run(dir.path(), &signer);
    assert!(text(&stale.stderr).contains("c.pub exists"), "{}", text(&stale.stderr));
    assert!(!dir.path().join("c.key").exists());
    let leftovers = fs::read_dir(dir.path().join("new")).unwrap().count();
    assert_eq!(leftovers, 1);
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let dir = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| run(dir.path(), arguments).status.code();
    assert_eq!(code(&["--help"]), Some(0));
    assert_eq!(code(&["sned"]), Some(2));
    assert_eq!(code(&["records", "--since", "yesterday"]), Some(2));
    assert_eq!(code(&["records"]), Some(1), "there is no data directory");
    assert_eq!(code(&["--config", "none.toml", "check"]), Some(78));
    let fresh = run(dir.path(), &["check"]);
    assert_eq!(fresh.status.code(), Some(0), "{}", text(&fresh.stderr));
    assert!(text(&fresh.stdout).contains("note data/webhook.key does not exist yet"));
    assert!(!dir.path().join("data").exists(), "a check changes nothing");

    let source = |key: &str| {
        format!(
            "[[sources]]\nname = \"a\"\ntype = \"fusionauth\"\nkeys = [{{ alg = \"HS256\", secret_file = \"{key}\" }}]\n"
        )
    };
    fs::write(dir.path().join("config.toml"), format!("[server]\nlistn = 1\n{}", source("k"))).unwrap();
    for arguments in [&["check"][..], &["serve"], &[], &["verify"], &["sinks"]] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("refresh-audit: unknown key `listn` in [server] at config.toml:2:1;"));
    }
    fs::write(dir.path().join("config.toml"), source("missing.key")).unwrap();
    for arguments in [&["check"][..], &["serve"]] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("missing.key"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = command(Path::new("."), &["schema"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
