//! The log's set-up. And what the HTTP server says only to the log: that a request was malformed. It has answered by then
//! (400, 431) and no handler was asked, so it is counted here, and anyone who can connect can cause it, so few are logged.

use std::{
    fmt, io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::{MakeWriter, writer::OptionalWriter},
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use super::{Metrics, RequestOutcome};

/// `[log]`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `refresh_audit=debug`; `RUST_LOG` wins over it.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// Starts logging to stderr. Call once, first; a second call changes nothing.
pub fn init(config: &LogConfig) -> Malformed {
    use std::io::IsTerminal as _;
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|asked| !asked.is_empty());
    let of_asked = asked.as_deref().and_then(filter);
    let misread = asked.filter(|_| of_asked.is_none());
    // The HTTP server's own start and stop messages say nothing that ours do not.
    let configured = || filter(&format!("actix_server=warn,{}", config.level));
    let chosen = of_asked.or_else(configured).unwrap_or_else(|| EnvFilter::new("info"));
    let few = Few { began: Instant::now(), second: AtomicU64::new(0), logged: AtomicU64::new(0) };
    let lines = tracing_subscriber::fmt::layer().with_writer(few).with_ansi(io::stderr().is_terminal());
    let malformed = Malformed::default();
    let logging = tracing_subscriber::registry().with(malformed.clone().with_filter(filter_fn(is_of_http)));
    let _ = match config.format {
        LogFormat::Text => logging.with(lines.with_filter(chosen)).try_init(),
        LogFormat::Json => logging.with(lines.json().flatten_event(true).with_filter(chosen)).try_init(),
    };
    if let Some(text) = misread {
        tracing::warn!(
            "RUST_LOG = {text:?} is not a filter, so log.level = {:?} counts: write e.g. info,refresh_audit=debug",
            config.level
        );
    }
    malformed
}

/// What a text asks for. A word that is no level would be the name of a part, and all other parts silent: it is rather a
/// level misspelt.
pub fn filter(text: &str) -> Option<EnvFilter> {
    let is_level = |part: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    let is_understood = text.split(',').map(str::trim).all(|part| part.contains('=') || is_level(part));
    EnvFilter::try_new(text).ok().filter(|_| is_understood)
}

/// Of log lines.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Connections' errors logged a second; more are not, so that nobody fills the log.
const CONNECTION_ERRORS_PER_SEC: u64 = 5;

/// Counts malformed requests.
#[derive(Clone, Default)]
pub struct Malformed(Arc<OnceLock<Arc<Metrics>>>);

impl Malformed {
    /// Counts them there, from now on.
    pub fn count_in(&self, metrics: &Arc<Metrics>) {
        let _ = self.0.set(Arc::clone(metrics));
    }
}

impl<S: Subscriber> Layer<S> for Malformed {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut says = Says(false);
        event.record(&mut says);
        if let Some(metrics) = self.0.get().filter(|_| says.0) {
            metrics.count(&Arc::from("unknown"), RequestOutcome::Refused);
        }
    }
}

/// Whether a message says that a request could not be parsed.
struct Says(bool);

impl Visit for Says {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}").starts_with("stream error: request parse error");
    }
}

/// Whether it is about a connection of the HTTP server that went wrong.
fn is_of_http(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "actix_http::h1::dispatcher" && *metadata.level() == Level::ERROR
}

/// Writes everything, but few connections' errors a second.
struct Few {
    began: Instant,
    second: AtomicU64,
    logged: AtomicU64,
}

impl Few {
    fn has_room(&self) -> bool {
        let now = self.began.elapsed().as_secs();
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.logged.store(0, Ordering::Relaxed);
        }
        self.logged.fetch_add(1, Ordering::Relaxed) < CONNECTION_ERRORS_PER_SEC
    }
}

impl MakeWriter<'_> for Few {
    type Writer = OptionalWriter<io::Stderr>;

    fn make_writer(&self) -> Self::Writer {
        OptionalWriter::some(io::stderr())
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Self::Writer {
        if is_of_http(metadata) && !self.has_room() { OptionalWriter::none() } else { self.make_writer() }
    }
}
