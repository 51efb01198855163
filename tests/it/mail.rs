//! What people get by mail: words, and a conversation that says nothing in the clear.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use refresh_audit::sink::{AnySink, Sink, SinkError};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{
    fake_smtp::{Answer, FakeSmtp, Taken},
    people::{CASES, LINK, build, case, cases, refused},
    sinks::told_seqs,
    support::certs::Authority,
};

/// Headers (unfolded, as they are) and body of a mail.
fn parts(mail: &Taken) -> (BTreeMap<String, String>, String) {
    let (head, body) = mail.text.split_once("\r\n\r\n").unwrap();
    let head = head.replace("\r\n ", " ");
    let headers = head.split("\r\n").map(|line| line.split_once(": ").unwrap());
    let headers: BTreeMap<_, _> = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = match headers["Content-Transfer-Encoding"].as_str() {
        "quoted-printable" => unquoted(body),
        _ => body.to_owned(),
    };
    (headers, body.replace("\r\n", "\n"))
}

/// Quoted-printable undone (RFC 2045, section 6.7).
fn unquoted(text: &str) -> String {
    let joined = text.replace("=\r\n", "");
    let mut pieces = joined.split('=');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn mailing(server: &FakeSmtp, base: &Path, more: &str) -> AnySink {
    let members = format!(
        "server = '{}'\nfrom = 'Refresh Audit <audit@example.invalid>'\n\
         to = ['soc@example.invalid', 'On Call <oncall@example.invalid>']\n{LINK}\n{more}",
        server.address
    );
    build(base, "smtp", &members)
}

#[tokio::test]
async fn every_case_is_a_mail_as_written_by_hand() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = mailing(&server, Path::new("/"), "tls = 'none'");
    let mut compared = 0;
    for name in cases() {
        let before = server.taken().len();
        sink.deliver(&[case(&name)]).await.unwrap();
        let taken = server.taken().split_off(before);
        let Ok(expected) = fs::read_to_string(format!("{CASES}/{name}.smtp.txt")) else {
            assert!(taken.is_empty(), "{name}: {taken:?}");
            continue;
        };
        let [mail] = &taken[..] else { panic!("{name}: {taken:?}") };
        let (headers, body) = parts(mail);
        let (subject, text) = expected.split_once("\n\n").unwrap();
        assert_eq!((&*headers["Subject"], &*body), (subject, text), "{name}");
        assert!(!headers.contains_key("Bcc"), "{headers:?}");
        assert_eq!(mail.from, "<audit@example.invalid>");
        assert_eq!(mail.to, ["<soc@example.invalid>", "<oncall@example.invalid>"]);
        assert!(headers["Date"].ends_with("+0000"), "{headers:?}");
        assert_eq!(
            (&*headers["Auto-Submitted"], &*headers["Content-Type"]),
            ("auto-generated", "text/plain; charset=utf-8")
        );
        // The same again is the same mail.
        sink.deliver(&[case(&name)]).await.unwrap();
        let (again, _) = parts(&server.taken()[before + 1]);
        assert_eq!(again["Message-ID"], headers["Message-ID"]);
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[tokio::test]
async fn what_comes_together_is_one_mail() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = mailing(&server, Path::new("/"), "tls = 'none'");
    let batch: Vec<_> = cases().iter().map(|name| case(name)).collect();
    sink.deliver(&batch).await.unwrap();
    let taken = server.taken();
    let [mail] = &taken[..] else { panic!("{taken:?}") };
    let (headers, body) = parts(mail);
    // Five of six (nobody is told that an incident goes on), two of them over; CRITICAL is the escalation.
    assert_eq!(headers["Subject"], "[refresh-audit] 5 notices, the worst CRITICAL, 2 over");
    assert_eq!(told_seqs(&body), [22, 21, 20, 19, 17]);
}

fn acceptor(dir: &Path, name: &str) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(dir.join(format!("{name}.crt"))).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn nothing_is_mailed_before_the_connection_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    ours.issue("server");
    Authority::new(dir.path(), "theirs");
    fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    let server = FakeSmtp::new(Some(acceptor(dir.path(), "server")));
    server.up();
    let batch = [case("alarm-raised")];
    let good = mailing(&server, dir.path(), "ca_file = 'ours.crt'\npassword_file = 'password'");
    let ack = good.deliver(&batch).await.unwrap();
    assert_eq!(ack.text, "250 2.0.0 taken");
    let taken = server.taken();
    let [mail] = &taken[..] else { panic!("{taken:?}") };
    let login = STANDARD.decode(mail.login.as_ref().unwrap()).unwrap();
    assert_eq!((mail.encrypted, &*login), (true, &b"\0audit@example.invalid\0fixture-password"[..]));

    let wrong = mailing(&server, dir.path(), "ca_file = 'theirs.crt'\npassword_file = 'password'");
    let error = wrong.deliver(&batch).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    // One that offers no STARTTLS gets neither password nor mail.
    let plain = FakeSmtp::new(None);
    plain.up();
    plain.script(|command, _| if command.starts_with("EHLO") { Answer::Usual } else { panic!("asked {command}") });
    let error = mailing(&plain, dir.path(), "password_file = 'password'").deliver(&batch).await.unwrap_err();
    assert!(matches!(&error, SinkError::Retry { fault: true, .. }), "{error}");
    assert_eq!((server.taken().len(), plain.taken().len()), (1, 0));
}

