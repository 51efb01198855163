//! Sessions whose refreshes name each other's tokens, as FusionAuth announces them: at home, and elsewhere. And what was
//! judged of them, read from the journal.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{app::TestApp, event::Event, http::Verdict, journal};

/// The application of a session that names no other.
pub const APPLICATION: &str = "10000000-0000-4000-8000-00000000000a";

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// Where a refresh comes from.
#[derive(Clone, Copy)]
pub enum From {
    Home,
    /// Elsewhere, by a script.
    Away,
    /// In another country, by the same browser.
    Abroad,
    /// In a third one.
    Overseas,
}

/// One session and the clock that its sender has.
pub struct Session {
    pub number: u32,
    pub user: u32,
    pub application: &'static str,
    pub now: i64,
}

impl Session {
    /// The only session of its user.
    pub fn new(number: u32) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        Self { number, user: number, application: APPLICATION, now: i64::try_from(now).unwrap() }
    }

    /// An access token of this session by its number: the same text each time, unsigned, and of no use anywhere.
    fn token(&self, token: u32) -> String {
        let Self { number, user, application, .. } = self;
        let issued = self.issued(token);
        let claims = json!({
            "aud": application, "auth_time": self.now - 86_400, "exp": issued + 3_600, "iat": issued,
            "iss": "fixture.invalid", "jti": format!("fixture-{number}-{token}"), "sid": format!("session-{number}"),
            "sub": format!("user-{user}"), "tid": "tenant-fixture",
        });
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", encode(r#"{"alg":"HS256","kid":"fixture"}"#), encode(&claims.to_string()), encode("none"))
    }

    /// Tokens are issued a minute and a half apart, the hundredth now.
    pub fn issued(&self, token: u32) -> i64 {
        self.now - 90 * (100 - i64::from(token))
    }

    /// The refresh that spends `parent` and gives `child`; 0: names no parent.
    pub fn refresh(&self, parent: u32, child: u32, from: From) -> Event {
        let (ip, country, agent) = match from {
            From::Home => ("192.0.2.17", "FI", FIREFOX),
            From::Away => ("198.51.100.9", "BR", "python-requests/2.32.3"),
            From::Abroad => ("203.0.113.9", "BR", FIREFOX),
            From::Overseas => ("198.18.7.9", "US", FIREFOX),
        };
        let Self { number, user, application, .. } = self;
        let mut event = json!({
            "applicationId": application, "createInstant": self.issued(child) * 1_000, "type": "jwt.refresh",
            "info": { "ipAddress": ip, "userAgent": agent, "location": { "country": country } },
            "refreshToken": format!("fixture-refresh-{number}"), "tenantId": "tenant-fixture",
            "token": self.token(child), "userId": format!("user-{user}"),
        });
        if parent != 0 {
            event["original"] = self.token(parent).into();
        }
        body(event)
    }

    /// The first token's refresh at home, and the same token shown again elsewhere three minutes later.
    pub fn theft(&self) -> [Event; 2] {
        [self.refresh(1, 10, From::Home), self.refresh(1, 12, From::Away)]
    }

    /// The session's refresh token is revoked when `token` would be issued.
    pub fn revocation(&self, token: u32) -> Event {
        let Self { number, user, application, .. } = self;
        let user = format!("user-{user}");
        body(json!({
            "applicationId": application, "createInstant": self.issued(token) * 1_000,
            "refreshToken": { "token": format!("fixture-refresh-{number}"), "userId": user },
            "tenantId": "tenant-fixture", "type": "jwt.refresh-token.revoke", "userId": user,
        }))
    }

    /// The user is deactivated when `token` would be issued.
    pub fn deactivation(&self, token: u32) -> Event {
        let user = json!({ "active": false, "id": format!("user-{}", self.user), "registrations": [] });
        body(json!({
            "createInstant": self.issued(token) * 1_000, "tenantId": "tenant-fixture", "type": "user.deactivate",
            "user": user,
        }))
    }
}

/// An event of a new id.
fn body(mut event: Value) -> Event {
    let id = uuid::Uuid::new_v4().to_string();
    event["id"] = id.clone().into();
    let body = json!({ "event": event }).to_string().into_bytes();
    Event { id, body, tokens: Vec::new(), unkept: Vec::new() }
}

pub fn send(app: &TestApp, event: &Event) -> Verdict {
    app.client().send(event, &app.signer()).unwrap()
}

/// All records, as JSON.
pub fn records(app: &TestApp) -> Vec<Value> {
    let text: Vec<u8> = journal::segments(&app.data()).iter().flat_map(|path| journal::read_plain(path)).collect();
    String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn record_of(app: &TestApp, event: &Event) -> Value {
    records(app).into_iter().find(|record| record["event"]["id"] == *event.id).unwrap()
}

/// Rule and severity of each finding.
pub fn rules(record: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = record["findings"].as_array().cloned().unwrap_or_default();
    findings.iter().map(|finding| (text(&finding["rule"]), text(&finding["severity"]))).collect()
}
