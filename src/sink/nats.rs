//! `nats`: publishes to a JetStream stream, `Nats-Msg-Id` = idempotency key.
//!
//! A record is delivered when the stream's acknowledgement says so; a duplicate that the stream drops counts. A batch is
//! pipelined, and each message names the one that must be the stream's last (`Nats-Expected-Last-Msg-Id`): what comes after
//! a message that got lost is refused by the server, not stored out of order. Whoever shares the stream with other
//! publishers says so (`shared = true`) and gives that up. The stream knows an id for its duplicate window (two minutes by
//! default); a record sent again later is there twice, with the same id.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_nats::{ConnectOptions, ServerAddr};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::{
    Ack, Acked, BuildError, Held, Message, Sink, SinkError,
    client::{answer::quote, one_secret},
    tls::TlsFiles,
};
use crate::{
    host::is_this_machine,
    secret::{Secret, SecretRef},
    units::Span,
};

mod held;
mod link;
mod publish;

use link::Link;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One or more of a cluster, `tls://host:4222`. `nats://` only to this machine, unless `allow_plaintext`.
    servers: Vec<String>,
    /// The stream that must take the messages.
    stream: String,
    /// The subject they are published to.
    subject: String,
    /// Creates the stream, in files and with a duplicate window of an hour, where it does not exist.
    #[serde(default)]
    create: bool,
    /// Others publish to the stream, too.
    #[serde(default)]
    shared: bool,
    /// JWT and seed, as `nsc` writes them.
    creds_file: Option<PathBuf>,
    /// Or a user and password.
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    /// To connect, and to wait for an acknowledgement.
    #[serde(default = "timeout")]
    timeout: Span,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
    /// Sends records in the clear over the network.
    #[serde(default)]
    allow_plaintext: bool,
}

fn timeout() -> Span {
    Span::from_secs(10)
}

/// See the head of this file.
pub struct Nats {
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    /// What must not be quoted.
    secrets: Arc<Vec<Secret>>,
    stream: String,
    subject: String,
    create: bool,
    shared: bool,
    timeout: Span,
    /// The connection, as long as nothing went wrong on it.
    link: Mutex<Option<Arc<Link>>>,
}

impl Config {
    /// Reads its secrets and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Nats, BuildError> {
        if self.timeout.get().is_zero() {
            return Err(BuildError("timeout must be more than zero".to_owned()));
        }
        check_name("stream", &self.stream, &['.', '*', '>', '/', '\\'])?;
        check_name("subject", &self.subject, &['*', '>'])?;
        let servers = self.servers()?;
        let (options, secrets) = self.credentials(self.tls(&servers, base)?, base)?;
        Ok(Nats {
            servers,
            options,
            secrets: Arc::new(secrets),
            stream: self.stream.clone(),
            subject: self.subject.clone(),
            create: self.create,
            shared: self.shared,
            timeout: self.timeout,
            link: Mutex::new(None),
        })
    }

    fn files(&self) -> TlsFiles<'_> {
        TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file)
    }

    fn servers(&self) -> Result<Vec<ServerAddr>, BuildError> {
        let parse = |text: &String| {
            let fail = |problem: &str| Err(BuildError(format!("servers: {problem}")));
            // The text is left out: it may hold a password.
            let Ok(server) = text.parse::<ServerAddr>() else {
                return fail("one is no address: it should look like tls://nats.example.com:4222");
            };
            if server.username().is_some() || server.password().is_some() {
                return fail("one holds a user or password: use creds_file, or user and password_file");
            }
            match server.scheme() {
                "tls" => Ok(server),
                "nats" if self.files().any() || self.allow_plaintext || is_this_machine(server.host()) => Ok(server),
                "nats" => fail(
                    "one is nats:// to another machine: records would travel in the clear; use tls:// or \
                     allow_plaintext = true",
                ),
                _ => fail("an address must begin with tls:// or nats://"),
            }
        };
        if self.servers.is_empty() {
            return Err(BuildError("servers is empty: name one at least".to_owned()));
        }
        self.servers.iter().map(parse).collect()
    }

    fn tls(&self, servers: &[ServerAddr], base: &Path) -> Result<ConnectOptions, BuildError> {
        let needed = self.files().any() || servers.iter().any(|server| server.scheme() == "tls");
        // A server that asks for TLS where none is configured finds nobody trusted.
        let config = if needed { self.files().client_config(base)? } else { super::tls::trusting_nobody()? };
        Ok(ConnectOptions::new()
            .require_tls(needed)
            .tls_client_config(config)
            .name("refresh-audit")
            .connection_timeout(self.timeout.get())
            .request_timeout(Some(self.timeout.get())))
    }

    /// And what of them must not be quoted.
    fn credentials(&self, options: ConnectOptions, base: &Path) -> Result<(ConnectOptions, Vec<Secret>), BuildError> {
        let has_password = self.password_file.is_some() || self.password_env.is_some();
        match (&self.creds_file, &self.user) {
            (Some(_), _) if self.user.is_some() || has_password => {
                Err(BuildError("creds_file and user exclude each other: leave one out".to_owned()))
            }
            (Some(file), _) => {
                let secret = SecretRef::File(file.clone()).read(base)?;
                let wrong = || BuildError(format!("creds_file {} holds no user JWT and seed", file.display()));
                // The last line's end belongs to the form, and is no part of a secret.
                let creds = Zeroizing::new(format!("{}\n", text(&secret).ok_or_else(wrong)?));
                // The JWT and the seed; the lines around them are the form's.
                let lines = creds.lines().filter(|line| !line.contains(' ') && !line.starts_with('-'));
                let secrets = lines.map(|line| Secret::new(line.as_bytes().to_vec())).collect();
                Ok((options.credentials(&creds).map_err(|_| wrong())?, secrets))
            }
            (None, Some(user)) => {
                let secret = one_secret("password", &self.password_file, &self.password_env)?.read(base)?;
                let password = text(&secret).ok_or_else(|| BuildError("the password is not UTF-8".to_owned()))?;
                Ok((options.user_and_password(user.clone(), password.to_owned()), vec![secret]))
            }
            (None, None) if has_password => Err(BuildError("a password needs its user".to_owned())),
            (None, None) => Ok((options, Vec::new())),
        }
    }
}

