//! Reads `fixtures/detect/*.steps` and makes FusionAuth's bodies of them, as its documentation has them.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

/// 2026-03-02T09:00:00Z, a Monday.
const START: i64 = 1_772_442_000;
/// `backtest`'s clock goes a day at most with one event: longer pauses are filled with events of nobody.
const PAUSE_SECS_MAX: i64 = 72_000;

/// What each word of `ua=` stands for.
const AGENTS: &[(&str, &str)] = &[
    ("firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("firefox141", "Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0"),
    ("firefox139", "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"),
    ("firefox140.1", "Mozilla/5.0 (X11; Linux x86_64; rv:140.1) Gecko/20100101 Firefox/140.1"),
    (
        "chrome",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    ),
    (
        "iphone",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 \
         Mobile/15E148 Safari/604.1",
    ),
    (
        "iphone-desktop",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
    ),
    ("python", "python-requests/2.31.0"),
    ("restify", "Restify/11.1.0 (x64-darwin; v8/11.3.244.8-node.16; OpenSSL/3.0.10) node/20.6.1"),
    ("rare", "Mozilla/5.0 (X11; Linux x86_64; rv:77.0) Gecko/20100101 Firefox/77.0"),
];

/// City, country, degrees north and east.
const PLACES: &[(&str, &str, &str, f64, f64)] = &[
    ("helsinki", "Helsinki", "FI", 60.17, 24.94),
    ("turku", "Turku", "FI", 60.45, 22.27),
    ("oulu", "Oulu", "FI", 65.01, 25.47),
    ("stockholm", "Stockholm", "SE", 59.33, 18.07),
    ("newyork", "New York", "US", 40.71, -74.01),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Fires,
    Nearly,
    Benign,
}

#[derive(Debug)]
pub struct Case {
    /// File and headline.
    pub name: String,
    pub kind: Kind,
    /// Tables of the configuration.
    pub config: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub line: usize,
    pub id: String,
    pub body: Value,
    /// `RA101 high`.
    pub expected: BTreeSet<String>,
    /// Leaves no record.
    pub is_duplicate: bool,
}

/// The cases of a file.
pub fn cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<(Case, Script)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap().trim();
        if let Some(head) = line.strip_prefix("== ") {
            let kind = match head.split([':', ' ']).next().unwrap() {
                "fires" => Kind::Fires,
                "nearly" => Kind::Nearly,
                "benign" => Kind::Benign,
                other => panic!("{file}:{}: {other}?", number + 1),
            };
            let case = Case { name: format!("{file}: {head}"), kind, config: String::new(), steps: Vec::new() };
            cases.push((case, Script::default()));
        } else if let Some(table) = line.strip_prefix("config ") {
            cases.last_mut().unwrap().0.config.push_str(&format!("{table}\n"));
        } else if !line.is_empty() {
            let (case, script) = cases.last_mut().unwrap();
            script.line(number + 1, line, &mut case.steps);
        }
    }
    cases.into_iter().map(|(case, _)| case).collect()
}

/// `1h30m` in seconds; `+` and `-` before it.
fn secs(text: &str) -> i64 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text.trim_start_matches('+')), |rest| (-1, rest));
    let mut total = 0;
    let mut number = 0;
    for c in text.chars() {
        number = match (c, c.to_digit(10)) {
            (_, Some(digit)) => number * 10 + i64::from(digit),
            (unit, _) => {
                total += number
                    * [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)]
                        .iter()
                        .find(|(name, _)| *name == unit)
                        .unwrap()
                        .1;
                0
            }
        };
    }
    sign * (total + number)
}

/// What a case has come to.
#[derive(Default)]
struct Script {
    /// The last step's instant, seconds since the start.
    now: i64,
    /// The latest one.
    latest: i64,
    /// Words that hold until they are said anew.
    words: BTreeMap<String, String>,
    /// Access tokens by name.
    tokens: BTreeMap<String, String>,
    /// The newest token of each session.
    newest: BTreeMap<String, String>,
    count: usize,
}

/// Words that hold for one line.
const ONCE: &[&str] = &["from", "to", "id", "kind", "iat", "x", "every", "jump", "again"];

