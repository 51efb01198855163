//! `serve`: makes the default key files, says how to begin, and runs the service.

use std::{
    borrow::Cow,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{self, Path},
    time::Duration,
};

use clap::Args;
use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};

use super::{Ended, say, send};
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

/// `file` is the configuration that was asked for.
pub(super) fn run(
    _: &Arguments,
    file: Option<&Path>,
    load: impl Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<Ended> {
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
        outlive_file_size_limit()?;
        let stop = stop_signal()?;
        let app = App::build(config.clone(), made)?;
        warn_of_clear_text(&config);
        warn_of_open_directory(&config.data_dir);
        malformed.count_in(app.metrics());
        let (public, operator) = app.addresses()?;
        match config.log.format {
            LogFormat::Text => say(&welcome(&config, file, made, (public, operator))),
            LogFormat::Json => log_addresses(&config, made, public, operator),
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

/// One that was there before us is as somebody made it, maybe for a reader of a sink's file; what we make in it is closed.
fn warn_of_open_directory(dir: &Path) {
    let Ok(mode) = fs::metadata(dir).map(|about| about.permissions().mode() & 0o777) else { return };
    if mode & 0o027 != 0 {
        tracing::warn!(
            "{} can be read by others, or written by others than its owner (mode {mode:03o}): chmod 700 closes it",
            dir.display()
        );
    }
}

/// A file that grows past RLIMIT_FSIZE fails the write, as a full disk does, and is no reason to die: a signal that is handled
/// does not kill.
fn outlive_file_size_limit() -> std::io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
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
fn log_addresses(config: &Config, made: Made, public: SocketAddr, operator: SocketAddr) {
    let webhooks = webhooks(config, public).collect::<Vec<_>>().join(" ");
    let data = config.data_dir.display();
    tracing::info!(webhooks, admin = %format!("http://{operator}/"), %data, "bound; not yet ready");
    if let Some((key, source)) = keys::default_webhook_key(config).filter(|_| made.webhook) {
        let at = source.config.set_up();
        tracing::info!(key = %key.display(), "made a webhook key: import it into {} ({})", at.sender, at.key_goes_to);
    }
}

/// What an operator needs to know at a start. Names files, never what is in them.
fn welcome(config: &Config, file: Option<&Path>, made: Made, (public, operator): (SocketAddr, SocketAddr)) -> String {
    let mut lines: Vec<String> = webhooks(config, public).map(|url| format!("  webhook    {url}")).collect();
    lines.push(format!("  admin      http://{operator}/"));
    lines.push(format!("  data       {}", config.data_dir.display()));
    if let Some((key, source)) = keys::default_webhook_key(config) {
        let new = if made.webhook { " (made now)" } else { "" };
        lines.push(format!("  key        {}{new}", key.display()));
        let at = source.config.set_up();
        lines.push(format!("In {}:", at.sender));
        lines.extend(at.steps.iter().map(|step| format!("  {step}")));
    }
    if !send::can_sign(config) {
        return lines.join("\n");
    }
    lines.push("Send a signed example event from another terminal:".to_owned());
    let mut line = format!("  {} send --example", program());
    if let Some(file) = file {
        line += &format!(" --config {}", quoted(&whole(file)));
    }
    if config.server.listen.port() == 0 {
        // Nobody else knows which port it is.
        webhooks(config, public).take(1).for_each(|url| line += &format!(" --url {url}"));
    }
    lines.push(line);
    lines.join("\n")
}

/// How this program was most likely started, in words for a shell.
fn program() -> String {
    // Cargo sets it for what it runs.
    if std::env::var_os("CARGO").is_some() {
        return "cargo run --release --".to_owned();
    }
    let named = std::env::args().next().unwrap_or_default();
    // A name alone was found by the shell, and will be again.
    if named.contains('/') { quoted(&whole(Path::new(&named))).into_owned() } else { "refresh-audit".to_owned() }
}

/// The other terminal may be anywhere.
fn whole(file: &Path) -> String {
    path::absolute(file).as_deref().unwrap_or(file).display().to_string()
}

/// One word for a shell.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&byte);
    if text.bytes().all(is_plain) { text.into() } else { format!("'{}'", text.replace('\'', "'\\''")).into() }
}
