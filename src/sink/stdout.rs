//! `stdout`: one record a line on standard output, for containers and pipes.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use tokio::task;

use super::{Ack, BuildError, Message, Sink, SinkError};

/// It has no members of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Config {
    /// Builds it.
    pub fn build(&self, _base: &Path) -> Result<Stdout, BuildError> {
        Ok(Stdout::to(io::stdout()))
    }
}

/// See the head of this file.
pub struct Stdout(Arc<Mutex<Output>>);

struct Output {
    to: Box<dyn Write + Send>,
    /// A failure may have left half a line behind.
    torn: bool,
}

impl Stdout {
    /// Writes to something else than standard output.
    pub fn to(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Output { to: Box::new(to), torn: false })))
    }
}

impl Sink for Stdout {
    /// Lines of two batches would mix.
    fn one_at_a_time(&self) -> bool {
        true
    }

    /// Whoever runs the check sees this output: there is nothing to try.
    async fn check(&self, _test: &Message) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&self, batch: &[Message]) -> Result<Ack, SinkError> {
        let mut bytes = Vec::with_capacity(batch.iter().map(|message| message.body.len() + 1).sum());
        for message in batch {
            bytes.extend_from_slice(&message.body);
            bytes.push(b'\n');
        }
        let output = Arc::clone(&self.0);
        // A reader that does not read holds this up for ever, but a thread of its own only.
        let written = task::spawn_blocking(move || output.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes));
        match written.await {
            Ok(Ok(())) => Ok(Ack::none()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(SinkError::fault("nobody reads standard output any more (broken pipe)"))
            }
            Ok(Err(error)) => Err(SinkError::passing(format!("cannot write to standard output: {error}"))),
            Err(error) => Err(SinkError::passing(format!("writing was cut short: {error}"))),
        }
    }
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.torn, true) {
            self.to.write_all(b"\n")?;
        }
        self.to.write_all(bytes)?;
        self.to.flush()?;
        self.torn = false;
        Ok(())
    }
}
