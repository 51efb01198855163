//! `send`: posts event bodies signed as FusionAuth signs them, to try a set-up or to load it. Prints what is answered,
//! never a body, a signature or a key.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, stream};
use reqwest::{Certificate, Client, Url, header};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::{Ended, admin, block_on, print, printable, progress_bar, sign::Signer};
use crate::{
    config::{Config, ConfigError, SourceEntry},
    host::is_this_machine,
    secret::Secret,
    sink::tls,
    source::{Alg, fusionauth},
    time::ReceivedAt,
};

/// Post events to the webhook, signed as FusionAuth signs them
///
/// Without --repeat a file's bytes go out unchanged, so sending it again is a duplicate. With --repeat each copy is
/// given a new event.id and the current time as its createInstant. Its tokens stay as they are, so detection may tell of copies
/// that their tokens are old (RA203): repeat into a data_dir of its own.
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit send --example
  refresh-audit send --repeat 10000 --rate 500 --concurrency 16 jwt-refresh.json
  refresh-audit send --url https://audit.example.com/webhooks/fusionauth --alg RS256 --kid webhook-2026 \\
      --key-file webhook.pem --ca-file our-ca.pem events/

Exits 1 when any event is not answered 2xx.")]
pub(super) struct Arguments {
    /// Files that hold one body each, or directories of them (*.json)
    #[arg(required_unless_present = "example", value_name = "FILE|DIR")]
    bodies: Vec<PathBuf>,
    /// Send an example event that is in this program; a second time it is a duplicate, without --repeat
    #[arg(long, conflicts_with = "bodies")]
    example: bool,
    /// Where to; without it the first configured source
    #[arg(long)]
    url: Option<Url>,
    /// The HMAC secret, or the private key in PKCS#8 PEM; without it the first configured key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The algorithm; without it the configured key's, or HS256 with --key-file
    #[arg(long, value_parser = parse_alg)]
    alg: Option<Alg>,
    /// How an HMAC secret's text is to be read
    #[arg(long)]
    encoding: Option<Encoding>,
    /// The key id to name in the signature
    #[arg(long)]
    kid: Option<String>,
    /// Send every file this many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    repeat: Option<u64>,
    /// Events a second at most
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
    /// Events under way at once; past 1 they may arrive in another order
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// Trust the certificates of this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encoding {
    Utf8,
    Base64,
}

/// As FusionAuth's documentation shows it.
const EXAMPLE: &str = include_str!("../../fixtures/fusionauth/example/jwt-refresh.json");

/// Past this many, counts are printed instead of a line per event.
const LINES_MAX: u64 = 20;
/// FusionAuth itself gives up after 1 to 2 s; a person can wait a little longer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

pub(super) fn run(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let bodies = match given.example {
        true => vec![(PathBuf::from("the example event"), EXAMPLE.as_bytes().to_vec())],
        false => read_bodies(&given.bodies)?,
    };
    let signer = signer(given, &load)?;
    let url = match &given.url {
        Some(url) => url.clone(),
        None => default_url(given, &load()?)?,
    };
    block_on(send(given, &bodies, &signer, url))
}

async fn send(given: &Arguments, bodies: &[(PathBuf, Vec<u8>)], signer: &Signer, url: Url) -> anyhow::Result<Ended> {
    let client = client(given, &url)?;
    let repeat = given.repeat.unwrap_or(1);
    let total = bodies.len() as u64 * repeat;
    let many = total > LINES_MAX;
    let bar = if many { progress_bar(total) } else { indicatif::ProgressBar::hidden() };
    let pace = given.rate.map(|rate| {
        let mut pace = interval(Duration::from_secs(1) / rate);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        pace
    });
    let all = bodies.iter().flat_map(|body| (0..repeat).map(move |_| body));
    let paced = stream::unfold((all, pace), |(mut all, mut pace)| async move {
        let body = all.next()?;
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        Some((body, (all, pace)))
    });
    let answers = paced.map(|(path, original)| {
        let (client, url) = (&client, &url);
        async move {
            let body = if given.repeat.is_some() { fresh_copy(path, original)? } else { original.clone() };
            anyhow::Ok((path, post(client, url, signer, body).await?))
        }
    });
    let mut answers = std::pin::pin!(answers.buffered(given.concurrency.into()));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut refused = 0;
    while let Some(answered) = answers.next().await {
        let (path, answer) = match answered {
            Ok(answered) => answered,
            Err(error) => {
                bar.finish_and_clear();
                show(&counts, many)?;
                return Err(error);
            }
        };
        refused += u64::from(!answer.taken);
        if !many {
            print(&format!("{}  {}", answer.text, path.display()))?;
        }
        *counts.entry(answer.class).or_default() += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    show(&counts, many)?;
    Ok(Ended::well_if(refused == 0))
}

/// How often each answer came, where there are too many to show each.
fn show(counts: &BTreeMap<String, u64>, many: bool) -> anyhow::Result<()> {
    counts.iter().filter(|_| many).try_for_each(|(class, count)| print(&format!("{count}  {class}")))
}

fn client(given: &Arguments, url: &Url) -> anyhow::Result<Client> {
    let mut builder = Client::builder().timeout(ANSWER_WAIT_MAX).redirect(reqwest::redirect::Policy::none());
    if url.host_str().is_some_and(is_this_machine) {
        builder = builder.no_proxy();
    }
    if let Some(file) = &given.ca_file {
        let pem = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            bail!("{} holds no PEM certificate", file.display());
        }
        builder = builder.tls_certs_only(certificates);
    }
    Ok(builder.build()?)
}

