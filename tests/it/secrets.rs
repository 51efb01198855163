//! Proof: no secret gets past the decoder. Distinct tokens go in by every path, also those that end in an error; then
//! everything the service wrote or said is searched for any 12-byte piece of them, and of what it should not keep.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::{SeedableRng as _, rngs::StdRng};

use crate::support::{
    app::{Settings, TestApp},
    event::{Event, Signer},
    eventually,
    http::Client,
    journal::read_plain,
    needles::Needles,
    receiver::Receiver,
    seed,
};

/// Events on the good path; more than one segment.
const EVENTS: usize = 60;

/// What the service said, and what it must not have said.
struct Heard {
    needles: Needles,
    answers: Vec<u8>,
}

impl Heard {
    /// Sends a body that holds secrets; keeps the answer, whatever it is.
    fn tell(&mut self, app: &TestApp, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let mut headers = headers.to_vec();
        if !headers.iter().any(|(name, _)| *name == "Content-Type") {
            headers.push(("Content-Type", "application/json"));
        }
        let answer = Client::connect(app.listen).unwrap().request(&format!("POST {path}"), &headers, body).unwrap();
        self.answers.extend(answer.headers.iter().flat_map(|(name, value)| format!("{name}: {value}\n").into_bytes()));
        self.answers.extend_from_slice(&answer.body);
        answer.status
    }

    /// A new event whose secrets are looked for.
    fn event(&mut self, rng: &mut StdRng) -> Event {
        let event = Event::new(rng);
        for (number, token) in event.tokens.iter().enumerate() {
            self.needles.add(&format!("token {number} of event {}", event.id), token);
        }
        for (number, text) in event.unkept.iter().enumerate() {
            self.needles.add(&format!("unkept text {number} of event {}", event.id), text);
        }
        event
    }

    fn search(&self, name: &str, bytes: &[u8]) {
        if let Some((at, what)) = self.needles.find(bytes) {
            let (from, to) = (at.saturating_sub(120), bytes.len().min(at + 60));
            panic!("{name}, byte {at}: {what}, in …{}…", String::from_utf8_lossy(&bytes[from..to]));
        }
    }
}

const PATH: &str = "/webhooks/fusionauth";
const SIGNATURE: &str = "X-FusionAuth-Signature-JWT";

