//! The service: the one file that knows every part. Build (fails early), run (until told to stop), shut down in the
//! direction of the data.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    mem::ManuallyDrop,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use actix_web::web::Data;
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{Instant, timeout},
};

use self::serving::{Front, Serving, listener};
use crate::{
    config::{At, Config, ConfigError},
    deliver::{self, Deliverer, SinkHandle, SinkState},
    enrich::{self, Enricher},
    files,
    intake::{Intake, Parts},
    keys::{self, Made},
    ledger::{Consumers, KeyScheme, Ledger, Settings, checkpoint::Signer, lock::DataLock},
    sink::AnySink,
    source::Source as _,
    telemetry::{Alarm, Alarms, Metrics},
    time::ReceivedAt,
    web::{
        admin,
        listen::{self, Bound},
        webhook,
    },
};

mod serving;
mod standing;

/// How often sources are compared with what is normal for them.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often it is kept when they were last heard: a crash makes their silence longer by as much.
const KEEP_HEARD_EVERY: Duration = Duration::from_secs(60);
/// Healthy sinks have this long at shutdown to take what is left.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A batch in flight has this long at shutdown.
const LAST_BATCH_MAX: Duration = Duration::from_secs(5);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration asks for something that cannot be; the message says what to do.
    #[error("{0}")]
    Config(String),
    /// Anything else: a taken port, a locked or unwritable directory.
    #[error("{0}")]
    Failed(String),
}

fn failed(what: &str, error: impl std::fmt::Display) -> StartError {
    StartError::Failed(format!("{what}: {error}"))
}

/// Everything built and bound, nothing running.
pub struct App {
    config: Config,
    public: Bound,
    operator: Bound,
    tls: Option<rustls::ServerConfig>,
    intake: Arc<Intake>,
    enricher: Enricher,
    shared: Data<admin::Shared>,
    sinks: Vec<NamedSink>,
    signer: Option<Signer>,
    alarms: Alarms,
    metrics: Arc<Metrics>,
    made: Made,
    lock: DataLock,
}

impl App {
    /// Locks the data directory, builds every part and binds both sockets. `made` says which key files are new.
    pub fn build(config: Config, made: Made) -> Result<Self, StartError> {
        serving::expect_date(ReceivedAt::wall())?;
        files::create_dir(&config.data_dir)
            .map_err(|error| failed(&format!("cannot make {}", config.data_dir.display()), error))?;
        let lock = DataLock::acquire(&config.data_dir).map_err(|error| StartError::Failed(error.to_string()))?;
        let metrics = Metrics::new();
        let alarms = Alarms::new(Arc::clone(&metrics));
        let wrong = |what: &str, error: &dyn std::error::Error| {
            StartError::Config(ConfigError::from_part(what, error, &config.at).to_string())
        };
        let enricher = config.enrich.build(&config.base).map_err(|error| wrong("[enrich]", &error))?;
        enricher.summary().iter().for_each(|file| tracing::info!("enrichment from {file}"));
        let intake = Arc::new(build_intake(&config, enricher.clone(), &alarms, &metrics)?);
        let sinks = build_sinks(&config)?;
        standing::of_gate(&config);
        let signer = keys::signer(&config.checkpoint_key_file());
        let signer = signer.map_err(|error| wrong("journal.checkpoint_key_file", &error))?;
        let bind = |address: SocketAddr| {
            Bound::new(address).map_err(|error| failed(&format!("cannot listen on {address}"), error))
        };
        let shared = admin::Shared {
            token: config.admin_token().map_err(|error| wrong("admin.token_file", &error))?,
            metrics: Arc::clone(&metrics),
            alarms: alarms.clone(),
            starting: Mutex::new("recovering the journal".to_owned()),
            ledger: OnceLock::new(),
            sinks: OnceLock::new(),
        };
        Ok(Self {
            public: bind(config.server.listen)?,
            operator: bind(config.admin.listen)?,
            tls: config.tls().map_err(StartError::Config)?,
            intake,
            enricher,
            shared: Data::new(shared),
            sinks,
            signer: Some(signer),
            alarms,
            metrics,
            made,
            config,
            lock,
        })
    }

