//! rotel: an OpenTelemetry receiver that prints what it takes. No TLS, no credentials.

use std::net::SocketAddr;

use refresh_audit::record::Seq;

use super::{Server, accepts};
use crate::support::app::free_port;

pub struct Rotel {
    pub server: Server,
    /// Where it takes OTLP over gRPC.
    pub grpc: SocketAddr,
    /// Where it takes OTLP over HTTP.
    pub http: SocketAddr,
}

impl Rotel {
    pub fn start() -> Option<Self> {
        let (grpc, http) = (free_port(), free_port());
        let arguments = |_: &_| {
            let (grpc, http) = (grpc.to_string(), http.to_string());
            let words = [
                "start",
                "--otlp-grpc-endpoint",
                &grpc,
                "--otlp-http-endpoint",
                &http,
                "--exporter",
                "blackhole",
                "--debug-log",
                "logs",
                "--debug-log-verbosity",
                "detailed",
                "--disable-batching",
            ];
            words.map(str::to_owned).to_vec()
        };
        let server = Server::start("rotel-agent", arguments, move || accepts(grpc) && accepts(http))?;
        Some(Self { server, grpc, http })
    }

    /// What it printed of every record's attribute `refresh_audit.seq`, in order.
    pub fn seqs(&self) -> Vec<Seq> {
        let log = self.server.log();
        let numbers =
            log.lines().filter_map(|line| line.trim().strip_prefix("-> refresh_audit.seq: Int(")?.strip_suffix(')'));
        numbers.map(|number| number.parse().unwrap()).collect()
    }
}
