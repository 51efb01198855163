//! The keys that an identity provider publishes (RFC 7517): fetched when a key is asked for that was never seen, kept
//! when it cannot be fetched again.
//!
//! Owns when to fetch. One fetch runs at a time, in a task of its own, so that no waiter's end ends it; no lock is
//! held over it. Knows no source.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use reqwest::{Client, Url, redirect::Policy};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    BuildError, SourceError,
    keys::{Key, of_jwk},
};
use crate::host::is_this_machine;

/// A whole fetch. Longer than any answer's deadline: a slow one still serves the next request.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the answer. FusionAuth publishes every key of the instance, about 1 kB each with its certificate.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Keys that are used of one answer.
const KEYS_MAX: usize = 1_024;
/// Fetches at once when unknown keys are asked for …
const BURST_FETCHES: f64 = 3.0;
/// … and one more after each such time: forged key ids must not make us flood the identity provider.
const FETCH_EVERY: Duration = Duration::from_secs(5);
/// A set older than this is fetched anew in the background when it is used, so that withdrawn keys go.
const REFRESH_AFTER: Duration = Duration::from_secs(3_600);
/// Between two failed fetches in the background.
const BACKGROUND_RETRY: Duration = Duration::from_secs(60);
/// A set older than this that cannot be refreshed is worth an alarm: one refresh and an hour of retries have failed.
const STALE_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// The published keys of one URL.
pub(in crate::source) struct Jwks {
    shared: Arc<Shared>,
}

struct Shared {
    url: Url,
    client: Client,
    allowed_kids: BTreeSet<String>,
    set: ArcSwapOption<Set>,
    state: Mutex<State>,
    /// Told after each fetch.
    ended: watch::Sender<()>,
}

struct Set {
    keys: Vec<Key>,
    begun: Instant,
}

struct State {
    in_flight: bool,
    /// The fetch that ended last: when it began, and why it failed if it did.
    last: Option<(Instant, Option<String>)>,
    tokens: f64,
    tokens_at: Instant,
}

/// What a request that lacks a key has to do.
enum Next {
    /// A fetch is running.
    Wait,
    /// One begun after the request arrived has ended well.
    Look,
    /// One begun after the request arrived has failed.
    Failed(String),
    /// No fetch may start yet.
    Limited(Duration),
}

