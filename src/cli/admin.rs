//! A running service as a command sees it: its admin API, and the lock that says whether there is one.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::say;
use crate::{config::Config, ledger::lock::DataLock, record::Seq, secret::Secret};

/// The admin API answers from memory; re-driving is only noted by it, not waited for.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longer answers are not ours: a page of parked records stays far below it.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// The admin API of the configured service.
pub(super) struct Admin {
    client: Client,
    base: String,
    token: Option<Secret>,
}

impl Admin {
    /// Where the configuration says it is.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let token = config.admin_token()?;
        // Never through a proxy: it is this machine, and the token is for it alone.
        let client = Client::builder().no_proxy().timeout(ANSWER_WAIT_MAX).build()?;
        Ok(Self { client, base: format!("http://{}", reachable(config.admin.listen)), token })
    }

    /// Asks; `None` when nothing listens there.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        self.ask(Method::GET, path, None).await?.map(|text| self.read(path, &text)).transpose()
    }

    /// Tells; `None` when nothing listens there.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<Option<T>> {
        self.ask(Method::POST, path, Some(body)).await?.map(|text| self.read(path, &text)).transpose()
    }

    /// How far a running service has synced: what lies past it may still change. Without one, everything there is.
    pub(super) async fn synced_or_all(&self) -> Seq {
        match self.ask(Method::GET, "/metrics", None).await {
            Ok(None) => Seq::MAX,
            Ok(Some(text)) => synced(&text).unwrap_or(Seq::MAX),
            Err(error) => {
                say(&format!("note: how far a running service has synced is not known: {error:#}"));
                Seq::MAX
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, path: &str, text: &str) -> anyhow::Result<T> {
        serde_json::from_str(text).with_context(|| format!("what {}{path} answers is not understood", self.base))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Option<String>> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            let mut value = header::HeaderValue::from_bytes(&[b"Bearer ".as_slice(), token.expose()].concat())
                .context("admin.token_file holds what cannot be sent in a header")?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("no answer from the admin API at {}", self.base)),
        };
        let status = answer.status();
        let text = bounded_text(answer).await?;
        match status {
            _ if status.is_success() => Ok(Some(text)),
            StatusCode::UNAUTHORIZED => {
                bail!("the admin API at {} wants another token: check admin.token_file", self.base)
            }
            // What makes no sense is told in the same words with and without a running service.
            StatusCode::UNPROCESSABLE_ENTITY => bail!("{}", reason(&text)),
            _ => bail!("the admin API at {} answers {status} to {path}: {}", self.base, reason(&text)),
        }
    }
}

async fn bounded_text(mut answer: reqwest::Response) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            bail!("the answer is too long to be the admin API's");
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(bytes)?)
}

/// The member `error` of an answer, or the beginning of it.
fn reason(text: &str) -> String {
    let error = serde_json::from_str::<Value>(text).ok().and_then(|answer| Some(answer["error"].as_str()?.to_owned()));
    super::printable(&error.unwrap_or_else(|| text.chars().take(200).collect()))
}

/// An address to connect to, for one to listen on.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Who heard of a change.
pub(super) enum Told {
    /// A running service, and this is what it says.
    Service(Value),
    /// Nobody: the data directory is this command's.
    Nobody(DataLock),
}

/// What became of what was asked of the admin API. Something else may listen there: the lock tells.
pub(super) fn told(asked: anyhow::Result<Option<Value>>, config: &Config) -> anyhow::Result<Told> {
    let lock = || {
        DataLock::acquire(&config.data_dir).context("nothing answers as the admin API, so the files would be changed")
    };
    match asked {
        Ok(Some(answer)) => Ok(Told::Service(answer)),
        Ok(None) => lock().map(Told::Nobody),
        Err(error) => lock().map(Told::Nobody).map_err(|_| error),
    }
}

/// Whether the data directory is there at all, said in words before something fails on a part of it.
pub(super) fn expect_data(config: &Config) -> anyhow::Result<()> {
    fs::metadata(&config.data_dir).map(drop).with_context(|| {
        format!(
            "there is no data directory {}: start the service once, or name its --config",
            config.data_dir.display()
        )
    })
}

/// What a service's metrics say of how far it has synced; nothing (0) while its start still reads the journal, of which no
/// more is written meanwhile.
fn synced(metrics: &str) -> Option<Seq> {
    let value = metrics.lines().find_map(|line| line.strip_prefix("refresh_audit_synced_seq "))?;
    value.trim().parse().ok().filter(|synced| *synced > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_starting_does_not_say_that_the_journal_is_empty() {
        let metrics =
            |value: &str| format!("# TYPE refresh_audit_synced_seq gauge\nrefresh_audit_synced_seq {value}\n# EOF\n");
        assert_eq!([synced(&metrics("1017")), synced(&metrics("0")), synced("")], [Some(1017), None, None]);
    }
}
