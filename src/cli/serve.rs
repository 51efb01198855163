//! `serve`: makes the default key files, says how to begin, and runs the service.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};

use super::{Ended, say};
use crate::{
    app::App,
    config::{Config, ConfigError},
    files,
    keys::{self, Made},
    telemetry::{self, LogFormat},
};

/// Run the service (also without any command)
#[derive(Args)]
#[command(after_help = "\
Examples:
  refresh-audit serve
  refresh-audit serve --config /etc/refresh-audit/config.toml
  REFRESH_AUDIT_SERVER__LISTEN=0.0.0.0:8080 RUST_LOG=debug refresh-audit")]
pub(super) struct Arguments {}

/// After the shutdown, for threads that still hang on a disk or a peer.
const LAST_WAIT_MAX: Duration = Duration::from_secs(1);

pub(super) fn run(_: &Arguments, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<Ended> {
    let config = load()?;
    let malformed = telemetry::init(&config.log);
    // Whatever is made from here on, by whichever part (sled has no say of its own), is for our eyes only.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    // Many small things that come and go: a huge page stays whole for one of them. Without, the id index alone takes 75 MB
    // instead of 121 at 500,000 ids, and is as fast. Where the system does not know of it, nothing is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    files::set_limits();
    let made = keys::ensure_default_keys(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        let app = App::build(config.clone(), made)?;
        warn_of_clear_text(&config);
        malformed.count_in(app.metrics());
        let (public, operator) = app.addresses()?;
        match config.log.format {
            LogFormat::Text => say(&welcome(&config, made, public, operator)),
            LogFormat::Json => log_addresses(&config, public, operator),
        }
        anyhow::Ok(app.run_until(stop).await?)
    })?;
    // What hangs (a sink, the index) has had its time.
    runtime.shutdown_timeout(LAST_WAIT_MAX);
    Ok(Ended::Well)
}

/// What other machines send here can be read on its way, unless something in front ends TLS.
fn warn_of_clear_text(config: &Config) {
    let (public, operator) = (config.server.listen, config.admin.listen);
    if config.server.tls.is_none() && !public.ip().is_loopback() {
        tracing::warn!(
            "server.listen = \"{public}\" takes events in the clear from other machines, and they hold live tokens: set \
             server.tls, or listen where only a TLS proxy comes"
        );
    }
    if !operator.ip().is_loopback() {
        tracing::warn!(
            "admin.listen = \"{operator}\" takes its token in the clear from other machines: listen where only a TLS proxy comes"
        );
    }
}

/// Resolves at SIGTERM, SIGINT, or SIGHUP: a terminal that is closed.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    })
}

/// Where to send events.
fn webhooks(config: &Config, public: SocketAddr) -> impl Iterator<Item = String> {
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    config.sources.iter().map(move |source| format!("{scheme}://{public}/webhooks/{}", source.name))
}

/// The same for a log that programs read: nothing else may stand in it.
fn log_addresses(config: &Config, public: SocketAddr, operator: SocketAddr) {
    let webhooks = webhooks(config, public).collect::<Vec<_>>().join(" ");
    let data = config.data_dir.display();
    tracing::info!(webhooks, admin = %format!("http://{operator}/"), %data, "bound; not yet ready");
}

/// What an operator needs to know at a start. Names files, never what is in them.
fn welcome(config: &Config, made: Made, public: SocketAddr, operator: SocketAddr) -> String {
    let mut lines: Vec<String> = webhooks(config, public).map(|url| format!("  webhook    {url}")).collect();
    lines.push(format!("  admin      http://{operator}/"));
    lines.push(format!("  data       {}", config.data_dir.display()));
    let key = config.data_dir.join("webhook.key");
    if config.sources.iter().flat_map(|source| &source.files).any(|file| config.path(file) == key) {
        let new = if made.webhook { " (made now)" } else { "" };
        lines.push(format!("  key        {}{new}", key.display()));
        lines.push("In FusionAuth:".to_owned());
        lines.push("  Settings > Key Master > Import HMAC: the text of that file as the secret, HS256".to_owned());
        lines.push(
            "  Settings > Webhooks > Add: the URL above; Events: jwt.refresh; Security: Sign events, that key"
                .to_owned(),
        );
        lines.push("  Tenants > Edit > Webhooks: this webhook, and the event jwt.refresh".to_owned());
    }
    lines.push("Send a signed example event from another terminal:".to_owned());
    lines.push(format!("  {} send fixtures/fusionauth/example/jwt-refresh.json", program()));
    lines.join("\n")
}

/// How this program was most likely started.
fn program() -> &'static str {
    // Cargo sets it for what it runs.
    if std::env::var_os("CARGO").is_some() { "cargo run --release --" } else { "refresh-audit" }
}