impl Script {
    fn line(&mut self, line: usize, text: &str, steps: &mut Vec<Step>) {
        let (step, expected) = text.split_once("=>").map_or((text, ""), |(step, expected)| (step, expected.trim()));
        let mut words = step.split_whitespace();
        let gap = secs(words.next().unwrap());
        self.words.retain(|name, _| !ONCE.contains(&name.as_str()));
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or_else(|| panic!("line {line}: {word}"));
            self.words.insert(name.to_owned(), value.to_owned());
        }
        let times = self.words.get("x").map_or(1, |times| times.parse().unwrap());
        let every = self.words.get("every").map_or(0, |every| secs(every));
        for time in 0..times {
            self.now += if time == 0 { gap } else { every };
            while self.now - self.latest > PAUSE_SECS_MAX && !self.words.contains_key("jump") {
                self.latest += PAUSE_SECS_MAX;
                let id = format!("nobody-{}", self.latest);
                let body = json!({"event": {"type": "jwt.refresh", "id": id, "createInstant": (START + self.latest) * 1_000, "tenantId": "nobody"}});
                steps.push(Step { line, id, body, expected: BTreeSet::new(), is_duplicate: false });
            }
            self.latest = self.latest.max(self.now);
            let last = steps
                .last()
                .filter(|_| self.words.contains_key("again"))
                .map(|last| (last.id.clone(), last.body.clone()));
            let (id, body) = last.unwrap_or_else(|| self.body(line, time));
            let said = if time + 1 == times { expected } else { "" };
            let is_duplicate = said == "duplicate";
            let list = said.split(',').map(str::trim).filter(|said| !said.is_empty() && !is_duplicate);
            steps.push(Step { line, id, body, expected: list.map(str::to_owned).collect(), is_duplicate });
        }
    }

    /// A word's value, `%` in it replaced by the number of the repetition.
    fn word(&self, name: &str, time: usize, default: &str) -> Option<String> {
        let value = self.words.get(name).map_or(default, String::as_str);
        (value != "-").then(|| value.replace('%', &(time + 1).to_string()))
    }

    fn body(&mut self, line: usize, time: usize) -> (String, Value) {
        self.count += 1;
        let id = self.word("id", time, &format!("step-{}", self.count)).unwrap();
        let user = self.word("user", time, "ada");
        let session = self.word("session", time, &format!("{}-1", user.as_deref().unwrap_or("nobody")));
        let family = session.clone().unwrap_or_else(|| format!("{}-none", user.as_deref().unwrap_or("nobody")));
        let presented = match self.word("refresh", time, &family) {
            Some(word) if word == "new" => Some(format!("{family}-{}", self.count)),
            other => other,
        };
        let mut event = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                event.insert(name.to_owned(), value);
            }
        };
        put("id", json!(id));
        put("createInstant", json!((START + self.now) * 1_000));
        put("tenantId", json!(self.word("tenant", time, "tenant")));
        put("userId", json!(user));
        put("applicationId", json!(self.word("app", time, "app")));
        put("info", self.info(time));
        let presented = presented.map(|name| format!("fixture-refresh-token/not+a+credential/{name}"));
        match self.words.get("kind").map(String::as_str) {
            None => {
                put("type", json!("jwt.refresh"));
                put("refreshToken", json!(presented));
                let newest = self.newest.get(&family).cloned().unwrap_or_default();
                let from = self.word("from", time, if newest.is_empty() { "-" } else { &newest });
                let from = from.map(|name| {
                    self.tokens.get(&name).cloned().unwrap_or_else(|| panic!("line {line}: no token {name}"))
                });
                put("original", json!(from));
                let to = self.word("to", time, &format!("token-{}", self.count));
                if let Some(name) = to {
                    let token = self.token(time, session.as_deref(), user.as_deref());
                    put("token", json!(token));
                    self.tokens.insert(name.clone(), token);
                    self.newest.insert(family, name);
                }
            }
            Some("revoke-session") => {
                put("type", json!("jwt.refresh-token.revoke"));
                put("refreshToken", json!({"token": presented, "userId": user}));
            }
            // By its id, with a token that was never shown.
            Some("revoke-id") => {
                put("type", json!("jwt.refresh-token.revoke"));
                put("refreshToken", json!({"id": session, "token": "never-shown", "userId": user}));
            }
            Some("revoke-in-app") => put("type", json!("jwt.refresh-token.revoke")),
            Some("revoke-user") => {
                put("type", json!("jwt.refresh-token.revoke"));
                event.remove("applicationId");
            }
            Some("revoke-app") => {
                put("type", json!("jwt.refresh-token.revoke"));
                event.remove("userId");
            }
            // About a person: the user, and neither userId nor applicationId.
            Some(kind @ ("deactivate" | "delete" | "delete-complete")) => {
                put("type", json!(format!("user.{}", kind.replace('-', "."))));
                put("user", json!({"active": false, "id": user, "registrations": [], "tenantId": "elsewhere"}));
                event.remove("userId");
                event.remove("applicationId");
            }
            Some(other) => panic!("line {line}: kind={other}"),
        }
        (id, json!({"event": event}))
    }

    fn info(&self, time: usize) -> Value {
        let mut info = Map::new();
        if let Some(ip) = self.word("ip", time, "192.0.2.10") {
            info.insert("ipAddress".to_owned(), json!(ip));
        }
        if let Some(word) = self.word("ua", time, "firefox") {
            let agent = AGENTS.iter().find(|(name, _)| *name == word).unwrap_or_else(|| panic!("ua={word}"));
            info.insert("userAgent".to_owned(), json!(agent.1));
        }
        if let Some(os) = self.word("os", time, "-") {
            info.insert("os".to_owned(), json!(os));
        }
        if let Some(kind) = self.word("device", time, "-") {
            info.insert("deviceType".to_owned(), json!(kind));
        }
        if let Some(word) = self.word("place", time, "-") {
            let (_, city, country, latitude, longitude) = PLACES.iter().find(|place| place.0 == word).unwrap();
            let place = json!({"city": city, "country": country, "latitude": latitude, "longitude": longitude});
            info.insert("location".to_owned(), place);
        }
        if info.is_empty() { Value::Null } else { Value::Object(info) }
    }

    /// A JWT in form only: its signature is no signature.
    fn token(&self, time: usize, session: Option<&str>, user: Option<&str>) -> String {
        let iat = START + self.now + self.words.get("iat").map_or(0, |iat| secs(iat));
        let lifetime = secs(&self.word("ttl", time, "1h").unwrap());
        let auth_time = self.word("auth", time, "-1h").map(|auth| START + secs(&auth));
        let mut claims = json!({
            "iss": self.word("iss", time, "auth.example.invalid"), "sub": user, "aud": self.word("app", time, "app"), "iat": iat,
            "exp": iat + lifetime, "jti": format!("jti-{}", self.count), "sid": session, "auth_time": auth_time,
            "scope": self.word("scope", time, "-").map(|scope| scope.replace('+', " ")), "tid": self.word("tenant", time, "tenant"),
            "roles": self.word("roles", time, "-").map(|roles| roles.split('+').map(str::to_owned).collect::<Vec<_>>()),
        });
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let header =
            json!({"typ": "JWT", "alg": self.word("alg", time, "RS256"), "kid": self.word("kid", time, "fixture-key")});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode("fixture, not a signature"))
    }
}
