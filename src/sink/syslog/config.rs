//! The `syslog` sink's members of a `[[sinks]]` entry.

use super::*;
use crate::sink::defaults::yes;

/// The sink's own members of its `[[sinks]]` entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `host:port`.
    address: String,
    /// How to get there.
    #[serde(default)]
    transport: Transport,
    /// What separates messages over TCP and TLS.
    framing: Option<Framed>,
    /// Which facility of RFC 5424 the messages are of.
    #[serde(default)]
    facility: Facility,
    /// APP-NAME.
    #[serde(default = "app_name")]
    app_name: String,
    /// HOSTNAME; the record's `node` where it is absent.
    hostname: Option<String>,
    /// Name of the structured data: `name@enterprise number`.
    #[serde(default = "sd_id")]
    sd_id: String,
    /// Whether a text that is not ASCII begins with a byte order mark.
    #[serde(default = "yes")]
    bom: bool,
    /// A longer message is cut, and says so.
    max_size: Option<ByteSize>,
    /// For connecting, sending and the acknowledgement of a batch by TCP.
    #[serde(default = "usual_timeout")]
    timeout: Span,
    /// The name the server's certificate must be for; the host of `address` where it is absent.
    server_name: Option<String>,
    /// Certificates to trust instead of the system's, PEM.
    ca_file: Option<PathBuf>,
    /// Client certificate and its chain, PEM.
    cert_file: Option<PathBuf>,
    /// Key of the client certificate, PEM.
    key_file: Option<PathBuf>,
}

/// How to get there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    /// A datagram a record, in the clear, without any promise.
    Udp,
    /// In the clear.
    Tcp,
    /// Encrypted, the server proven.
    #[default]
    Tls,
}

/// `framing` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Framed {
    /// The length, a space, the message.
    Octet,
    /// The message and a line feed.
    Lf,
}

/// What separates messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Octet,
    Lf,
    /// A datagram each.
    None,
}

/// Facilities by their usual names, numbered as in RFC 5424, table 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Facility {
    Kern,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    #[default]
    Authpriv,
    Ftp,
    Ntp,
    Audit,
    Alert,
    Clock,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

fn app_name() -> String {
    "refresh-audit".to_owned()
}

/// 32473 is the enterprise number for examples (RFC 5612): nobody else's data can be taken for ours.
fn sd_id() -> String {
    "refreshAudit@32473".to_owned()
}

fn usual_timeout() -> Span {
    Span::from_secs(30)
}

/// What every receiver must take over UDP (RFC 5426 and RFC 5424 ask for 2,048); also the least that a header fits in.
const UDP_SIZE: ByteSize = ByteSize::new(2_048);
/// IPv4: 65,535 less the headers of IP and UDP.
const UDP_SIZE_MAX: ByteSize = ByteSize::new(65_507);
/// What syslog-ng takes as it comes, and rsyslog with `maxMessageSize="64k"`.
const STREAM_SIZE: ByteSize = ByteSize::new(64 << 10);
/// What a record holds is a part of a body, of which `server.max_body` lets in no more than this.
const STREAM_SIZE_MAX: ByteSize = ByteSize::from_mib(16);
/// RFC 5424, section 6.
const APP_NAME_LEN_MAX: usize = 48;
/// RFC 5424, section 6.3.2.
const SD_ID_LEN_MAX: usize = 32;

impl Config {
    /// Reads its certificates and builds it; connects to nothing.
    pub fn build(&self, base: &Path) -> Result<Syslog, BuildError> {
        let fail = |problem: &str| Err(BuildError(problem.to_owned()));
        let Some(host) = host(&self.address) else {
            return fail("address must be host:port, such as \"siem.example.com:6514\" or \"[2001:db8::1]:6514\"");
        };
        if self.timeout.get().is_zero() {
            return fail("timeout must be more than zero");
        }
        let framing = match (self.transport, self.framing) {
            (Transport::Udp, None) => Framing::None,
            (Transport::Udp, Some(_)) => return fail("framing is for tcp and tls: a datagram is a message"),
            (_, None | Some(Framed::Octet)) => Framing::Octet,
            (_, Some(Framed::Lf)) => Framing::Lf,
        };
        let tls = TlsFiles::new(&self.ca_file, &self.cert_file, &self.key_file);
        let address = self.address.clone();
        let target = match self.transport {
            Transport::Tls => {
                let name = self.server_name.as_deref().unwrap_or(host);
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|_| BuildError(format!("server_name {name:?} is neither a host name nor an address")))?;
                Target::Tls { address, config: Arc::new(tls.client_config(base)?), name }
            }
            _ if tls.any() || self.server_name.is_some() => {
                return fail("ca_file, cert_file, key_file and server_name are for transport = \"tls\"");
            }
            Transport::Tcp => Target::Tcp { address },
            Transport::Udp => Target::Udp { address },
        };
        Ok(Syslog { target, framing, writer: self.writer()?, timeout: self.timeout, state: Mutex::default() })
    }

    fn writer(&self) -> Result<Writer, BuildError> {
        let fail = |problem: String| Err(BuildError(problem));
        let visible =
            |text: &str, max| (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible(&self.app_name, APP_NAME_LEN_MAX) {
            return fail(format!("app_name is 1 to {APP_NAME_LEN_MAX} visible ASCII characters"));
        }
        if self.hostname.as_ref().is_some_and(|name| !visible(name, message::HOSTNAME_LEN_MAX)) {
            return fail(format!("hostname is 1 to {} visible ASCII characters", message::HOSTNAME_LEN_MAX));
        }
        let parts = self.sd_id.split_once('@');
        let named = parts.is_some_and(|(name, number)| {
            !name.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty()
        });
        if !named || !visible(&self.sd_id, SD_ID_LEN_MAX) || self.sd_id.contains(['=', ']', '"']) {
            return fail(format!(
                "sd_id is a name, @ and an enterprise number, of at most {SD_ID_LEN_MAX} characters, such as {:?}",
                sd_id()
            ));
        }
        let (usual, most) =
            if self.transport == Transport::Udp { (UDP_SIZE, UDP_SIZE_MAX) } else { (STREAM_SIZE, STREAM_SIZE_MAX) };
        let max = self.max_size.unwrap_or(usual);
        if !(UDP_SIZE..=most).contains(&max) {
            return fail(format!(
                "max_size must be \"{}B\" to \"{}B\" with this transport",
                UDP_SIZE.get(),
                most.get()
            ));
        }
        Ok(Writer {
            facility: self.facility as u8,
            app_name: self.app_name.clone(),
            hostname: self.hostname.clone(),
            sd_id: self.sd_id.clone(),
            bom: self.bom,
            max: max.len(),
        })
    }
}

/// The host of `host:port`, brackets dropped.
fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok().filter(|port| *port != 0)?;
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| !host.is_empty()),
        None => Some(host).filter(|host| !host.is_empty() && !host.contains(':')),
    }
}
