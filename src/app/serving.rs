//! The two listeners: what runs behind them, and since when.

use std::{io, time::Duration};

use actix_web::{
    dev::{Server, ServerHandle},
    web::Data,
};
use tokio::{task::JoinHandle, time::timeout};

use super::{StartError, failed};
use crate::{
    ledger::{Ledger, Running},
    time::ReceivedAt,
    web::{
        listen::{self, Bound},
        webhook,
    },
};

/// The public listener, bound and not yet listening.
pub(super) struct Front {
    pub(super) bound: Bound,
    pub(super) tls: Option<rustls::ServerConfig>,
    pub(super) workers: Option<usize>,
    pub(super) shared: Data<webhook::Shared>,
}

impl Front {
    pub(super) fn serve(self) -> Result<Serving, StartError> {
        Serving::start(listen::public(listener(self.bound)?, self.shared, self.tls, self.workers))
    }
}

/// A server that runs.
pub(super) struct Serving {
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Serving {
    pub(super) fn start(server: io::Result<Server>) -> Result<Self, StartError> {
        let server = server.map_err(|error| failed("a listener cannot start", error))?;
        Ok(Self { handle: server.handle(), task: tokio::spawn(server) })
    }

    pub(super) async fn stop(self, graceful: bool) {
        self.handle.stop(graceful).await;
        let _ = self.task.await;
    }
}

/// Recovery first, so that senders hear "refused" rather than "wait"; but not for longer than they should: then the webhooks
/// are served already.
pub(super) async fn recover(
    mut starting: JoinHandle<io::Result<(Ledger, Running)>>,
    front: Front,
    deadline: Duration,
) -> Result<(Ledger, Running, Result<Serving, Front>), StartError> {
    if let Ok(started) = timeout(deadline, &mut starting).await {
        let (ledger, running) = joined(started)?;
        return Ok((ledger, running, Err(front)));
    }
    tracing::warn!("recovery takes longer than server.start_deadline: webhooks are answered 503 until then");
    let serving = front.serve()?;
    let (ledger, running) = joined(starting.await)?;
    Ok((ledger, running, Ok(serving)))
}

/// Listens from here on.
pub(super) fn listener(bound: Bound) -> Result<std::net::TcpListener, StartError> {
    bound.listen().map_err(|error| failed("cannot listen", error))
}

type Joined<T> = Result<T, tokio::task::JoinError>;

fn joined(started: Joined<io::Result<(Ledger, Running)>>) -> Result<(Ledger, Running), StartError> {
    let started = started.map_err(|error| failed("the ledger", error))?;
    started.map_err(|error| failed("the ledger cannot start; check the data directory", error))
}

/// Answers carry the date (RFC 9110, section 6.6.1), whose year has four digits and begins with 1970 for whoever writes it here:
/// beyond that no answer can be made any more, to nobody.
/// ([`ReceivedAt::wall`] says the first instant of what is before, and the last second of what is after.)
const DATES: std::ops::Range<i64> = 1..253_402_300_799_000_000;

/// Fails where the wall clock names no date that HTTP knows.
pub(super) fn expect_date(wall: ReceivedAt) -> Result<(), StartError> {
    if DATES.contains(&wall.micros()) {
        return Ok(());
    }
    Err(failed(
        "the wall clock",
        format!("{wall} is no date that can be answered with; set it, e.g. by the time service"),
    ))
}

/// Resolves once the wall clock is out of what can be answered with: from then on HTTP would be dead, and only a new start
/// brings it back.
pub(super) async fn lost_date() -> StartError {
    let mut every = tokio::time::interval(Duration::from_millis(500));
    loop {
        every.tick().await;
        if let Err(error) = expect_date(ReceivedAt::wall()) {
            return error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_of_four_digits_from_1970_on() {
        // date -u -d @0, @1, @253402300798 (9999-12-31T23:59:58Z) and a second later.
        for (secs, fine) in
            [(0, false), (1, true), (1_796_083_200, true), (253_402_300_798, true), (253_402_300_799, false)]
        {
            assert_eq!(expect_date(ReceivedAt::from_micros(secs * 1_000_000)).is_ok(), fine, "{secs}");
        }
    }
}
