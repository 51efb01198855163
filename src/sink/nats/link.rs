//! One connection to the cluster, and whether it is lost. It is never used past its loss: the client connects again by
//! itself, and what it had buffered is gone then.

use std::{sync::Arc, time::Duration};

use async_nats::{
    ConnectError, ConnectErrorKind, Event,
    jetstream::{
        self, ErrorCode,
        context::{Context, GetStreamErrorKind},
        stream::{self, StorageType},
    },
};
use tokio::sync::watch;

use super::{Nats, SinkError, quote};

/// Published and not yet acknowledged, at most.
pub(super) const IN_FLIGHT_MAX: usize = 1_000;
/// How long a stream that we create knows an id.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(3_600);

/// A connection.
pub(super) struct Link {
    pub(super) context: Context,
    /// Why it is lost, or what the server complained of.
    trouble: watch::Receiver<Trouble>,
}

#[derive(Clone, Debug, Default)]
struct Trouble {
    lost: bool,
    complaint: Option<String>,
}

impl Link {
    pub(super) fn is_lost(&self) -> bool {
        self.trouble.borrow().lost
    }

    /// What the server complained of, outside of any answer: a missing permission, say.
    pub(super) fn complaint(&self) -> Option<String> {
        self.trouble.borrow().complaint.clone()
    }

    /// Returns when the connection is lost, or the server complained: no answer is to be waited for then.
    pub(super) async fn in_trouble(&self) {
        let mut trouble = self.trouble.clone();
        // A sender that is gone means that the client is.
        let _ = trouble.wait_for(|trouble| trouble.lost || trouble.complaint.is_some()).await;
    }
}

impl Nats {
    /// Connects, and creates the stream where that is asked for.
    pub(super) async fn connect(&self) -> Result<Link, SinkError> {
        let (sender, trouble) = watch::channel(Trouble::default());
        let (options, secrets) = (self.options.clone(), Arc::clone(&self.secrets));
        // Addresses that a server tells of were checked by nobody: whether records and a password may go there in the clear.
        let options = options.ignore_discovered_servers();
        let options = options.max_reconnects(self.servers.len()).event_callback(move |event| {
            sender.send_if_modified(|trouble| match event {
                Event::Disconnected | Event::Closed => !std::mem::replace(&mut trouble.lost, true),
                Event::ServerError(error) => {
                    trouble.complaint = Some(quote(error.to_string().as_bytes(), &*secrets));
                    true
                }
                _ => false,
            });
            std::future::ready(())
        });
        let client = options.connect(&self.servers[..]).await.map_err(|error| self.unconnected(&error))?;
        let context = jetstream::ContextBuilder::new()
            .timeout(self.timeout.get())
            .ack_timeout(self.timeout.get())
            .max_ack_inflight(IN_FLIGHT_MAX + 1)
            .build(client);
        let link = Link { context, trouble };
        if self.create {
            self.create_stream(&link.context).await?;
        }
        Ok(link)
    }

    async fn create_stream(&self, context: &Context) -> Result<(), SinkError> {
        match context.get_stream(&self.stream).await.map_err(|error| error.kind()) {
            Ok(_) => return Ok(()),
            Err(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            Err(error) => {
                return Err(SinkError::passing(format!(
                    "cannot ask for stream {}: {}",
                    self.stream,
                    self.quote(&error)
                )));
            }
        }
        let config = stream::Config {
            name: self.stream.clone(),
            subjects: vec![self.subject.clone()],
            storage: StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            ..stream::Config::default()
        };
        let created = context.create_stream(config).await;
        created
            .map(drop)
            .map_err(|error| SinkError::fault(format!("cannot create stream {}: {}", self.stream, self.quote(&error))))
    }

    fn unconnected(&self, error: &ConnectError) -> SinkError {
        let said = self.quote(error);
        let hint = match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => " (check the credentials)",
            ConnectErrorKind::Tls => " (check ca_file, cert_file and the server's name)",
            _ => return SinkError::passing(format!("cannot connect to NATS: {said}")),
        };
        SinkError::fault(format!("cannot connect to NATS: {said}{hint}"))
    }
}
