//! The access token of an application registered with Microsoft Entra: the client credentials grant of OAuth 2.0
//! (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>), kept until shortly before it
//! ends.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::ANSWER_BYTES_MAX;
use crate::{
    secret::Secret,
    sink::{BuildError, SinkError, client::HttpClient},
};

/// A new token is fetched this long before the old one ends, so that no request is under way when it does. One that lives no
/// longer than twice this is used for half its life.
const AHEAD: Duration = Duration::from_secs(300);
/// Where the answer does not say how long.
const LIFE_SECS: u64 = 3_599;
/// Whatever the answer says: the longest that Entra gives out live for about a day.
const LIFE_SECS_MAX: u64 = 86_400;

/// Fetches tokens and keeps the last.
pub(super) struct Tokens {
    client: HttpClient,
    url: Url,
    form: Secret,
    kept: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    fresh_until: Instant,
}

/// The members that matter.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

/// Who asks for what.
pub(super) struct Who<'a> {
    pub(super) tenant_id: &'a str,
    pub(super) client_id: &'a str,
    pub(super) audience: &'a str,
}

impl Tokens {
    /// `client` is connected to the authority.
    pub(super) fn new(mut client: HttpClient, who: &Who<'_>, secret: Secret) -> Result<Self, BuildError> {
        let segment = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if who.tenant_id.is_empty() || !segment(who.tenant_id) {
            return Err(BuildError("tenant_id is not one: it is the directory's id, a UUID or a domain".to_owned()));
        }
        if who.client_id.is_empty() || !segment(who.client_id) {
            return Err(BuildError("client_id is not one: it is the application's id, a UUID".to_owned()));
        }
        if Url::parse(who.audience).is_err() {
            return Err(BuildError("audience is not one: it should look like https://monitor.azure.com".to_owned()));
        }
        let mut url = client.url().clone();
        let path = format!("{}/{}/oauth2/v2.0/token", url.path().trim_end_matches('/'), who.tenant_id);
        url.set_path(&path);
        let client_secret =
            std::str::from_utf8(secret.expose()).map_err(|_| BuildError("the client secret is not text".to_owned()))?;
        let scope = format!("{}/.default", who.audience.trim_end_matches('/'));
        let mut form = Url::parse("form:").map_err(|error| BuildError(error.to_string()))?;
        form.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", who.client_id)
            .append_pair("client_secret", client_secret)
            .append_pair("scope", &scope);
        let form = form.query().unwrap_or_default();
        // As it is sent, too.
        let sent = form.split('&').find_map(|pair| pair.strip_prefix("client_secret=")).unwrap_or_default();
        client.never_quote(Secret::new(sent.as_bytes().to_vec()));
        client.never_quote(secret);
        let form = Secret::new(form.as_bytes().to_vec());
        Ok(Self { client, url, form, kept: Mutex::default() })
    }

    /// The value of `Authorization`, fetched where there is none that lasts.
    pub(super) async fn header(&self) -> Result<HeaderValue, SinkError> {
        let fresh =
            self.kept().as_ref().filter(|token| token.fresh_until > Instant::now()).map(|token| token.header.clone());
        if let Some(header) = fresh {
            return Ok(header);
        }
        let token = self.fetch().await?;
        let header = token.header.clone();
        *self.kept() = Some(token);
        Ok(header)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other side does not take the token any more: the next one is fetched.
    pub(super) fn forget(&self, header: &HeaderValue) {
        let mut kept = self.kept();
        if kept.as_ref().is_some_and(|token| token.header == header) {
            *kept = None;
        }
    }

    async fn fetch(&self) -> Result<Token, SinkError> {
        let asked = Instant::now();
        let request = self.client.request(Method::POST, self.url.clone());
        let request =
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(self.form.expose().to_vec());
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(answer.status, answer.after, &answer.body));
        }
        // The body holds the token: nothing of it is quoted.
        let wrong = || SinkError::fault("the authority answered 200 without a usable access_token");
        let granted: Granted = serde_json::from_slice(answer.whole()?).map_err(|_| wrong())?;
        let text = Secret::new(format!("Bearer {}", granted.access_token).into_bytes());
        let mut header = HeaderValue::from_bytes(text.expose()).map_err(|_| wrong())?;
        header.set_sensitive(true);
        let life = Duration::from_secs(granted.expires_in.unwrap_or(LIFE_SECS).min(LIFE_SECS_MAX));
        let fresh = if life > 2 * AHEAD { life - AHEAD } else { life / 2 };
        Ok(Token { header, fresh_until: asked + fresh })
    }

    /// Whatever is wrong here is never a record's fault.
    fn refusal(&self, status: StatusCode, after: Option<Duration>, body: &[u8]) -> SinkError {
        let said = format!("no access token (check tenant_id, client_id and the secret): {}", self.client.quote(body));
        let reason = self.client.reason(status, &said);
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        SinkError::Retry { reason, after, fault: !passing }
    }
}