#[tokio::test]
async fn what_came_before_the_connection_was_private_answers_nothing_after_it() {
    let dir = tempfile::tempdir().unwrap();
    Authority::new(dir.path(), "ours").issue("server");
    let server = FakeSmtp::new(Some(acceptor(dir.path(), "server")));
    server.up();
    // Somebody on the way adds answers for all that follows: EHLO, MAIL, two RCPT, DATA, the mail.
    server.script(|command, _| match command {
        "STARTTLS" => Answer::Say("220 go on\r\n250 x\r\n250 x\r\n250 x\r\n250 x\r\n354 x\r\n250 2.0.0 taken"),
        _ => Answer::Usual,
    });
    let sink = mailing(&server, dir.path(), "ca_file = 'ours.crt'");
    let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err();
    assert!(matches!(&error, SinkError::Retry { .. }), "{error:?}");
}

#[tokio::test]
async fn only_what_is_said_of_the_content_is_about_the_records() {
    let server = FakeSmtp::new(None);
    server.up();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("password"), "fixture-password\n").unwrap();
    let sink = mailing(&server, dir.path(), "tls = 'none'\nusername = 'u'\npassword_file = 'password'");
    let batch = [case("alarm-raised")];
    for (at, say, fault) in [
        ("AUTH", "535 5.7.8 wrong fixture-password", true),
        ("AUTH", "454 4.7.0 later", false),
        ("MAIL", "550 5.7.1 not you", true),
        ("MAIL", "451 4.3.0 later", false),
        ("RCPT", "550 5.1.1 nobody here", true),
        ("DATA", "554 5.5.1 no", true),
        (".", "452 4.3.1 full", false),
        // What Exchange, and others after RFC 3463, say of the account behind a mail that they have read.
        (".", "554 5.2.252 SendAsDenied; u not allowed to send as audit@example.invalid", true),
        (".", "550 5.7.60 SMTP; Client does not have permissions to send as this sender", true),
        (".", "550-5.7.26 Your email has been blocked because the sender\r\n550 5.7.26 is unauthenticated", true),
        (".", "553 5.1.8 bad sender's system address", true),
    ] {
        server.script(move |command, _| if command.starts_with(at) { Answer::Say(say) } else { Answer::Usual });
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(&error, SinkError::Retry { fault: said, .. } if *said == fault), "{at} {say}: {error}");
        assert!(!error.to_string().contains("fixture-password"), "{error}");
    }
    // What filters say of a mail that they take for spam or a danger, too.
    for say in ["554 5.6.0 bad content", "552 5.3.4 too big", "554 no", "550 5.7.1 spam", "552 5.7.0 a security issue"]
    {
        server.script(move |command, _| if command == "." { Answer::Say(say) } else { Answer::Usual });
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(&error, SinkError::Refused { reason } if reason.contains(&say[4..])), "{error}");
    }
    assert!(server.taken().is_empty());
}

