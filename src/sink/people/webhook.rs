//! Posting JSON to an address that is itself the secret (an incoming webhook).

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use crate::{
    sink::{
        BuildError, SinkError,
        client::{Connect, HttpClient, one_secret, secret_url},
        tls::TlsFiles,
    },
    units::Span,
};

/// Read of an answer; what these services say fits in a line.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// See the head of this file.
pub struct Webhook(HttpClient);

impl Webhook {
    /// The address from exactly one of the members `url_file` and `url_env`.
    pub fn build(
        (file, env): (&Option<PathBuf>, &Option<String>),
        timeout: Span,
        tls: TlsFiles<'_>,
        base: &Path,
    ) -> Result<Self, BuildError> {
        let url = secret_url(&one_secret("url", file, env)?.read(base)?)?;
        let mut client = Connect { url: &url, timeout, allow_http: false, tls }.build(base)?;
        client.never_quote_address();
        Ok(Self(client))
    }

    /// Posts it and says what was answered.
    pub async fn post(&self, body: &Value) -> Result<String, SinkError> {
        let request = self.0.request(Method::POST, self.0.url().clone());
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = self.0.ask(request, ANSWER_BYTES_MAX).await?;
        let said = self.0.quote(&answer.body);
        if answer.status.is_success() {
            return Ok(format!("{} {said}", answer.status.as_u16()));
        }
        Err(self.0.meaning(answer.status, answer.after, &said))
    }
}
