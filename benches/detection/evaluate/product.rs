//! The product as it ships: `refresh-audit backtest`, its output read line by line.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::measure::{Rule, Truth};
use crate::option;

pub struct Product {
    binary: PathBuf,
    /// Lines of configuration of one's own.
    config: String,
    /// Without lists of networks and databases.
    plain: bool,
}

/// A backtest needs the name only: it reads no key.
const SOURCE: &str = "
[[sources]]
name = \"fusionauth\"
type = \"fusionauth\"
keys = [{ alg = \"HS256\", secret_file = \"webhook.key\" }]
";

/// By event, unless said otherwise.
pub struct Verdicts {
    /// NaN: no record.
    pub risk: Vec<f64>,
    pub high: Vec<f64>,
    pub critical: Vec<f64>,
    pub denied: Vec<usize>,
    /// Ids of incidents that concern users with no stolen session.
    pub incidents: BTreeSet<String>,
    /// Of these, `high` or worse at some time.
    pub severe: BTreeSet<String>,
    pub network_incidents: usize,
    pub rules: BTreeMap<String, Rule>,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Event<'a>>,
    #[serde(borrow, default)]
    findings: Vec<Finding<'a>>,
    #[serde(borrow)]
    verdict: Option<Verdict<'a>>,
    #[serde(borrow)]
    incident: Option<Incident<'a>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Finding<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow)]
    severity: Cow<'a, str>,
    #[serde(borrow)]
    incident: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Verdict<'a> {
    #[serde(borrow)]
    would: Option<Cow<'a, str>>,
    risk: Option<f64>,
}

#[derive(Deserialize)]
struct Incident<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    change: Cow<'a, str>,
    #[serde(borrow)]
    severity: Cow<'a, str>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
}

impl Product {
    /// `--product PATH`, else the one that cargo built beside this.
    pub fn new(words: &[String]) -> Option<Self> {
        let built = option_env!("CARGO_BIN_EXE_refresh-audit").map(str::to_owned);
        let binary = option(words, "product").or(built).filter(|path| path != "none")?;
        let config = option(words, "config").map_or_else(String::new, |path| fs::read_to_string(path).unwrap());
        Some(Self { binary: binary.into(), config, plain: words.iter().any(|word| word == "--plain") })
    }

    pub fn backtest(&self, dir: &Path, truth: &Truth) -> Verdicts {
        let mut config = self.config.clone();
        if !config.contains("[[sources]]") {
            config += SOURCE;
        }
        if !self.plain {
            let path = |name: &str| dir.join(name).display().to_string();
            let _ = write!(config, "\n[enrich]\nnetworks = {:?}\n", path("networks.csv"));
            let _ = writeln!(config, "databases = [{:?}]", path("geo.mmdb"));
        }
        let file = dir.join("evaluate.toml");
        fs::write(&file, config).unwrap();
        let mut child = Command::new(&self.binary)
            .args(["backtest", "--format", "json", "--config"])
            .arg(&file)
            .arg(dir.join("events.jsonl"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let verdicts = gather(BufReader::with_capacity(1 << 20, child.stdout.take().unwrap()), truth);
        let status = child.wait().unwrap();
        assert!(status.success(), "{} failed: {status}", self.binary.display());
        verdicts
    }
}

/// Output that was kept.
pub fn read(records: &Path, truth: &Truth) -> Verdicts {
    gather(BufReader::with_capacity(1 << 20, File::open(records).unwrap()), truth)
}

fn gather(mut lines: impl BufRead, truth: &Truth) -> Verdicts {
    let count = truth.traffic.events.len();
    let mut verdicts = Verdicts {
        risk: vec![f64::NAN; count],
        high: vec![0.0; count],
        critical: vec![0.0; count],
        denied: Vec::new(),
        incidents: BTreeSet::new(),
        severe: BTreeSet::new(),
        network_incidents: 0,
        rules: BTreeMap::new(),
    };
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        let record: Record = serde_json::from_str(&line).unwrap();
        match record.kind.as_ref() {
            "event" => verdicts.event(&record, truth),
            "incident" => verdicts.incident(record.incident.as_ref(), truth),
            _ => {}
        }
        line.clear();
    }
    verdicts
}

impl Verdicts {
    fn event(&mut self, record: &Record, truth: &Truth) {
        let id = record.event.as_ref().map(|event| event.id.replace('-', "")).unwrap_or_default();
        let known = u128::from_str_radix(&id, 16).ok().and_then(|id| truth.by_id.get(&id));
        let Some(event) = known.map(|event| *event as usize) else { panic_unknown(&id) };
        if let Some(verdict) = &record.verdict {
            self.risk[event] = verdict.risk.unwrap_or(f64::NAN);
            if verdict.would.as_deref() == Some("deny") {
                self.denied.push(event);
            }
        }
        let family = truth.traffic.events[event].family;
        for finding in &record.findings {
            let severity = finding.severity.as_ref();
            if severity == "high" || severity == "critical" {
                self.high[event] = 1.0;
            }
            if severity == "critical" {
                self.critical[event] = 1.0;
            }
            let rule = self.rules.entry(format!("{} {severity}", finding.rule)).or_default();
            rule.clean += usize::from(truth.is_clean(event));
            rule.thefts.extend(truth.thefts.get(&family).filter(|theft| {
                let theft = &truth.traffic.thefts[**theft];
                truth.traffic.events[event].at >= theft.first
            }));
            if let Some(incident) =
                finding.incident.as_ref().filter(|_| truth.clean_users.contains(&truth.person(event)))
            {
                self.incidents.insert(incident.to_string());
            }
        }
    }

    fn incident(&mut self, incident: Option<&Incident>, truth: &Truth) {
        let Some(incident) = incident else { return };
        let user = incident.user_id.as_deref().and_then(|user| truth.users.get(user));
        if user.is_some_and(|user| truth.clean_users.contains(user))
            && ["high", "critical"].contains(&&*incident.severity)
        {
            self.severe.insert(incident.id.to_string());
        }
        if incident.change != "opened" {
            return;
        }
        match incident.user_id.as_deref().map(|user| truth.users.get(user)) {
            Some(Some(user)) if truth.clean_users.contains(user) => {
                self.incidents.insert(incident.id.to_string());
            }
            Some(_) => {}
            None => self.network_incidents += 1,
        }
    }
}

#[expect(clippy::panic, reason = "output that does not belong to the traffic cannot be judged")]
fn panic_unknown(id: &str) -> ! {
    panic!("the product printed an event that was not sent: {id}")
}
