//! Sockets and servers: bound early so that a taken port fails the start, listening only once there is an answer to give.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, middleware, web};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Resource, getrlimit},
};

use super::{admin, webhook};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// Connections of all workers together; past it new ones wait in the backlog. Each may have 128 KiB of a head that does not
/// end (actix-http's limit): 256 MiB in all.
const CONNECTIONS_MAX: usize = 2_048;
/// Descriptors that no connection of a sender takes: the journal, the id index and the sinks must always have theirs.
const FILES_RESERVED: u64 = 512;
/// Connections of operators.
const OPERATOR_CONNECTIONS_MAX: usize = 128;
/// A client has this long for its request's head.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// An idle connection is kept this long: longer than a sender's connection pool, so that the sender closes first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Requests in flight have this long at shutdown.
pub const SHUTDOWN_SECS: u64 = 5;

/// A socket that is bound and refuses connections until it listens.
pub struct Bound(TcpListener);

impl Bound {
    /// Binds; port 0 takes a free one.
    pub fn new(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        Ok(Self(TcpListener::from(socket)))
    }

    /// Where it is bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes connections from now on.
    pub fn listen(self) -> io::Result<TcpListener> {
        rustix::net::listen(&self.0, BACKLOG)?;
        Ok(self.0)
    }
}

/// Connections that one of so many workers may have, out of so many descriptors (`None`: any number).
fn connections_max(files: Option<u64>, workers: usize) -> usize {
    let left = files.map(|files| files.saturating_sub(FILES_RESERVED).max(files / 4));
    let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
    left.min(CONNECTIONS_MAX).checked_div(workers).unwrap_or_default().max(1)
}

/// The public server.
pub fn public(
    listener: TcpListener,
    shared: web::Data<webhook::Shared>,
    tls: Option<rustls::ServerConfig>,
    workers: Option<usize>,
) -> io::Result<Server> {
    let workers = workers.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let connections = connections_max(getrlimit(Resource::Nofile).current, workers);
    let watching = shared.clone();
    let server = HttpServer::new(move || App::new().app_data(shared.clone()).default_service(web::to(webhook::handle)))
        .on_connect(move |_, data| drop(data.insert(webhook::Unasked::new(watching.clone(), HEAD_TIME_MAX))))
        .workers(workers)
        .client_request_timeout(HEAD_TIME_MAX)
        .keep_alive(KEEP_ALIVE)
        .max_connections(connections)
        // Handshakes that stand still keep nobody else waiting.
        .max_connection_rate(connections)
        .shutdown_timeout(SHUTDOWN_SECS)
        .disable_signals();
    Ok(match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls)?.run(),
        None => server.listen(listener)?.run(),
    })
}

/// The operator's server.
pub fn operator(listener: TcpListener, shared: web::Data<admin::Shared>) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new().app_data(shared.clone()).wrap(middleware::from_fn(admin::guard)).configure(admin::routes)
    })
    .workers(1)
    .max_connections(OPERATOR_CONNECTIONS_MAX)
    .client_request_timeout(HEAD_TIME_MAX)
    .shutdown_timeout(1)
    .disable_signals();
    Ok(server.listen(listener)?.run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        // (1,024 - 512) / 2; a quarter of 256, by two; 2,048 by two, and by one.
        for (files, workers, expected) in
            [(1_024, 2, 256), (256, 2, 32), (20_000, 2, 1_024), (4, 8, 1), (u64::MAX, 1, 2_048)]
        {
            assert_eq!(connections_max(Some(files), workers), expected, "{files} for {workers}");
        }
        assert_eq!(connections_max(None, 4), 512);
    }
}
