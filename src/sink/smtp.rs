//! `smtp`: mails to people, one a batch: what comes within `batch.wait` is one mail.
//!
//! STARTTLS or TLS, with the server's certificate checked; in the clear only to this machine. A connection a mail.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use lettre::{
    message::Mailbox,
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Identity, TlsParameters},
    },
};
use serde::Deserialize;

use super::{
    Ack, BuildError, Message, Sink, SinkError,
    client::{self, one_secret},
    defaults::{timeout, yes},
    people::{
        KINDS, messages_per_hour,
        desk::Desk,
        notice::{Link, Notice},
    },
    tls::{self, TlsFiles},
};
use crate::{
    host::is_this_machine,
    record::Kind,
    secret::Secret,
    units::Span,
};

mod bytewise;
mod conversation;
mod mail;

use mail::Envelope;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `mail.example.com`, with a port where it is not 587 (`starttls`), 465 (`tls`) or 25 (`none`).
    server: String,
    /// How the connection is kept private.
    #[serde(default)]
    tls: Privacy,
    /// `Refresh Audit <audit@example.com>`.
    from: String,
    /// One address or several.
    to: OneOrMore,
    /// Default: the address of `from`, where there is a password.
    username: Option<String>,
    /// File with the password; or `password_env`. Without one nobody logs in.
    password_file: Option<PathBuf>,
    /// Environment variable with the password.
    password_env: Option<String>,
    /// Where people find an incident; `{id}` stands for its id.
    link: Option<String>,
    /// The most mails an hour; what is more waits and is one.
    #[serde(default = "messages_per_hour")]
    messages_per_hour: NonZeroU32,
    /// Also tell when an incident is closed or an alarm cleared.
    #[serde(default = "yes")]
    resolved: bool,
    /// From connecting to where the server wants the mail.
    #[serde(default = "timeout")]
    timeout: Span,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
}

/// How the connection is kept private.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Privacy {
    /// It begins in the clear; nothing is sent before it is not.
    #[default]
    Starttls,
    /// From the first byte.
    Tls,
    /// Not at all: to this machine only.
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "an address or a list of addresses")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// See the head of this file.
pub struct Smtp {
    host: String,
    port: u16,
    mode: Privacy,
    tls: Option<TlsParameters>,
    login: Option<(String, Secret)>,
    /// What must not be quoted: the password, also as it is sent.
    secrets: Vec<Secret>,
    envelope: Envelope,
    timeout: Duration,
    desk: Desk,
}

impl Config {
    /// Reads its password and certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Smtp, BuildError> {
        let (host, port) = self.server()?;
        let tls = if self.tls == Privacy::None { None } else { Some(self.parameters(&host, base)?) };
        let to = match &self.to {
            OneOrMore::One(one) => std::slice::from_ref(one),
            OneOrMore::More(more) => more,
        };
        let to = to.iter().map(|text| mailbox("to", text)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(BuildError("to is empty: name one address at least".to_owned()));
        }
        let envelope = Envelope { from: mailbox("from", &self.from)?, to };
        let link = self.link.as_deref().map(Link::new).transpose()?;
        if self.timeout.get().is_zero() {
            return Err(BuildError("timeout must be more than zero".to_owned()));
        }
        let login = self.login(&envelope, base)?;
        Ok(Smtp {
            host,
            port,
            mode: self.tls,
            tls,
            secrets: login.as_ref().map(forms).unwrap_or_default(),
            login,
            envelope,
            timeout: self.timeout.get(),
            desk: Desk::new(link, self.resolved, self.messages_per_hour),
        })
    }

    fn server(&self) -> Result<(String, u16), BuildError> {
        let usual = match self.tls {
            Privacy::Starttls => 587,
            Privacy::Tls => 465,
            Privacy::None => 25,
        };
        let wrong = || BuildError("server is not one: it should look like mail.example.com:587".to_owned());
        let address = reqwest::Url::parse(&format!("smtp://{}", self.server)).map_err(|_| wrong())?;
        let host = address.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty()
            || !matches!(address.path(), "" | "/")
            || address.username() != ""
            || address.query().is_some()
        {
            return Err(wrong());
        }
        if self.tls == Privacy::None && !is_this_machine(&host) {
            return Err(BuildError(
                "tls = \"none\" is for this machine only: mails would travel in the clear".to_owned(),
            ));
        }
        Ok((host, address.port().unwrap_or(usual)))
    }

    fn login(&self, envelope: &Envelope, base: &Path) -> Result<Option<(String, Secret)>, BuildError> {
        if let (None, None, None) = (&self.password_file, &self.password_env, &self.username) {
            return Ok(None);
        }
        let password = one_secret("password", &self.password_file, &self.password_env)?.read(base)?;
        if std::str::from_utf8(password.expose()).is_err() {
            return Err(BuildError("the password is not text".to_owned()));
        }
        Ok(Some((self.username.clone().unwrap_or_else(|| envelope.from.email.to_string()), password)))
    }

    fn parameters(&self, host: &str, base: &Path) -> Result<TlsParameters, BuildError> {
        let files = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        // Says what is wrong with a file in the words of all sinks.
        files.client_config(base)?;
        let wrong = |error: Error| BuildError(format!("cannot set up TLS: {}", client::answer::causes(&error)));
        let mut builder = TlsParameters::builder(host.to_owned());
        if let Some(file) = files.ca_file {
            builder = builder.certificate_store(CertificateStore::None);
            builder = builder.add_root_certificate(Certificate::from_pem(&tls::read("ca_file", base, file)?).map_err(wrong)?);
        }
        if let (Some(certificate), Some(key)) = (files.cert_file, files.key_file) {
            let key = Secret::new(tls::read("key_file", base, key)?);
            let certificate = tls::read("cert_file", base, certificate)?;
            builder = builder.identify_with(Identity::from_pem(&certificate, key.expose()).map_err(wrong)?);
        }
        builder.build_rustls().map_err(wrong)
    }
}

/// A password by itself and as `AUTH LOGIN` and `AUTH PLAIN` send it.
fn forms((user, password): &(String, Secret)) -> Vec<Secret> {
    let pair = Secret::new([b"\0", user.as_bytes(), b"\0", password.expose()].concat());
    let encoded = [password, &pair].map(|secret| Secret::new(STANDARD.encode(secret.expose()).into_bytes()));
    std::iter::once(Secret::new(password.expose().to_vec())).chain(encoded).collect()
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, BuildError> {
    text.parse().map_err(|_| BuildError(format!("{key}: {text:?} is not an address such as audit@example.com")))
}

impl Sink for Smtp {
    /// What was told is remembered in order.
    fn one_at_a_time(&self) -> bool {
        true
    }

    async fn check(&self, test: &Message) -> Result<(), SinkError> {
        self.deliver(std::slice::from_ref(test)).await.map(drop)
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let say = |notices: &[Notice]| {
            let mail = mail::mail(notices, &self.envelope);
            async move {
                let mail =
                    mail.map_err(|error| SinkError::Refused { reason: format!("no mail can be made: {error}") })?;
                self.send(&mail).await
            }
        };
        self.desk.tell_together(batch, say).await
    }

    fn kinds(&self) -> Option<&'static [Kind]> {
        Some(KINDS)
    }
}

impl Smtp {
    /// Who logs in, if anybody does.
    fn credentials(&self) -> Option<Credentials> {
        let (user, password) = self.login.as_ref()?;
        Some(Credentials::new(user.clone(), String::from_utf8_lossy(password.expose()).into_owned()))
    }
}
