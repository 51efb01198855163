//! syslog-ng: TCP and TLS that lets only clients of its authority in; takes structured data apart and writes it as JSON.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Server, accepts, program};
use crate::support::app::free_port;

pub struct SyslogNg {
    pub server: Server,
    pub tcp: SocketAddr,
    pub tls: SocketAddr,
}

impl SyslogNg {
    /// With `ca.crt`, `server.crt` and `server.key` of `certs`.
    pub fn start(certs: &Path) -> Option<Self> {
        let (tcp, tls) = (free_port(), free_port());
        let file = |name: &str| certs.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.crt"), file("server.crt"), file("server.key"));
        let modules = program("syslog-ng")?.with_file_name("syslog-ng-modules");
        let arguments = |dir: &Path| {
            let config = format!(
                r#"@version: 3.38
options {{ keep-hostname(yes); }};
source s {{
  syslog(ip("127.0.0.1") port({}) transport("tcp"));
  syslog(ip("127.0.0.1") port({}) transport("tls")
    tls(key-file("{key}") cert-file("{cert}") ca-file("{ca}") peer-verify(required-trusted)));
}};
destination d {{ file("{}/out.jsonl" template("$(format-json --scope rfc5424 --key .SDATA.* --key ISODATE)\n")); }};
log {{ source(s); destination(d); }};
"#,
                tcp.port(),
                tls.port(),
                dir.display()
            );
            fs::write(dir.join("syslog-ng.conf"), config).unwrap();
            let mut arguments: Vec<OsString> =
                ["-F", "--no-caps", "-f", "syslog-ng.conf", "-R", "persist", "-p", "pid", "-c", "ctl"]
                    .map(Into::into)
                    .to_vec();
            // Debian's own finds its modules by itself.
            if modules.exists() {
                let mut option = OsString::from("--module-path=");
                option.push(&modules);
                arguments.push(option);
            }
            arguments
        };
        let server = Server::start("syslog-ng", arguments, move || accepts(tcp) && accepts(tls))?;
        Some(Self { server, tcp, tls })
    }

    /// Where it writes.
    pub fn out(&self) -> PathBuf {
        self.server.dir().join("out.jsonl")
    }
}