fn text(secret: &Secret) -> Option<&str> {
    str::from_utf8(secret.expose()).ok()
}

fn check_name(key: &str, name: &str, not: &[char]) -> Result<(), BuildError> {
    let wrong = |c: char| c.is_whitespace() || c.is_control() || not.contains(&c);
    if name.is_empty() || name.contains(wrong) || name.split('.').any(str::is_empty) {
        return Err(BuildError(format!("{key} {name:?} is not a name: no spaces, wildcards or empty parts")));
    }
    Ok(())
}

impl Sink for Nats {
    /// Each record names the one before it.
    fn one_at_a_time(&self) -> bool {
        true
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let link = self.link().await?;
        let result = self.publish(&link, batch).await;
        if matches!(result, Err(SinkError::Retry { .. } | SinkError::Partly { .. })) {
            // What is still on its way on the old connection is answered there.
            *self.link.lock().await = None;
        }
        result
    }

    async fn holds(&self, asked: &[Acked]) -> Result<Option<Held>, SinkError> {
        let link = self.link().await?;
        self.held(&link, asked).await.map(Some)
    }
}

impl Nats {
    /// The connection there is, or a new one.
    async fn link(&self) -> Result<Arc<Link>, SinkError> {
        let there = self.link.lock().await.clone();
        if let Some(link) = there.filter(|link| !link.is_lost()) {
            return Ok(link);
        }
        let link = Arc::new(self.connect().await?);
        *self.link.lock().await = Some(Arc::clone(&link));
        Ok(link)
    }

    /// What a server says, in one short line.
    fn quote(&self, said: &impl Display) -> String {
        quote(said.to_string().as_bytes(), &*self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_without_secrets() {
        let more = "stream = 'S'\nsubject = 'a.b'\n";
        for (config, said) in [
            ("servers = []", "empty"),
            ("servers = ['nats://u:hunter22@127.0.0.1']", "creds_file"),
            ("servers = ['nats://10.0.0.1:4222']", "in the clear"),
            ("servers = ['http://10.0.0.1:4222']", "should look like tls://"),
            ("servers = ['wss://10.0.0.1:4222']", "must begin"),
            ("servers = ['nats://127.0.0.1']\nuser = 'u'", "password_file"),
            ("servers = ['nats://127.0.0.1']\npassword_env = 'X'", "needs its user"),
            ("servers = ['nats://127.0.0.1']\nuser = 'u'\ncreds_file = 'c'", "exclude each other"),
            ("servers = ['nats://127.0.0.1']\ncreds_file = 'none'", "/nonexistent/none"),
            ("servers = ['tls://127.0.0.1']\nca_file = 'none'", "/nonexistent/none"),
            ("servers = ['nats://127.0.0.1']\ntimeout = '0s'", "timeout"),
        ] {
            let config: Config = toml::from_str(&format!("{more}{config}")).unwrap();
            let error = config.build(Path::new("/nonexistent")).map(drop).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("hunter22"), "{error}");
        }
        for (stream, subject) in [("a.b", "x"), ("", "x"), ("S", "x.*"), ("S", "a..b"), ("S", "a b"), ("S", ">")] {
            let config = format!("servers = ['nats://127.0.0.1']\nstream = '{stream}'\nsubject = '{subject}'");
            let config: Config = toml::from_str(&config).unwrap();
            assert!(config.build(Path::new("/")).is_err(), "{stream} {subject}");
        }
    }
}
