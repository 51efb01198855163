//! A small blocking HTTP/1.1 client over one keep-alive connection: quick, and in full control of what goes out.

use std::{
    io::{self, BufRead as _, BufReader, Error, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::event::{Event, Signer};

/// Longer than any answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Names in lower case, values trimmed.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the service says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Status code.
    pub status: u16,
    /// The member `status`, or nothing.
    pub word: String,
    /// The member `seq`.
    pub seq: Option<u64>,
    /// Whether there was a `Retry-After` of whole seconds.
    pub retry_after: bool,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body read as an answer to an event.
    pub fn verdict(&self) -> Verdict {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        Verdict {
            status: self.status,
            word: json["status"].as_str().unwrap_or_default().to_owned(),
            seq: json["seq"].as_u64(),
            retry_after: self.header("retry-after").is_some_and(|value| value.parse::<u64>().is_ok()),
        }
    }
}

impl Verdict {
    /// Whether the service says that the event is recorded.
    pub fn is_recorded(&self) -> bool {
        self.status == 200 && (self.word == "accepted" || self.word == "duplicate") && self.seq.is_some()
    }
}

fn bad(what: &str) -> Error {
    Error::new(io::ErrorKind::InvalidData, what)
}

impl Client {
    /// Connects.
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a request and reads its answer.
    pub fn request(&mut self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let mut bytes = format!("{head} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        self.answer()
    }

    /// `GET`.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request(&format!("GET {path}"), &[], b"")
    }

    /// Posts a body with its signature, as FusionAuth would.
    pub fn post(&mut self, body: &[u8], signature: &str) -> io::Result<Answer> {
        let headers = [("Content-Type", "application/json"), ("X-FusionAuth-Signature-JWT", signature)];
        self.request("POST /webhooks/fusionauth", &headers, body)
    }

    /// Signs and posts an event.
    pub fn send(&mut self, event: &Event, signer: &Signer) -> io::Result<Verdict> {
        Ok(self.post(&event.body, &signer.sign(&event.body))?.verdict())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let status = self.line()?.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("status"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
        } else {
            let len = answer.header("content-length").map_or(Ok(0), str::parse).map_err(|_| bad("content-length"))?;
            answer.body.resize(len, 0);
            self.stream.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// The next chunk; `None` behind the last one.
    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let len = usize::from_str_radix(&self.line()?, 16).map_err(|_| bad("chunk"))?;
        let mut chunk = vec![0; len];
        self.stream.read_exact(&mut chunk)?;
        self.line()?;
        Ok((len > 0).then_some(chunk))
    }
}