impl Jwks {
    /// Nothing is fetched yet.
    pub(in crate::source) fn build(url: &str, allowed_kids: &[String]) -> Result<Self, BuildError> {
        let (url, loopback) = checked(url)?;
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // Fetches are rare and come from any of several runtimes; a kept connection would belong to one of them.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("refresh-audit/", env!("CARGO_PKG_VERSION")));
        let client = if loopback { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| {
            BuildError(format!("jwks_url: no HTTPS client can be made ({error}): are the CA certificates installed?"))
        })?;
        let state = State { in_flight: false, last: None, tokens: BURST_FETCHES, tokens_at: Instant::now() };
        let shared = Shared {
            url,
            client,
            allowed_kids: allowed_kids.iter().cloned().collect(),
            set: ArcSwapOption::empty(),
            state: Mutex::new(state),
            ended: watch::Sender::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether a key of that id may be taken from here at all.
    pub(in crate::source) fn allows(&self, kid: Option<&str>) -> bool {
        let allowed = &self.shared.allowed_kids;
        allowed.is_empty() || kid.is_none_or(|kid| allowed.contains(kid))
    }

    /// Asks the set for an answer: the one at hand, else one fetched after the request arrived. `Ok(None)`: even that
    /// one has none.
    pub(in crate::source) async fn ask<T>(
        &self,
        arrived: Instant,
        deadline: Instant,
        answer: impl Fn(&[Key]) -> Option<T>,
    ) -> Result<Option<T>, SourceError> {
        // Armed before anything is read, so that no end is missed.
        let mut ended = self.shared.ended.subscribe();
        loop {
            if let Some(set) = self.shared.set.load_full() {
                if let Some(answer) = answer(&set.keys) {
                    self.refresh_if_old(&set);
                    return Ok(Some(answer));
                }
                if set.begun >= arrived {
                    return Ok(None);
                }
            }
            match self.shared.next(arrived) {
                Next::Look => continue,
                Next::Failed(reason) => return Err(unavailable(reason, FETCH_EVERY)),
                Next::Limited(wait) => return Err(unavailable("it was just asked too often".to_owned(), wait)),
                Next::Wait => {}
            }
            if tokio::time::timeout_at(deadline.into(), ended.changed()).await.is_err() {
                return Err(unavailable("it has not answered in time".to_owned(), Duration::from_secs(1)));
            }
        }
    }

    /// Fetches once, now, and says whether there is a key to verify with.
    pub(in crate::source) async fn connect(&self) -> Result<(), SourceError> {
        let now = Instant::now();
        // The fetch ends by itself within its own limit.
        self.ask(now, now + 2 * FETCH_TIMEOUT, |_| None::<()>).await?;
        let empty = self.shared.set.load().as_ref().is_none_or(|set| set.keys.is_empty());
        if empty {
            let reason = "it holds no signature key that may be used: compare allowed_kids, and see whether the \
                          webhook is signed with a key that is published (an HMAC key never is)";
            return Err(unavailable(reason.to_owned(), FETCH_EVERY));
        }
        Ok(())
    }

    /// What is wrong, if the keys at hand are too old to trust for ever; `None` before the first fetch has ended.
    pub(in crate::source) fn standing(&self) -> Option<Result<(), String>> {
        let error = self.shared.lock().last.as_ref().and_then(|(_, error)| error.clone());
        let age = self.shared.set.load().as_ref().map(|set| set.begun.elapsed());
        match (age, error) {
            (None, None) => None,
            (None, Some(error)) => Some(Err(format!("the keys at jwks_url were never had: {error}"))),
            (Some(age), Some(error)) if age > STALE_AFTER => {
                Some(Err(format!("the keys at jwks_url are {} minutes old: {error}", age.as_secs() / 60)))
            }
            (Some(_), _) => Some(Ok(())),
        }
    }

    fn refresh_if_old(&self, set: &Set) {
        if set.begun.elapsed() > REFRESH_AFTER {
            let mut state = self.shared.lock();
            let lately = state.last.as_ref().is_some_and(|(begun, _)| begun.elapsed() < BACKGROUND_RETRY);
            if !state.in_flight && !lately {
                self.shared.start(&mut state);
            }
        }
    }
}

fn unavailable(reason: String, retry_after: Duration) -> SourceError {
    SourceError::Unavailable { reason: format!("jwks_url: {reason}"), retry_after }
}

/// The URL, if it may be fetched, and whether it is on this machine.
fn checked(text: &str) -> Result<(Url, bool), BuildError> {
    let url = Url::parse(text).map_err(|error| BuildError(format!("jwks_url is not a URL: {error}")))?;
    let loopback = url.host_str().is_some_and(is_this_machine);
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BuildError("jwks_url must not hold a password: a JWKS is public".to_owned()));
    }
    match url.scheme() {
        "https" => Ok((url, loopback)),
        "http" if loopback => Ok((url, loopback)),
        _ => Err(BuildError(
            "jwks_url must begin with https:// (http:// is for this machine only): whoever can change \
                             the answer on its way can sign events"
                .to_owned(),
        )),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a request for which the set at hand is too old; starts a fetch where one may start.
    fn next(self: &Arc<Self>, arrived: Instant) -> Next {
        let mut state = self.lock();
        if state.in_flight {
            return Next::Wait;
        }
        if let Some((begun, error)) = &state.last
            && *begun >= arrived
        {
            return error.clone().map_or(Next::Look, Next::Failed);
        }
        let now = Instant::now();
        let earned = now.saturating_duration_since(state.tokens_at).as_secs_f64() / FETCH_EVERY.as_secs_f64();
        state.tokens = (state.tokens + earned).min(BURST_FETCHES);
        state.tokens_at = now;
        if state.tokens < 1.0 {
            return Next::Limited(FETCH_EVERY.mul_f64(1.0 - state.tokens));
        }
        state.tokens -= 1.0;
        self.start(&mut state);
        Next::Wait
    }

    fn start(self: &Arc<Self>, state: &mut State) {
        state.in_flight = true;
        let mut flight = Flight { shared: Arc::clone(self), begun: Instant::now(), result: None };
        tokio::spawn(async move {
            let result = flight.shared.fetch(flight.begun).await;
            flight.end(result);
        });
    }

    async fn fetch(&self, begun: Instant) -> Result<Set, String> {
        let failed = |error: reqwest::Error| format!("cannot fetch {}: {}", self.url, innermost(&error.without_url()));
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if response.status() != reqwest::StatusCode::OK {
            let status = response.status();
            let fix = if status.is_server_error() { "" } else { ": it must be the final URL of the JWKS" };
            return Err(format!("{} answers {status}{fix}", self.url));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(format!("{} answers more than 1 MiB: it is no JWKS", self.url));
            }
            body.extend_from_slice(&chunk);
        }
        let keys = self.keys(&body)?;
        Ok(Set { keys, begun })
    }