/// What was answered.
struct Answer {
    taken: bool,
    /// Status and the word it came with.
    class: String,
    /// The class and the rest.
    text: String,
}

async fn post(client: &Client, url: &Url, signer: &Signer, body: Vec<u8>) -> anyhow::Result<Answer> {
    let request = client
        .post(url.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .header(signer.header(), signer.sign(&body)?)
        .body(body);
    let answer = request.send().await.map_err(|error| {
        let advice = match certificate_refused(&error) {
            Some(reason) => {
                tls::advice(&reason).unwrap_or("its certificate is not accepted; name its CA's with --ca-file")
            }
            None => "start the service first, or name another --url",
        };
        anyhow::Error::new(error).context(format!("no answer from {url}; {advice}"))
    })?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let word = value["status"].as_str().or(value["error"].as_str()).unwrap_or_else(|| text.get(..200).unwrap_or(&text));
    let class = printable(&format!("{} {word}", status.as_u16()));
    let seq = value["seq"].as_u64().map(|seq| format!(" seq {seq}")).unwrap_or_default();
    Ok(Answer { taken: status.is_success(), text: format!("{class}{seq}"), class })
}

/// Why TLS failed, where it did at who the other side is.
fn certificate_refused(error: &reqwest::Error) -> Option<String> {
    let mut causes =
        std::iter::successors(std::error::Error::source(error), |cause| cause.source()).map(ToString::to_string);
    causes.find(|cause| cause.starts_with("invalid peer certificate"))
}

fn read_bodies(paths: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut inside = Vec::new();
            for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
                let file = entry?.path();
                if file.extension().is_some_and(|extension| extension == "json") {
                    inside.push(file);
                }
            }
            if inside.is_empty() {
                bail!("there is no *.json in {}", path.display());
            }
            inside.sort();
            files.append(&mut inside);
        } else {
            files.push(path.clone());
        }
    }
    let read = |file: PathBuf| {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((file, bytes))
    };
    files.into_iter().map(read).collect()
}

/// The body with an id of its own and the current time.
fn fresh_copy(path: &Path, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(body).with_context(|| format!("{} is not JSON", path.display()))?;
    let event = value.get_mut("event").and_then(Value::as_object_mut);
    let event = event.with_context(|| format!("{} has no member `event`", path.display()))?;
    event.insert("id".to_owned(), uuid::Uuid::new_v4().to_string().into());
    event.insert("createInstant".to_owned(), (ReceivedAt::wall().micros() / 1_000).into());
    Ok(serde_json::to_vec(&value)?)
}

fn signer(given: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Signer> {
    let Some(file) = &given.key_file else { return configured_signer(given, &load()?) };
    let alg = given.alg.unwrap_or(Alg::Hs256);
    let secret = Secret::from_file(file)?;
    if given.alg.is_none() && secret.expose().starts_with(b"-----BEGIN") {
        bail!("{} is a PEM: say its --alg", file.display());
    }
    let secret = decoded(secret, given.encoding == Some(Encoding::Base64))?;
    // A key of its own needs no configuration, so none says what signs otherwise.
    Ok(Signer::new(fusionauth::SIGNATURE, alg, given.kid.clone(), &secret)?)
}

/// Whether the configuration alone is enough to sign with.
pub(super) fn can_sign(config: &Config) -> bool {
    config
        .sources
        .first()
        .is_some_and(|source| source.config.signature().is_some() && !source.config.shared_keys().is_empty())
}

/// The source's first key that can sign.
fn configured_signer(given: &Arguments, config: &Config) -> anyhow::Result<Signer> {
    let source = &source(given, config)?.config;
    let (Some(form), Some(key)) = (source.signature(), source.shared_keys().into_iter().next()) else {
        bail!("the configuration has no secret to sign with: give --key-file (a private key) and --alg");
    };
    let is_base64 = given.encoding.map_or(key.is_base64, |given| given == Encoding::Base64);
    let secret = decoded(key.secret.read(&config.base)?, is_base64)?;
    Ok(Signer::new(form, given.alg.unwrap_or(key.alg), given.kid.clone().or(key.kid), &secret)?)
}

/// The source that the URL names by its last segment, or the first one.
fn source<'c>(given: &Arguments, config: &'c Config) -> anyhow::Result<&'c SourceEntry> {
    let named = given.url.as_ref().and_then(|url| url.path_segments()?.next_back());
    let found = config.sources.iter().find(|source| Some(source.name.as_str()) == named);
    found.or(config.sources.first()).context("the configuration has no source")
}

fn decoded(secret: Secret, base64: bool) -> anyhow::Result<Secret> {
    if !base64 {
        return Ok(secret);
    }
    Ok(Secret::new(STANDARD.decode(secret.expose()).ok().context("the secret is not base64")?))
}

fn parse_alg(text: &str) -> Result<Alg, String> {
    let found = Alg::ALL.iter().copied().find(|alg| alg.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("one of {}", Alg::ALL.iter().map(|alg| alg.name()).collect::<Vec<_>>().join(", ")))
}

fn default_url(given: &Arguments, config: &Config) -> anyhow::Result<Url> {
    let source = source(given, config)?;
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}/webhooks/{}", admin::reachable(config.server.listen), source.name);
    Ok(Url::parse(&url)?)
}
