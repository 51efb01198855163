//! nats-server with JetStream on disk: survives a kill.

use std::{fs, net::SocketAddr};

use super::{Server, accepts};
use crate::support::app::free_port;

pub struct Nats {
    pub server: Server,
    pub address: SocketAddr,
}

impl Nats {
    /// `program` is `nats-server` or `nats-server-old`; `config` further lines of its configuration.
    pub fn start(program: &'static str, config: &str) -> Option<Self> {
        let address = free_port();
        let arguments = |dir: &std::path::Path| {
            let store = dir.join("store");
            let text = format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?} }}\n{config}\n");
            let file = dir.join("nats.conf");
            fs::write(&file, text).unwrap();
            vec!["-c".into(), file.into_os_string()]
        };
        Some(Self { server: Server::start(program, arguments, move || accepts(address))?, address })
    }
}
