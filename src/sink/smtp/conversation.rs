//! The conversation that sends one mail, and what it means where it ends.

use std::time::Duration;

use lettre::transport::smtp::{
    Error,
    authentication::Mechanism,
    client::AsyncSmtpConnection,
    commands::{Data, Mail, Rcpt},
    extension::ClientId,
};
use tokio::{net::TcpStream, time};

use super::{Privacy, SinkError, Smtp, bytewise::Bytewise};
use crate::sink::{
    client::answer::quote,
    people::{desk::Untold, text::clean},
};

/// Quoted of what the server says.
const SAID_CHARS_MAX: usize = 200;
/// Waited for the answer to a mail, from its first byte (RFC 5321, section 4.5.3.2.6: a server may take long to look at it,
/// and takes it once more from who does not wait).
const TAKING_TIME: Duration = Duration::from_secs(600);
/// Waited for the goodbye after a mail was taken.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Which part of the conversation failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Connecting,
    Starttls,
    Login,
    Sender,
    Recipients,
    Data,
    Content,
}

impl Smtp {
    /// One mail over one connection; what the server said to it.
    pub(super) async fn send(&self, mail: &[u8]) -> Result<String, Untold> {
        let begun = time::timeout(self.timeout, self.begin()).await;
        let (mut connection, refused) =
            begun.map_err(|_| SinkError::passing(format!("{}: no answer in time", self.host)))??;
        let perhaps = |why: &str| {
            Untold::Perhaps(SinkError::passing(format!("{}: a mail may have been taken: {why}", self.host)))
        };
        let taken = match time::timeout(TAKING_TIME.max(self.timeout), connection.message(mail)).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) if error.status().is_some() => return Err(self.failed(Step::Content, &error).into()),
            Ok(Err(error)) => return Err(perhaps(&self.said(&error))),
            Err(_) => return Err(perhaps("no answer in time")),
        };
        // It is taken, whatever becomes of the goodbye.
        let _ = time::timeout(GOODBYE_TIME, connection.quit()).await;
        for error in &refused {
            tracing::warn!(
                server = self.host,
                reason = self.said(error),
                "a recipient was refused, the mail went to the others"
            );
        }
        let said = clean(&taken.message().collect::<Vec<_>>().join(" "), SAID_CHARS_MAX);
        Ok(format!("{} {said}", taken.code()))
    }

    /// Up to where the server wants the mail, and who is not to get it.
    async fn begin(&self) -> Result<(AsyncSmtpConnection, Vec<Error>), SinkError> {
        let mut connection = self.connect().await?;
        let failed = |step| move |error: Error| self.failed(step, &error);
        let from = Some(self.envelope.from.email.clone());
        connection.command(Mail::new(from, Vec::new())).await.map_err(failed(Step::Sender))?;
        let mut refused = Vec::new();
        for to in &self.envelope.to {
            // One address that is gone, or full for now, keeps nobody else from the mail.
            match connection.command(Rcpt::new(to.email.clone(), Vec::new())).await {
                Err(error) if error.status().is_some() => refused.push(error),
                answer => drop(answer.map_err(failed(Step::Recipients))?),
            }
        }
        if refused.len() == self.envelope.to.len() {
            // It does not pass where that is said of everybody.
            let passing = refused.iter().position(Error::is_transient).unwrap_or_default();
            return Err(failed(Step::Recipients)(refused.swap_remove(passing)));
        }
        connection.command(Data).await.map_err(failed(Step::Data))?;
        Ok((connection, refused))
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SinkError> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let hello = if fits { ClientId::Domain(name) } else { ClientId::default() };
        let server = (&*self.host, self.port);
        let connected = if self.mode == Privacy::Tls {
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, self.tls.clone(), None).await
        } else {
            let tcp = TcpStream::connect(server).await;
            let tcp = tcp.map_err(|error| SinkError::passing(format!("{}: cannot connect: {error}", self.host)))?;
            AsyncSmtpConnection::connect_with_transport(Box::new(Bytewise(tcp)), &hello).await
        };
        let mut connection = connected.map_err(|error| self.failed(Step::Connecting, &error))?;
        if let (Privacy::Starttls, Some(tls)) = (self.mode, &self.tls) {
            let started = connection.starttls(tls.clone(), &hello).await;
            started.map_err(|error| self.failed(Step::Starttls, &error))?;
        }
        if let Some(credentials) = self.credentials() {
            let login = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            login.map_err(|error| self.failed(Step::Login, &error))?;
        }
        Ok(connection)
    }

    /// What it means that a step failed: only what is said of the content is about the records.
    fn failed(&self, step: Step, error: &Error) -> SinkError {
        let what = match step {
            Step::Connecting => "cannot connect",
            Step::Starttls => "no STARTTLS",
            Step::Login => "login refused (check username and password)",
            Step::Sender => "sender refused (check from)",
            Step::Recipients => "no recipient taken (check to)",
            Step::Data => "mail refused",
            Step::Content if is_about_sender(error) => "mail refused (check from, and who may send as it)",
            Step::Content => "content refused",
        };
        let reason = format!("{}: {what}: {}", self.host, self.said(error));
        // Not an answer of the server, but that it cannot do what is asked for.
        let cannot = error.is_client() && matches!(step, Step::Starttls | Step::Login);
        match error.is_permanent() {
            true if step == Step::Content && !is_about_sender(error) => SinkError::Refused { reason },
            true => SinkError::fault(reason),
            false if cannot => SinkError::fault(reason),
            false => SinkError::passing(reason),
        }
    }

    /// The server's words, without any form of the password.
    fn said(&self, error: &Error) -> String {
        quote(error.to_string().as_bytes(), &self.secrets)
    }
}

/// Whether a refusal is about who sends and not about what is sent, by its status (RFC 3463): addresses, permissions, and
/// Exchange's own for an account that may not send as another. What filters say of spam (5.7.0, 5.7.1) is about the mail.
fn is_about_sender(error: &Error) -> bool {
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let status = said.split_whitespace().next().unwrap_or_default();
    let is_permission = status.starts_with("5.7.") && !["5.7.0", "5.7.1"].contains(&status);
    status.starts_with("5.1.") || is_permission || status == "5.2.252"
}