#[tokio::test]
async fn who_cannot_be_reached_keeps_nobody_else_from_the_mail() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = mailing(&server, Path::new("/"), "tls = 'none'");
    let batch = [case("alarm-raised")];
    for (at, say) in [
        ("RCPT TO:<soc@example.invalid>", "550 5.1.1 gone"),
        ("RCPT TO:<oncall@example.invalid>", "550 5.1.1 gone"),
        ("RCPT TO:<soc@example.invalid>", "452 4.2.2 mailbox full"),
        ("RCPT TO:<oncall@example.invalid>", "452 4.2.2 mailbox full"),
    ] {
        let before = server.taken().len();
        server.script(move |command, _| if command == at { Answer::Say(say) } else { Answer::Usual });
        sink.deliver(&batch).await.unwrap_or_else(|error| panic!("{at} {say}: {error}"));
        assert_eq!(server.taken().len() - before, 1, "{at} {say}");
    }
    // Nobody at all: it may pass, unless it is said of everybody that it does not.
    for (soc, oncall, fault) in [
        ("550 5.1.1 gone", "452 4.2.2 mailbox full", false),
        ("452 4.2.2 mailbox full", "550 5.1.1 gone", false),
        ("550 5.1.1 gone", "550 5.1.1 gone", true),
    ] {
        server.script(move |command, _| match command {
            "RCPT TO:<soc@example.invalid>" => Answer::Say(soc),
            "RCPT TO:<oncall@example.invalid>" => Answer::Say(oncall),
            _ => Answer::Usual,
        });
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(&error, SinkError::Retry { fault: said, .. } if *said == fault), "{soc}, {oncall}: {error}");
    }
}

/// RFC 5321, 4.5.3.2.6: what was taken and is not waited for comes again. And it is taken whatever is said at the goodbye.
#[tokio::test]
async fn a_mail_that_is_taken_late_is_sent_once() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = mailing(&server, Path::new("/"), "tls = 'none'\ntimeout = '300ms'");
    let batch = [case("alarm-raised")];
    let late = Answer::Late(Duration::from_millis(600));
    for (at, answer) in [(".", late), ("QUIT", late), ("QUIT", Answer::Close), ("QUIT", Answer::Say("421 4.3.2 no"))] {
        let before = server.taken().len();
        server.script(move |command, _| if command == at { answer } else { Answer::Usual });
        let ack = sink.deliver(&batch).await.unwrap_or_else(|error| panic!("{at} {answer:?}: {error}"));
        assert_eq!((&*ack.text, server.taken().len() - before), ("250 2.0.0 taken", 1), "{at} {answer:?}");
    }
}

#[tokio::test]
async fn a_mail_that_may_have_been_taken_counts_in_the_cap() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = mailing(&server, Path::new("/"), "tls = 'none'\nmessages_per_hour = 2");
    let batch = [case("alarm-raised")];
    let sent = Arc::new(Mutex::new(0));
    let count = Arc::clone(&sent);
    server.script(move |command, _| {
        // Asked once what it takes, once what it answers.
        *count.lock().unwrap() += u32::from(command == ".");
        if command == "." { Answer::Close } else { Answer::Usual }
    });
    for _ in 0..2 {
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(&error, SinkError::Retry { fault: false, .. }), "{error:?}");
    }
    for _ in 0..2 {
        let error = sink.deliver(&batch).await.unwrap_err();
        assert!(matches!(&error, SinkError::Later { .. }), "{error:?}");
    }
    // Two, and the one that says that it is over the cap.
    assert_eq!(*sent.lock().unwrap() / 2, 3);
}