    /// Where the public listener and the operator's one are bound.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.public.address()?, self.operator.address()?))
    }

    /// Every metric.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Recovers, serves until `stop` resolves, then shuts down. Returns once everything acknowledged is safe and every
    /// cursor is exact.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), StartError> {
        let consumers = Consumers::default();
        let settings = self.settings(consumers.clone());
        // Wherever this ends early, threads go on until the process ends, and until then nobody else may have the directory.
        let lock = ManuallyDrop::new(self.lock);
        let front = Front {
            bound: self.public,
            tls: self.tls,
            workers: self.config.server.workers.map(usize::from),
            shared: Data::new(webhook::Shared {
                intake: Arc::clone(&self.intake),
                body_bytes_max: self.config.server.max_body.len(),
                ack_deadline: self.config.server.ack_deadline.get(),
                room: webhook::room_for_large_bodies(),
            }),
        };
        let operator = Serving::start(listen::operator(listener(self.operator)?, self.shared.clone()))?;

        let starting = tokio::task::spawn_blocking(move || Ledger::start(settings));
        let mut stop = std::pin::pin!(stop);
        let (ledger, mut running, front) = tokio::select! {
            recovered = serving::recover(starting, front, self.config.server.start_deadline.get()) => recovered?,
            // As good as a crash, which recovery is made for; and it may be long.
            () = &mut stop => {
                tracing::info!("stopped before the journal was recovered");
                return Ok(());
            }
        };
        standing::of_start(self.made, &ledger, &self.config, &self.alarms);
        let context = deliver::Context {
            data_dir: self.config.data_dir.clone(),
            journal_dir: ledger.journal_dir().to_owned(),
            journal_id: ledger.meta().journal.as_str().into(),
            synced: ledger.synced(),
            key_scheme: ledger.meta().keys,
            consumers: consumers.clone(),
            alarms: self.alarms.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let sinks = Sinks::start(self.sinks, &context)?;
        consumers.complete();
        let _ = self.shared.sinks.set(sinks.handles.clone());
        let _ = self.shared.ledger.set(ledger.clone());
        self.intake.open(ledger);
        let public = front.or_else(Front::serve)?;
        self.shared.starting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        tracing::info!("ready");

        let watch = tokio::spawn(watch_sources(Arc::clone(&self.intake)));
        let watch_files = tokio::spawn(watch_files(self.enricher, self.alarms.clone()));
        let ended = tokio::select! {
            () = &mut stop => Ok(()),
            // Whoever watches over the service starts it again, with all that was acknowledged. As it is, every event would be
            // answered 503 until somebody looks.
            () = running.ended() => Err(failed("the ledger's thread", "it ended by a panic; the log has its place")),
            error = serving::lost_date() => Err(error),
        };
        watch.abort();
        watch_files.abort();
        tracing::info!("stopping: first the webhooks, then the journal, then the sinks");
        public.stop(true).await;
        keep_heard(self.intake).await;
        let _ = tokio::task::spawn_blocking(move || running.stop()).await;
        sinks.stop().await;
        operator.stop(false).await;
        drop(ManuallyDrop::into_inner(lock));
        tracing::info!("stopped");
        ended
    }

    fn settings(&mut self, consumers: Consumers) -> Settings {
        consumers.saw(deliver::cursor::positions(&self.config.data_dir));
        let key_scheme = if self.config.sources.len() > 1 { KeyScheme::SourceAndEventId } else { KeyScheme::EventId };
        Settings {
            data_dir: self.config.data_dir.clone(),
            node: self.config.node.clone(),
            dedupe: self.config.dedupe.clone(),
            journal: self.config.journal.clone(),
            policy: self.config.policy.clone(),
            key_scheme,
            signer: self.signer.take(),
            consumers,
            alarms: self.alarms.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

fn build_intake(
    config: &Config,
    enricher: Enricher,
    alarms: &Alarms,
    metrics: &Arc<Metrics>,
) -> Result<Intake, StartError> {
    let sources = config.sources.iter().map(|entry| {
        let built = entry.config.build(&config.base, &[]);
        let source = built.map_err(|error| {
            let what = format!("source {}", entry.name);
            StartError::Config(ConfigError::from_member(&what, &error, &entry.at).to_string())
        })?;
        source.notes().iter().for_each(|note| tracing::warn!(source = entry.name, "{note}"));
        Ok((entry.name.clone(), source))
    });
    Ok(Intake::new(Parts {
        sources: sources.collect::<Result<_, _>>()?,
        scope: config.scope.clone(),
        enricher,
        privacy: config.privacy,
        fingerprints: config.fingerprinter().map_err(|error| {
            StartError::Config(ConfigError::from_part("[fingerprint]", &error, &config.at).to_string())
        })?,
        on_storage_failure: config.server.on_storage_failure,
        detects: config.policy.detect.enabled,
        alarms: alarms.clone(),
        metrics: Arc::clone(metrics),
        heard_file: config.data_dir.join("state").join("heard.json"),
    }))
}

type NamedSink = (String, deliver::DeliveryConfig, AnySink);

fn build_sinks(config: &Config) -> Result<Vec<NamedSink>, StartError> {
    let build = |entry: &crate::config::SinkEntry| {
        let sink = entry.config.build(&config.base).map_err(|error| in_sink(&entry.name, &error, &entry.at))?;
        entry.delivery.suits(&sink).map_err(|error| in_sink(&entry.name, &error, &entry.at))?;
        Ok((entry.name.clone(), entry.delivery.clone(), sink))
    };
    config.sinks.iter().map(build).collect()
}

fn in_sink(name: &str, error: &dyn std::error::Error, at: &At) -> StartError {
    StartError::Config(ConfigError::from_part(&format!("sink {name}"), error, at).to_string())
}

async fn watch_sources(intake: Arc<Intake>) {
    let (mut every, mut keep) = (tokio::time::interval(WATCH_EVERY), tokio::time::interval(KEEP_HEARD_EVERY));
    loop {
        tokio::select! {
            _ = every.tick() => intake.watch(),
            _ = keep.tick() => keep_heard(Arc::clone(&intake)).await,
        }
    }
}

async fn keep_heard(intake: Arc<Intake>) {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || intake.keep_heard()).await {
        tracing::warn!(%error, "the next start will not know since when sources are silent");
    }
}

/// Keeps what enrichment reads fresh. An alarm is about what is configured now: of a file that was taken out it is over.
async fn watch_files(enricher: Enricher, alarms: Alarms) {
    let mut every = tokio::time::interval(enrich::REFRESH_EVERY);
    loop {
        every.tick().await;
        let files = enricher.clone();
        let Ok(stale) = tokio::task::spawn_blocking(move || files.refresh()).await else { continue };
        let stale: BTreeMap<_, _> =
            stale.into_iter().map(|stale| (stale.file.display().to_string(), stale.reason)).collect();
        for (file, reason) in &stale {
            let message = format!("{file} {reason}; what was read of it before is still used");
            alarms.raise(Alarm::EnrichmentStale, Some(file), message);
        }
        let subjects = standing::raised(&alarms, Alarm::EnrichmentStale).filter_map(|raised| raised.subject);
        for file in subjects.filter(|file| !stale.contains_key(file)) {
            alarms.clear(Alarm::EnrichmentStale, Some(&file), "it is read again, or no longer asked for");
        }
    }
}

/// The sinks' loops.
struct Sinks {
    handles: Vec<SinkHandle>,
    tasks: JoinSet<()>,
    /// Of the sink that each task is for.
    names: HashMap<Id, String>,
    stop: watch::Sender<bool>,
}

impl Sinks {
    fn start(sinks: Vec<NamedSink>, context: &deliver::Context) -> Result<Self, StartError> {
        let (stop, stopping) = watch::channel(false);
        let mut started = Self { handles: Vec::new(), tasks: JoinSet::new(), names: HashMap::new(), stop };
        for (name, config, sink) in sinks {
            let (deliverer, handle) = Deliverer::new(&name, config, sink, context)
                .map_err(|error| StartError::Config(format!("sinks `{name}`: {error}")))?;
            started.handles.push(handle);
            let task = started.tasks.spawn(deliverer.run(stopping.clone()));
            started.names.insert(task.id(), name);
        }
        Ok(started)
    }

    /// Lets healthy sinks take what is left, then ends all of them; says which ones were late.
    async fn stop(mut self) {
        let until = Instant::now() + DRAIN_MAX;
        while Instant::now() < until && self.handles.iter().any(has_work) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = self.stop.send(true);
        let names = &mut self.names;
        let ended = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                names.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
        };
        if timeout(LAST_BATCH_MAX, ended).await.is_err() {
            let mut late: Vec<&str> = self.names.values().map(String::as_str).collect();
            late.sort_unstable();
            let sinks = late.join(", ");
            tracing::warn!(
                sinks,
                "not ended in time: {sinks}; what they had not confirmed is delivered again after the next start"
            );
        }
        for status in self.handles.iter().map(SinkHandle::status).filter(|status| status.pending > 0) {
            tracing::info!(sink = status.name, pending = status.pending, "records wait for the next start");
        }
    }
}

/// Whether a sink is taking records and has not taken all.
fn has_work(handle: &SinkHandle) -> bool {
    let status = handle.status();
    status.pending > 0 && matches!(status.state, SinkState::Idle | SinkState::Delivering)
}