/// Authentic bodies that are not readable events: each still holds its tokens.
fn unreadable(event: &Event) -> Vec<Vec<u8>> {
    let body = String::from_utf8(event.body.clone()).unwrap();
    let [previous, issued, refresh] = [&event.tokens[0], &event.tokens[1], &event.tokens[2]];
    let digits = body.split_once("\"createInstant\":").unwrap().1.split(',').next().unwrap();
    let edited = [
        body.replace(r#","type":"#, r#","type" "#),
        body[..body.len() - 1].to_owned(),
        format!("{body}{refresh}"),
        body.replace(&format!("\"createInstant\":{digits}"), &format!("\"createInstant\":\"{refresh}\"")),
        body.replace(
            &format!("\"refreshToken\":\"{refresh}\""),
            &format!("\"refreshToken\":{{\"token\":\"{refresh}\"}}"),
        ),
        body.replace(&format!("\"token\":\"{issued}\""), &format!("\"token\":[\"{issued}\"]")),
        body.replace("\"latitude\":60.45", &format!("\"latitude\":\"{previous}\"")),
        body.replace("\"ipAddress\":\"", &format!("\"ipAddress\":7,\"{refresh}\":\"")),
        body.replace(&format!("\"id\":\"{}\"", event.id), &format!("\"id\":\"{issued}\"")),
        format!("\"{refresh}\""),
        format!("[\"{refresh}\"]"),
        format!(r#"{{"event":"{issued}"}}"#),
        format!(r#"{{"event":{{"type":{{"{refresh}":1}}}}}}"#),
        format!(r#"{{"{refresh}":{{"type":"jwt.refresh"}}}}"#),
    ];
    assert!(edited.iter().all(|text| *text != body), "every edit changes something");
    edited.map(String::into_bytes).into()
}

/// Deliveries that fail before or at the signature, or that are authentic and not taken.
fn refused(app: &TestApp, heard: &mut Heard, rng: &mut StdRng) {
    let signer = app.signer();
    let event = heard.event(rng);
    let (body, token) = (&event.body, &event.tokens[2]);
    let (good, wrong) = (signer.sign(body), Signer::new(b"another key").sign(body));
    let bearer = format!("Bearer {}", event.tokens[1]);
    for (expected, path, headers) in [
        (401, PATH, vec![]),
        (401, PATH, vec![(SIGNATURE, wrong.as_str())]),
        (401, PATH, vec![(SIGNATURE, event.tokens[1].as_str())]),
        (401, PATH, vec![(SIGNATURE, token.as_str())]),
        (401, PATH, vec![("Authorization", bearer.as_str())]),
        (404, &format!("/webhooks/{token}"), vec![(SIGNATURE, good.as_str())]),
        (404, &format!("/{token}"), vec![]),
        (415, PATH, vec![(SIGNATURE, good.as_str()), ("Content-Type", token.as_str())]),
        (415, PATH, vec![(SIGNATURE, good.as_str()), ("Content-Encoding", "gzip")]),
    ] {
        assert_eq!(heard.tell(app, path, &headers, body), expected, "{headers:?}");
    }
    let large = String::from_utf8(body.clone()).unwrap().replace("desk", &token.repeat(20_000));
    assert_eq!(heard.tell(app, PATH, &[(SIGNATURE, &signer.sign(large.as_bytes()))], large.as_bytes()), 413);
    let login = String::from_utf8(body.clone()).unwrap().replace("jwt.refresh", "user.login.success");
    assert_eq!(heard.tell(app, PATH, &[(SIGNATURE, &signer.sign(login.as_bytes()))], login.as_bytes()), 200);
    let query = format!("{PATH}?token={token}");
    heard.tell(app, &query, &[(SIGNATURE, &good)], body);
}

/// Every file below a directory, but for the key files.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_none_or(|end| end != "key") {
            found.push(path);
        }
    }
}

/// Sends everything and waits until every sink has its share.
fn drive(app: &TestApp, receiver: &Receiver, heard: &mut Heard, rng: &mut StdRng) -> Vec<String> {
    let signer = app.signer();
    let mut ids = Vec::new();
    for number in 0..EVENTS {
        let event = heard.event(rng);
        assert_eq!(heard.tell(app, PATH, &[(SIGNATURE, &signer.sign(&event.body))], &event.body), 200);
        if number % 3 == 0 {
            // The same id with another body: a duplicate, and a `replay` record.
            let again = String::from_utf8(event.body.clone()).unwrap().replace("Turku", "Oulu");
            assert_eq!(heard.tell(app, PATH, &[(SIGNATURE, &signer.sign(again.as_bytes()))], again.as_bytes()), 200);
        }
        ids.push(event.id);
    }
    let event = heard.event(rng);
    for body in unreadable(&event) {
        let status = heard.tell(app, PATH, &[(SIGNATURE, &signer.sign(&body))], &body);
        assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    }
    refused(app, heard, rng);
    eventually("the HTTP sink has every event", || {
        receiver.look(|seen| ids.iter().all(|id| seen.count_by_id.contains_key(id)))
    });
    eventually("the file sink has every event", || {
        let lines = app.file_sink_lines().concat();
        ids.iter().all(|id| lines.contains(id))
    });
    ids
}

#[test]
fn no_crash_leaves_its_memory_behind() {
    // Started where cores are wanted, as far as this machine lets us.
    let wanted = ["sh", "-c", "ulimit -S -c \"$(ulimit -H -c)\"; \"$@\"; exit $?", "sh"].map(str::to_owned).to_vec();
    let app = TestApp::start(Settings { under: wanted, ..Settings::new() });
    let limits = fs::read_to_string(format!("/proc/{}/limits", app.pid())).unwrap();
    let core: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core[4], "0", "{limits}");
    // Root may look at everybody's.
    if !rustix::process::geteuid().is_root() {
        let theirs = fs::read(format!("/proc/{}/environ", std::process::id()));
        let ours = fs::read(format!("/proc/{}/environ", app.pid()));
        assert!(theirs.is_ok() && ours.is_err(), "{ours:?}");
    }
}

#[test]
fn no_piece_of_a_secret_is_found_anywhere() {
    let mut rng = StdRng::seed_from_u64(seed("secrets"));
    let receiver = Receiver::start(true);
    let settings =
        Settings::new().and(&receiver.sink()).and("[journal]\nsegment = \"64KiB\"\n").env("RUST_LOG", "trace");
    let mut app = TestApp::start(settings);
    let mut heard = Heard { needles: Needles::new(), answers: Vec::new() };
    for name in ["hook.key", "sink.key"] {
        heard.needles.add(name, &fs::read_to_string(app.path(name)).unwrap());
    }
    let ids = drive(&app, &receiver, &mut heard, &mut rng);

    heard.search("answers", &heard.answers);
    for path in ["/metrics", "/api/records", "/api/sinks", "/api/findings", "/", "/healthz", "/readyz"] {
        heard.search(path, app.get(path).unwrap().1.as_bytes());
    }
    for arguments in [&["records", "--format", "json"][..], &["sinks"], &["verify"]] {
        let output = app.run(arguments);
        heard.search(&format!("output of {arguments:?}"), &[output.stdout, output.stderr].concat());
    }
    app.kill();
    app.launch();
    app.stop();
    let mut found = vec![app.path("log.txt"), app.path("out.txt")];
    files(&app.data(), &mut found);
    let mut everything = 0;
    for path in &found {
        let bytes = read_plain(path);
        heard.search(&path.display().to_string(), &bytes);
        everything += bytes.len();
    }
    receiver.look(|seen| heard.search("the HTTP sink", seen.raw.as_ref().unwrap()));
    // What was searched is what the events went to.
    let names = found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n");
    assert!(names.contains(".jsonl.zst") && names.contains("/index/") && names.contains("audit"), "{names}");
    assert!(everything > EVENTS * 1_000, "only {everything} bytes were written");
    assert!(app.log().contains("TRACE"), "the log is at trace");
    assert!(ids.iter().all(|id| app.journal().seqs_by_id.contains_key(id)));
}
