//! OTLP over gRPC: the channel, and what a status means.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{BufMut as _, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use tokio::time;
use tonic::{
    Code, Request, Status, client,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::wire::{RetryInfo, RpcStatus};
use crate::{
    sink::{
        BuildError, SinkError,
        client::{HttpClient, answer},
        tls::{self, TlsFiles},
    },
    units::Span,
};

/// Connecting takes a few round trips; a host that is down should show sooner than a slow answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The service's one method (`logs_service.proto`).
const EXPORT: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.logs.v1.LogsService/Export");

/// A channel that connects when it is needed, and the metadata of every call.
pub(super) struct Grpc {
    endpoint: Endpoint,
    gzip: bool,
    /// How many there were before it, and the one in use.
    channel: Mutex<(u64, Channel)>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl Grpc {
    /// Reads certificates; connects to nothing.
    pub(super) fn build(
        url: &reqwest::Url,
        timeout: Span,
        tls: TlsFiles<'_>,
        (headers, gzip): (reqwest::header::HeaderMap, bool),
        base: &Path,
    ) -> Result<Self, BuildError> {
        let fail = |error: tonic::transport::Error| {
            BuildError(format!("cannot set up the gRPC channel: {}", answer::causes(&error)))
        };
        let mut endpoint = Endpoint::from_shared(url.to_string())
            .map_err(fail)?
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("refresh-audit/", env!("CARGO_PKG_VERSION")))
            .map_err(fail)?;
        if url.scheme() == "https" {
            endpoint = endpoint.tls_config(tls_config(tls, base)?).map_err(fail)?;
        }
        let channel = Mutex::new((0, endpoint.connect_lazy()));
        Ok(Self { endpoint, gzip, channel, metadata: MetadataMap::from_headers(headers), timeout: timeout.get() })
    }

    fn channel(&self) -> MutexGuard<'_, (u64, Channel)> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next call connects anew: a way that died without a word would be waited for until TCP gives it up. Pings over
    /// HTTP/2 would tell, too, but receivers close connections that send more than one in five minutes.
    fn leave(&self, number: u64) {
        let mut channel = self.channel();
        // Of several calls on one channel, the first has left it.
        if channel.0 == number {
            *channel = (number + 1, self.endpoint.connect_lazy());
        }
    }

    /// `request` is an `ExportLogsServiceRequest` in pieces.
    pub(super) async fn export(&self, request: Vec<Bytes>) -> Result<ExportLogsServiceResponse, Status> {
        let mut request = Request::new(request);
        *request.metadata_mut() = self.metadata.clone();
        // A clone is the same channel.
        let (number, channel) = self.channel().clone();
        let mut client = client::Grpc::new(channel);
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let not_ready = |error: tonic::transport::Error| Status::from_error(error.into());
        let call = async {
            client.ready().await.map_err(not_ready)?;
            Ok(client.unary(request, EXPORT, Ready).await?.into_inner())
        };
        // To the end of the answer: the channel's own limit is for its beginning.
        time::timeout(self.timeout, call).await.unwrap_or_else(|_| {
            self.leave(number);
            Err(Status::deadline_exceeded("no answer in time"))
        })
    }
}

/// Requests that are protobuf already, answers that are to be read.
struct Ready;

impl Codec for Ready {
    type Encode = Vec<Bytes>;
    type Decode = ExportLogsServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Ready {
    type Item = Vec<Bytes>;
    type Error = Status;

    fn encode(&mut self, pieces: Vec<Bytes>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(pieces.iter().map(Bytes::len).sum());
        pieces.into_iter().for_each(|piece| to.put(piece));
        Ok(())
    }
}

impl Decoder for Ready {
    type Item = ExportLogsServiceResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ExportLogsServiceResponse>, Status> {
        let answer = ExportLogsServiceResponse::decode(from);
        answer.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The provider of cryptography is the one that tonic was built with (`tls-aws-lc`).
fn tls_config(files: TlsFiles<'_>, base: &Path) -> Result<ClientTlsConfig, BuildError> {
    // Says what is wrong with a file in the words of all sinks.
    files.client_config(base)?;
    // What ends TLS in front of a receiver does not always say that HTTP/2 is what it passes on.
    let mut config = ClientTlsConfig::new().assume_http2(true);
    config = match files.ca_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(tls::read("ca_file", base, file)?)),
        None => config.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (files.cert_file, files.key_file) {
        let certificate = tls::read("cert_file", base, certificate)?;
        config = config.identity(Identity::from_pem(certificate, tls::read("key_file", base, key)?));
    }
    Ok(config)
}

/// What a status means, by the protocol's table
/// (<https://opentelemetry.io/docs/specs/otlp/#failures>). Where that has a client drop the data because of the
/// receiver's or the credentials' fault, it is kept: it is not the record's.
pub(super) fn meaning(status: &Status, client: &HttpClient, records: usize) -> SinkError {
    let (host, said) = (client.url().host_str().unwrap_or_default(), client.quote(status.message().as_bytes()));
    let mut reason = format!("{host} answered {:?}{}{said}", status.code(), if said.is_empty() { "" } else { ": " });
    if status.code() == Code::Unavailable || status.code() == Code::Unknown {
        // What is behind a connection that could not be made.
        let causes = std::error::Error::source(status).map(answer::causes).unwrap_or_default();
        if !causes.is_empty() {
            reason = format!("{reason}: {causes}");
        }
    }
    let after = retry_delay(status);
    let retry = |fault| SinkError::Retry { reason: reason.clone(), after, fault };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => retry(false),
        // With a delay it is a limit that passes; without one, it may be that the request is too large.
        Code::ResourceExhausted if after.is_none() && records > 1 => SinkError::Refused { reason },
        Code::ResourceExhausted => retry(false),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => SinkError::Refused { reason },
        _ => retry(true),
    }
}

fn retry_delay(status: &Status) -> Option<Duration> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let info = details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}
