//! stunnel: TLS in front of a server that has none.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Server, accepts};
use crate::support::app::free_port;

pub struct Stunnel {
    pub server: Server,
    /// Where it takes TLS.
    pub address: SocketAddr,
}

/// What it proves itself with, and whom it lets in.
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Where given, clients need a certificate of this authority.
    pub client_ca: Option<PathBuf>,
}

impl Files {
    /// `<name>.crt` and `<name>.key` of a folder; any client is let in.
    pub fn new(dir: &Path, name: &str) -> Self {
        Self { cert: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")), client_ca: None }
    }

    /// Only clients with a certificate of this authority.
    pub fn only_of(mut self, ca: PathBuf) -> Self {
        self.client_ca = Some(ca);
        self
    }
}

impl Stunnel {
    /// In front of `to`, on a free port.
    pub fn before(to: SocketAddr, files: &Files) -> Option<Self> {
        Self::at(free_port(), to, files)
    }

    /// In front of `to`, at `address`.
    pub fn at(address: SocketAddr, to: SocketAddr, files: &Files) -> Option<Self> {
        let (cert, key) = (files.cert.display(), files.key.display());
        let clients = files.client_ca.as_ref().map_or_else(String::new, |ca| {
            format!("CAfile = {}\nverifyChain = yes\nrequireCert = yes\n", ca.display())
        });
        let text = format!(
            "foreground = yes\npid =\nsyslog = no\n[tls]\naccept = {address}\nconnect = {to}\ncert = {cert}\nkey = {key}\n{clients}"
        );
        let arguments = |dir: &Path| {
            let file = dir.join("stunnel.conf");
            fs::write(&file, text).unwrap();
            vec![file.into_os_string()]
        };
        Some(Self { server: Server::start("stunnel", arguments, move || accepts(address))?, address })
    }
}