    fn keys(&self, body: &[u8]) -> Result<Vec<Key>, String> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<serde_json::Value>,
        }
        let published: Published =
            serde_json::from_slice(body).map_err(|_| format!("{} answers something that is no JWKS", self.url))?;
        if published.keys.len() > KEYS_MAX {
            tracing::warn!(url = %self.url, "the JWKS holds more than {KEYS_MAX} keys; the rest are not used");
        }
        let all = published.keys.into_iter().take(KEYS_MAX).flat_map(of_jwk);
        let pinned = |key: &Key| {
            self.allowed_kids.is_empty() || key.kid.as_ref().is_some_and(|kid| self.allowed_kids.contains(kid))
        };
        Ok(all.filter(pinned).collect())
    }
}

/// The cause furthest down says most ("connection refused").
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A running fetch; however it ends, its end is noted and told.
struct Flight {
    shared: Arc<Shared>,
    begun: Instant,
    result: Option<Result<Set, String>>,
}

impl Flight {
    fn end(&mut self, result: Result<Set, String>) {
        self.result = Some(result);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let error = match self.result.take() {
            Some(Ok(set)) => {
                tracing::info!(url = %self.shared.url, keys = set.keys.len(), "the JWKS was fetched");
                self.shared.set.store(Some(Arc::new(set)));
                None
            }
            Some(Err(reason)) => Some(reason),
            None => Some("the fetch was cut off".to_owned()),
        };
        if let Some(reason) = &error {
            let left = match self.shared.set.load().is_some() {
                true => "the last good one stays",
                false => "there is none yet, and what needs one is answered 503",
            };
            tracing::warn!(url = %self.shared.url, "the JWKS cannot be fetched; {left}: {reason}");
        }
        let mut state = self.shared.lock();
        state.in_flight = false;
        state.last = Some((self.begun, error));
        drop(state);
        self.shared.ended.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine() {
        for (url, fine) in [
            ("https://auth.example.com/.well-known/jwks.json", true),
            ("http://127.0.0.1:9011/jwks", true),
            ("http://localhost:9011/jwks", true),
            ("http://[::1]:9011/jwks", true),
            ("http://auth.example.com/jwks", false),
            ("http://127.0.0.1.example.com/jwks", false),
            ("http://localhost.example.com/jwks", false),
            ("https://user:password@auth.example.com/jwks", false),
            ("file:///etc/passwd", false),
            ("auth.example.com/jwks", false),
        ] {
            assert_eq!(checked(url).is_ok(), fine, "{url}");
        }
    }

    #[tokio::test]
    async fn an_old_set_is_used_while_it_is_refreshed_and_reported_when_it_cannot_be() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let jwks = Jwks::build(&format!("http://{closed}/jwks.json"), &[]).unwrap();
        assert_eq!(jwks.standing(), None);
        let mut ended = jwks.shared.ended.subscribe();
        let now = Instant::now();
        for (minutes, refreshed, reported) in [(59, false, false), (61, true, false), (181, false, true)] {
            let begun = now - Duration::from_secs(minutes * 60);
            jwks.shared.set.store(Some(Arc::new(Set { keys: vec![], begun })));
            assert_eq!(jwks.ask(now, now, |_| Some(())).await.unwrap(), Some(()));
            // The failed refresh after 61 minutes stands for the next: one a minute is enough.
            assert_eq!(jwks.shared.lock().in_flight, refreshed, "{minutes}");
            if refreshed {
                ended.changed().await.unwrap();
            }
            assert_eq!(jwks.standing().unwrap().is_err(), reported, "{minutes}");
        }
        assert!(jwks.standing().unwrap().unwrap_err().contains("181 minutes old"));
    }
}
