//! What a sender may have to show beside or instead of a signature: its address, HTTP Basic, static headers.
//!
//! Every configured one must hold. Secrets are kept as SHA-256 digests and compared in constant time. Knows no source.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD_PAD_INDIFFERENT};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{BuildError, EntryError, RawRequest, SourceError};
use crate::{
    host::{self, Addresses},
    secret::{Secret, SecretRef},
};

/// `basic_auth = { username = "…", password_file = "…" }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user name; no colon.
    pub username: String,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// Or an environment variable with it.
    pub password_env: Option<String>,
}

/// The part of a source's configuration that this file reads.
pub(in crate::source) struct Wanted<'a> {
    pub(in crate::source) basic_auth: Option<&'a BasicAuth>,
    pub(in crate::source) headers: &'a BTreeMap<String, SecretRef>,
    pub(in crate::source) allow_from: &'a [Addresses],
    pub(in crate::source) trusted_proxies: &'a [Addresses],
}

/// What must hold.
pub(in crate::source) struct Credentials {
    allow_from: Vec<Addresses>,
    trusted_proxies: Vec<Addresses>,
    basic: Option<[u8; 32]>,
    headers: Vec<(String, [u8; 32])>,
}

fn refuse<T>(step: &'static str, fix: impl Into<String>) -> Result<T, SourceError> {
    Err(SourceError::Unauthenticated { step, fix: fix.into() })
}

impl Credentials {
    /// What should be looked at, though it is no error, is added to `notes`.
    pub(in crate::source) fn build(
        wanted: &Wanted<'_>,
        base: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Self, EntryError> {
        let basic =
            wanted.basic_auth.map(|auth| auth.digest(base, notes)).transpose().map_err(EntryError::of("basic_auth"))?;
        let mut headers = Vec::new();
        for (written, secret) in wanted.headers {
            let of_this = || EntryError::of(format!("headers.{written}"));
            let name = header_name(written).map_err(of_this())?;
            if basic.is_some() && name == "authorization" {
                let problem =
                    "basic_auth and headers.Authorization exclude each other: a request has one Authorization";
                return Err(of_this()(BuildError(problem.to_owned())));
            }
            let value = secret.read(base).map_err(BuildError::from).map_err(of_this())?;
            if !value.is_header_value() {
                let problem = format!(
                    "the value for the header {name} can never arrive: it has a control character, or blanks at an end"
                );
                return Err(of_this()(BuildError(problem)));
            }
            notes.extend(marked(&value, &format!("headers.{name}")));
            headers.push((name, digest(value.expose())));
        }
        let (allow_from, trusted_proxies) = (wanted.allow_from.to_vec(), wanted.trusted_proxies.to_vec());
        Ok(Self { allow_from, trusted_proxies, basic, headers })
    }

    /// Whether any secret is asked for.
    pub(in crate::source) fn any_secret(&self) -> bool {
        self.basic.is_some() || !self.headers.is_empty()
    }

    /// All of it, the cheapest first.
    pub(in crate::source) fn check(&self, request: &RawRequest<'_>) -> Result<(), SourceError> {
        self.check_address(request)?;
        self.check_basic(request)?;
        self.check_headers(request)
    }

    fn check_address(&self, request: &RawRequest<'_>) -> Result<(), SourceError> {
        if self.allow_from.is_empty() {
            return Ok(());
        }
        let client = self.client(request)?;
        if contains(&self.allow_from, client) {
            return Ok(());
        }
        refuse("address", format!("{client} is not in allow_from: add it if it is the sender or its proxy"))
    }

    /// The peer; behind trusted proxies, the last address of `X-Forwarded-For` that is not one of them.
    fn client(&self, request: &RawRequest<'_>) -> Result<IpAddr, SourceError> {
        let mut client = request.peer.to_canonical();
        if !contains(&self.trusted_proxies, client) {
            return Ok(client);
        }
        let values: Vec<_> = request.header_values("x-forwarded-for").collect();
        let hops = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
        for hop in hops {
            let Some(address) = str::from_utf8(hop).ok().and_then(host::address) else {
                return refuse("address", "an entry of X-Forwarded-For is not an address: see what the proxy writes");
            };
            client = address;
            if !contains(&self.trusted_proxies, client) {
                break;
            }
        }
        Ok(client)
    }

    fn check_basic(&self, request: &RawRequest<'_>) -> Result<(), SourceError> {
        let Some(wanted) = &self.basic else { return Ok(()) };
        let fix = "set the HTTP Basic user name and password at the sender to those of basic_auth";
        let Some(value) = only(request, "authorization") else {
            return refuse("basic auth", format!("there is not exactly one Authorization header: {fix}"));
        };
        let shown = basic_credentials(value);
        if shown.is_some_and(|shown| bool::from(digest(&shown).ct_eq(wanted))) {
            return Ok(());
        }
        refuse("basic auth", fix)
    }

    fn check_headers(&self, request: &RawRequest<'_>) -> Result<(), SourceError> {
        for (name, wanted) in &self.headers {
            let shown = only(request, name);
            if !shown.is_some_and(|shown| bool::from(digest(shown).ct_eq(wanted))) {
                let fix = format!("send {name} exactly once, with the value that headers.{name} of the source names");
                return refuse("header", fix);
            }
        }
        Ok(())
    }
}

/// The value of a header that must come exactly once.
pub(in crate::source) fn only<'a>(request: &RawRequest<'a>, name: &str) -> Option<&'a [u8]> {
    let mut values = request.header_values(name);
    values.next().filter(|_| values.next().is_none())
}

