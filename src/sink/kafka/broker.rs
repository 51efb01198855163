//! One broker: its address, and an authenticated connection to it.

use std::{fmt, sync::Arc};

use rskafka::{SaslError, messenger::Messenger, protocol::error::Error as Code};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufStream},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Kafka, SinkError, in_the_clear};
use crate::host::is_this_machine;

/// An answer longer than this is not one: an answer of ours has a few bytes a partition.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without brackets.
    host: String,
    port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: i32) -> Option<Self> {
        Some(Self { host: host.to_owned(), port: u16::try_from(port).ok()? })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bare = bare.unwrap_or(host);
        let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        (!bare.is_empty() && bare.chars().all(fits)).then_some(())?;
        Some(Self { host: bare.to_owned(), port: port.parse().ok()? })
    }

    pub(super) fn is_loopback(&self) -> bool {
        is_this_machine(&self.host)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// TCP or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub(super) type Broker = Messenger<BufStream<Box<dyn Stream>>>;

impl Kafka {
    /// Connects, agrees on versions, authenticates. The cluster's own word for where its brokers are is no leave to talk to
    /// them in the clear.
    pub(super) async fn connect_to(&self, address: &Address) -> Result<Broker, SinkError> {
        if self.tls.is_none() && !self.allow_plaintext && !address.is_loopback() {
            return Err(SinkError::fault(format!("the cluster names its brokers: {}", in_the_clear(address))));
        }
        let connecting = tokio::time::timeout(self.timeout.get(), self.connecting(address));
        connecting.await.map_err(|_| SinkError::passing(format!("{address} does not answer in time")))?
    }

    async fn connecting(&self, address: &Address) -> Result<Broker, SinkError> {
        let wrong = |what: &str, error: &dyn fmt::Display| SinkError::passing(format!("{address}: {what}: {error}"));
        let tcp = TcpStream::connect((&*address.host, address.port)).await;
        let tcp = tcp.map_err(|error| wrong("cannot connect", &error))?;
        tcp.set_nodelay(true).map_err(|error| wrong("cannot connect", &error))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(address.host.clone()).map_err(|error| wrong("TLS", &error))?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
                Box::new(tls.map_err(|error| wrong("TLS", &error))?)
            }
        };
        let mut broker = Messenger::new(BufStream::new(stream), ANSWER_BYTES_MAX, "refresh-audit".into());
        // A listener that wants TLS, or a client certificate that it refuses, shows here as a closed connection.
        broker.sync_versions().await.map_err(|error| wrong("does not speak with us", &error))?;
        if let Some(sasl) = &self.sasl {
            broker.do_sasl(sasl.clone()).await.map_err(|error| unauthenticated(address, &error))?;
        }
        Ok(broker)
    }
}

fn unauthenticated(address: &Address, error: &SaslError) -> SinkError {
    let ours = match error {
        SaslError::RequestError(_) => false,
        SaslError::ApiError(code) => {
            matches!(code, Code::SaslAuthenticationFailed | Code::UnsupportedSaslMechanism | Code::IllegalSaslState)
        }
        _ => true,
    };
    if ours {
        SinkError::fault(format!("{address}: {error} (check sasl: mechanism, username and password)"))
    } else {
        SinkError::passing(format!("{address}: cannot authenticate: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        for (text, host, port) in [
            ("kafka-1.example.com:9092", "kafka-1.example.com", 9092),
            ("[::1]:1", "::1", 1),
            ("10.0.0.1:9", "10.0.0.1", 9),
        ] {
            assert_eq!(Address::parse(text), Some(Address { host: host.to_owned(), port }));
        }
        for bad in ["kafka", "kafka:", ":9092", "kafka:99999", "u@h:1", "h/x:1", ""] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
        for (text, loopback) in
            [("localhost:1", true), ("127.0.0.2:1", true), ("[::1]:1", true), ("localhost.x:1", false)]
        {
            assert_eq!(Address::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