#[tokio::test]
async fn that_the_cap_is_reached_is_a_mail_of_its_own() {
    let server = FakeSmtp::new(None);
    server.up();
    let sink = || mailing(&server, Path::new("/"), "tls = 'none'\nmessages_per_hour = 1");
    let (capped, first) = (sink(), case("alarm-raised"));
    capped.deliver(&[case("incident-opened")]).await.unwrap();
    assert!(matches!(capped.deliver(std::slice::from_ref(&first)).await, Err(SinkError::Later { .. })));
    sink().deliver(&[first]).await.unwrap();
    let ids: BTreeSet<String> = server.taken().iter().map(|mail| parts(mail).0["Message-ID"].clone()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

/// A server that does not know a command says it back.
#[tokio::test]
async fn no_form_of_a_password_is_quoted() {
    let server = FakeSmtp::new(None);
    server.up();
    let dir = tempfile::tempdir().unwrap();
    for (offers, password) in [
        ("250-mail.invalid\r\n250 AUTH PLAIN", "fixture-password"),
        ("250-mail.invalid\r\n250 AUTH LOGIN", "fixture-password"),
        // As Google gives them out.
        ("250-mail.invalid\r\n250 AUTH PLAIN", "abcd efgh ijkl mnop"),
    ] {
        fs::write(dir.path().join("password"), password).unwrap();
        let sink = mailing(&server, dir.path(), "tls = 'none'\nusername = 'u'\npassword_file = 'password'");
        server.script(move |command, _| match command {
            // "Username:" and "Password:".
            "AUTH LOGIN" => Answer::Say("334 VXNlcm5hbWU6"),
            "dQ==" => Answer::Say("334 UGFzc3dvcmQ6"),
            _ if command.starts_with("EHLO") => Answer::Say(offers),
            _ => Answer::Echo("500 5.5.1 not known:"),
        });
        let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err().to_string();
        let [plain, alone] = [format!("\0u\0{password}"), password.to_owned()].map(|text| STANDARD.encode(text));
        assert!(error.contains("not known"), "{error}");
        assert!(![&plain, &alone, password].iter().any(|secret| error.contains(secret)), "{error}");
        server.script(move |command, _| match command {
            _ if command.starts_with("AUTH") => Answer::Say("535 5.7.8 no: abcd efgh ijkl mnop, fixture-password"),
            _ => Answer::Usual,
        });
        let error = sink.deliver(&[case("alarm-raised")]).await.unwrap_err().to_string();
        assert!(!error.contains(password), "{error}");
    }
}

#[test]
fn a_mail_sinks_mistakes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let rest = "from = 'a@example.invalid'\nto = 'b@example.invalid'";
    for (members, said) in [
        (format!("server = 'mail.example.com'\ntls = 'none'\n{rest}"), "this machine"),
        (format!("server = ''\n{rest}"), "server"),
        (format!("server = 'smtp://mail'\n{rest}"), "server"),
        (format!("server = 'u@mail'\n{rest}"), "server"),
        ("server = 'mail'\nfrom = 'nobody'\nto = 'b@example.invalid'".to_owned(), "from"),
        ("server = 'mail'\nfrom = 'a@example.invalid'\nto = []".to_owned(), "to"),
        (
            "server = 'mail'\nfrom = \"a@example.invalid\\r\\nBcc: x@example.invalid\"\nto = 'b@example.invalid'"
                .to_owned(),
            "from",
        ),
        (format!("server = 'mail'\nusername = 'u'\n{rest}"), "password_file"),
        (format!("server = 'mail'\npassword_file = 'none'\n{rest}"), "none"),
        (format!("server = 'mail'\npassword = 'x'\n{rest}"), "unknown field"),
        (format!("server = 'mail'\nca_file = 'none'\n{rest}"), "ca_file"),
    ] {
        let error = refused(dir.path(), "smtp", &members);
        assert!(error.contains(said), "{members}: {error}");
    }
}