fn contains(nets: &[Addresses], address: IpAddr) -> bool {
    nets.iter().any(|net| net.contains(&address))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `user:password` out of `Basic …` (RFC 7617).
fn basic_credentials(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    STANDARD_PAD_INDIFFERENT.decode(rest.trim_ascii()).ok().map(Zeroizing::new)
}

/// What to say of a secret that begins with a byte order mark: some editors write one, and nobody sees it.
pub(in crate::source) fn marked(secret: &Secret, what: &str) -> Option<String> {
    let note = || format!("{what} begins with a byte order mark, which counts as a part of it: write it without one");
    secret.has_byte_order_mark().then(note)
}

fn header_name(name: &str) -> Result<String, BuildError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(BuildError(format!("headers: `{name}` is not the name of an HTTP header")));
    }
    Ok(name.to_ascii_lowercase())
}

impl BasicAuth {
    fn digest(&self, base: &Path, notes: &mut Vec<String>) -> Result<[u8; 32], BuildError> {
        if self.username.is_empty() || self.username.contains(':') {
            let problem = "basic_auth.username must have a character and no colon: it ends at the first one";
            return Err(BuildError(problem.to_owned()));
        }
        let password = match (&self.password_file, &self.password_env) {
            (Some(file), None) => Secret::from_file(&base.join(file))?,
            (None, Some(name)) => Secret::from_env(name)?,
            _ => return Err(BuildError("basic_auth needs exactly one of password_file and password_env".to_owned())),
        };
        notes.extend(marked(&password, "the password of basic_auth"));
        let mut both = Zeroizing::new(Vec::with_capacity(self.username.len() + 1 + password.expose().len()));
        both.extend_from_slice(self.username.as_bytes());
        both.push(b':');
        both.extend_from_slice(password.expose());
        Ok(digest(&both))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn nets(list: &[&str]) -> Vec<Addresses> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn request<'a>(peer: &str, headers: &'a [(&'a str, &'a [u8])]) -> RawRequest<'a> {
        let now = Instant::now();
        RawRequest { headers, body: b"{}", id: "", peer: peer.parse().unwrap(), arrived: now, deadline: now }
    }

    #[test]
    fn the_address_is_the_peer_or_what_a_trusted_proxy_says() {
        let credentials = Credentials {
            allow_from: nets(&["10.0.0.0/8", "2001:db8::/32"]),
            trusted_proxies: nets(&["127.0.0.1", "192.0.2.0/24"]),
            basic: None,
            headers: vec![],
        };
        let table: &[(&str, &[&str], bool)] = &[
            ("10.1.2.3", &[], true),
            ("::ffff:10.1.2.3", &[], true),
            ("2001:db8::7", &[], true),
            ("11.1.2.3", &[], false),
            // Not a proxy: what it forwards is not believed.
            ("11.1.2.3", &["10.1.2.3"], false),
            ("10.1.2.3", &["11.1.2.3"], true),
            ("127.0.0.1", &[], false),
            ("127.0.0.1", &["10.1.2.3"], true),
            ("127.0.0.1", &["10.1.2.3:4711"], true),
            ("127.0.0.1", &["[2001:db8::7]:4711"], true),
            ("127.0.0.1", &["[2001:db8::7]"], true),
            // The client made up the first entries; the proxies appended the rest.
            ("127.0.0.1", &["10.1.2.3, 11.1.2.3"], false),
            ("127.0.0.1", &["11.1.2.3, 10.1.2.3, 192.0.2.9"], true),
            ("127.0.0.1", &["11.1.2.3", "10.1.2.3"], true),
            ("127.0.0.1", &["10.1.2.3", "11.1.2.3"], false),
            ("127.0.0.1", &["10.1.2.3, unknown"], false),
            ("127.0.0.1", &["unknown, 10.1.2.3"], true),
            ("127.0.0.1", &["10.1.2.3,"], false),
            ("127.0.0.1", &["192.0.2.1, 192.0.2.2"], false),
        ];
        for (peer, forwarded, fine) in table {
            let headers: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", value.as_bytes())).collect();
            let passed = credentials.check(&request(peer, &headers)).is_ok();
            assert_eq!(passed, *fine, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn basic_and_headers_must_all_hold_exactly_once() {
        let folder = tempfile::tempdir().unwrap();
        // RFC 7617, section 2: Aladdin, open sesame.
        std::fs::write(folder.path().join("password"), "open sesame\n").unwrap();
        std::fs::write(folder.path().join("key"), "k1\n").unwrap();
        let auth =
            BasicAuth { username: "Aladdin".to_owned(), password_file: Some("password".into()), password_env: None };
        let headers = BTreeMap::from([("X-Api-Key".to_owned(), SecretRef::File("key".into()))]);
        let wanted = Wanted { basic_auth: Some(&auth), headers: &headers, allow_from: &[], trusted_proxies: &[] };
        let mut notes = Vec::new();
        let credentials = Credentials::build(&wanted, folder.path(), &mut notes).unwrap();
        assert_eq!(notes, [""; 0]);
        type Headers<'a> = &'a [(&'a str, &'a [u8])];
        let right: (&str, &[u8]) = ("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let key: (&str, &[u8]) = ("x-api-key", b"k1");
        let table: &[(Headers<'_>, bool)] = &[
            (&[right, key], true),
            (&[("authorization", b"bAsIc QWxhZGRpbjpvcGVuIHNlc2FtZQ"), key], true),
            (&[right], false),
            (&[key], false),
            (&[right, right, key], false),
            (&[right, key, key], false),
            (&[right, ("x-api-key", b"k2")], false),
            (&[right, ("x-api-key", b"k1 ")], false),
            (&[("authorization", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZTI="), key], false),
            (&[("authorization", b"Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), key], false),
            (&[("authorization", b""), key], false),
            (&[("authorization", b"Basic "), key], false),
        ];
        for (headers, fine) in table {
            assert_eq!(credentials.check(&request("192.0.2.1", headers)).is_ok(), *fine, "{headers:?}");
        }
    }
}
