//! rsyslog: UDP, TCP (which takes both framings) and TLS that lets only `client.invalid` in; writes what it understood as JSON.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Server, accepts};
use crate::support::app::free_port;

pub struct Rsyslog {
    pub server: Server,
    pub udp: SocketAddr,
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
}

impl Rsyslog {
    /// With `ca.crt`, `server.crt` and `server.key` of `certs`.
    pub fn start(certs: &Path) -> Option<Self> {
        let (udp, tcp, tls) = (free_port(), free_port(), free_port());
        let file = |name: &str| certs.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.crt"), file("server.crt"), file("server.key"));
        let arguments = |dir: &Path| {
            let work = dir.display();
            let config = format!(
                r#"global(workDirectory="{work}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp")
module(load="imudp")
template(name="j" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="ts" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="sd" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf") }}
ruleset(name="r"){{ action(type="omfile" file="{work}/out.jsonl" template="j") }}
input(type="imudp" address="127.0.0.1" port="{}" ruleset="r")
input(type="imtcp" address="127.0.0.1" port="{}" ruleset="r")
input(type="imtcp" address="127.0.0.1" port="{}" ruleset="r" streamDriver.name="ossl" streamDriver.mode="1"
  streamDriver.authMode="x509/name" permittedPeer=["client.invalid"])
"#,
                udp.port(),
                tcp.port(),
                tls.port()
            );
            fs::write(dir.join("rsyslog.conf"), config).unwrap();
            let (config, pid) = (dir.join("rsyslog.conf"), dir.join("pid"));
            vec!["-n".into(), "-f".into(), config.into_os_string(), "-i".into(), pid.into_os_string()]
        };
        let server = Server::start("rsyslogd", arguments, move || accepts(tcp) && accepts(tls))?;
        Some(Self { server, udp, tcp, tls })
    }

    /// Where it writes.
    pub fn out(&self) -> PathBuf {
        self.server.dir().join("out.jsonl")
    }
}
