//! Tansu: a broker that speaks Kafka's protocol. In memory: a restart loses everything. Not Apache Kafka. No SASL, no TLS
//! of its own.

use std::{net::SocketAddr, process::Command};

use super::{Server, accepts, program};
use crate::support::app::free_port;

pub struct Tansu {
    pub server: Server,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Tansu {
    /// One that clients reach directly.
    pub fn start() -> Option<Self> {
        let address = free_port();
        Self::advertised(address, &address.to_string())
    }

    /// One that tells clients to come to `advertised`, a proxy in front of it.
    pub fn advertised(address: SocketAddr, advertised: &str) -> Option<Self> {
        let arguments = |_: &_| {
            ["broker", "--storage-engine", "memory://tansu/", "--listener-url"]
                .map(str::to_owned)
                .into_iter()
                .chain([
                    format!("tcp://{address}"),
                    "--advertised-listener-url".to_owned(),
                    format!("tcp://{advertised}"),
                ])
                .collect()
        };
        Some(Self { server: Server::start("tansu", arguments, move || accepts(address))?, address })
    }

    /// Makes a topic, as an administrator does.
    pub fn create_topic(&self, name: &str, partitions: u32) {
        let broker = format!("tcp://{}", self.address);
        let mut command = Command::new(program("tansu").unwrap());
        command.args(["topic", "create", name, "--broker", &broker, "--partitions", &partitions.to_string()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
