//! A mail server on loopback, line by line (RFC 5321), with STARTTLS and AUTH PLAIN, that answers as a test says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::support::shared_socket;

/// One mail that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// What AUTH PLAIN said, base64.
    pub login: Option<String>,
    pub encrypted: bool,
    /// Headers and body, with CRLF, dots undone.
    pub text: String,
}

/// What to do at a command; what it is asked for first: `EHLO`, `AUTH`, `MAIL`, `RCPT <…>`, `DATA`, `.` with the mail, or
/// `QUIT`.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// What the protocol says.
    Usual,
    /// This line.
    Say(&'static str),
    /// What was said, with this before it, as servers do that do not know a command.
    Echo(&'static str),
    /// What the protocol says, so much later.
    Late(Duration),
    Hang,
    /// A byte now and then, without end.
    Drip,
    Close,
}

type Script = dyn Fn(&str, &str) -> Answer + Send + Sync;

#[derive(Clone)]
struct Shared {
    taken: Arc<Mutex<Vec<Taken>>>,
    script: Arc<Mutex<Box<Script>>>,
    tls: Option<TlsAcceptor>,
}

pub struct FakeSmtp {
    pub address: SocketAddr,
    /// Bound and never listening: see `FakeHttp`.
    _reserved: TcpSocket,
    shared: Shared,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakeSmtp {
    /// An address that nobody listens at yet; with STARTTLS where there is something to do it with.
    pub fn new(tls: Option<TlsAcceptor>) -> Self {
        let reserved = shared_socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(|_, _| Answer::Usual)));
        Self {
            address: reserved.local_addr().unwrap(),
            _reserved: reserved,
            shared: Shared { taken: Arc::default(), script, tls },
            server: Mutex::default(),
        }
    }

    /// From now on commands are answered like this: gets the command and, at `.`, the mail.
    pub fn script(&self, script: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Listens.
    pub fn up(&self) {
        let listener = shared_socket(self.address).listen(64).unwrap();
        let shared = self.shared.clone();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = shared.clone();
                connections.spawn(async move { greet(stream, &shared).await });
            }
        });
        *self.server.lock().unwrap() = Some(server);
    }

    /// Listens no more and drops every connection.
    pub async fn down(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// Every mail so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }
}
async fn greet(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 mail.invalid ESMTP").await?;
    if converse(&mut stream, shared, false).await? {
        let stream = shared.tls.as_ref()?.accept(stream.into_inner()).await.ok()?;
        converse(&mut BufReader::new(stream), shared, true).await?;
    }
    Some(())
}

async fn say<T: AsyncWrite + Unpin>(stream: &mut T, line: &str) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    stream.flush().await.ok()
}

async fn line<T: AsyncRead + Unpin>(stream: &mut BufReader<T>) -> Option<String> {
    let mut line = String::new();
    (stream.read_line(&mut line).await.ok()? > 0).then_some(line)
}

/// One conversation; whether it goes on encrypted. `None`: it broke off.
async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<T>,
    shared: &Shared,
    encrypted: bool,
) -> Option<bool> {
    let mut mail = Taken { from: String::new(), to: Vec::new(), login: None, encrypted, text: String::new() };
    loop {
        let command = line(stream).await?.trim_end().to_owned();
        let upper = command.to_uppercase();
        let usual = if upper.starts_with("EHLO") {
            // What it offers changes with the encryption, as RFC 3207 wants.
            if encrypted || shared.tls.is_none() {
                "250-mail.invalid\r\n250-8BITMIME\r\n250 AUTH PLAIN"
            } else {
                "250-mail.invalid\r\n250-8BITMIME\r\n250 STARTTLS"
            }
        } else if upper == "STARTTLS" && !encrypted && shared.tls.is_some() {
            answer(stream, shared, &command, "", "220 go on").await?;
            return Some(true);
        } else if let Some(login) = command.strip_prefix("AUTH PLAIN ") {
            mail.login = Some(login.to_owned());
            "235 ok"
        } else if let Some(from) = command.strip_prefix("MAIL FROM:") {
            mail.from = from.to_owned();
            "250 ok"
        } else if let Some(to) = command.strip_prefix("RCPT TO:") {
            mail.to.push(to.to_owned());
            "250 ok"
        } else if upper == "DATA" {
            "354 go on"
        } else if upper == "QUIT" {
            answer(stream, shared, &command, "", "221 bye").await?;
            return Some(false);
        } else {
            "502 not known"
        };
        let answered = answer(stream, shared, &command, "", usual).await?;
        if upper == "DATA" && answered {
            mail.text = content(stream).await?;
            let text = mail.text.clone();
            // Taken before it is said: what breaks off here may come again.
            let takes = matches!((shared.script.lock().unwrap())(".", &text), Answer::Usual | Answer::Late(_));
            if takes {
                shared.taken.lock().unwrap().push(mail.clone());
            }
            answer(stream, shared, ".", &text, "250 2.0.0 taken").await?;
        }
    }
}

/// The lines up to the single dot.
async fn content<T: AsyncRead + Unpin>(stream: &mut BufReader<T>) -> Option<String> {
    let mut text = String::new();
    loop {
        let line = line(stream).await?;
        if line == ".\r\n" {
            return Some(text);
        }
        text.push_str(line.strip_prefix('.').filter(|_| line.starts_with("..")).unwrap_or(&line));
    }
}

/// Whether it was the usual answer.
async fn answer<T: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<T>,
    shared: &Shared,
    command: &str,
    text: &str,
    usual: &str,
) -> Option<bool> {
    let answer = (shared.script.lock().unwrap())(command, text);
    match answer {
        Answer::Usual => say(stream, usual).await.map(|()| true),
        Answer::Say(other) => say(stream, other).await.map(|()| false),
        Answer::Echo(before) => say(stream, &format!("{before} {command}")).await.map(|()| false),
        Answer::Late(time) => {
            tokio::time::sleep(time).await;
            say(stream, usual).await.map(|()| true)
        }
        Answer::Hang => std::future::pending().await,
        Answer::Drip => loop {
            stream.write_all(b"2").await.ok()?;
            stream.flush().await.ok()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        },
        Answer::Close => None,
    }
}
