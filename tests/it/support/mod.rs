//! What every proof from outside needs: the service as a process, a sender, a receiver, a second reader of the journal.

pub mod app;
pub mod certs;
pub mod event;
pub mod http;
pub mod journal;
pub mod load;
pub mod mmdb;
pub mod needles;
pub mod note;
pub mod proxy;
pub mod receiver;
pub mod session;
pub mod shim;

use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use tokio::net::TcpSocket;

/// How long anything may take that should be quick; generous, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds. Panics with `what` once [`PATIENCE`] is over.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A socket of an address that others share if they ask for it, too.
pub fn shared_socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// A number from the environment, or `default`.
pub fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seed of a random test: printed, and settable by `REFRESH_AUDIT_SEED` to see a run again.
pub fn seed(test: &str) -> u64 {
    let seed = env_number("REFRESH_AUDIT_SEED", rand::random::<u32>().into());
    eprintln!("{test}: REFRESH_AUDIT_SEED={seed}");
    seed
}

/// Copies what a directory holds and `wants` names, however deep. Again from the start where a file went away meanwhile.
pub fn copy_dir(from: &Path, to: &Path, wants: &dyn Fn(&str) -> bool) {
    let some = |from: &Path, to: &Path| -> io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap();
            match (wants(&name), entry.file_type()?.is_dir()) {
                (false, _) => {}
                (true, true) => copy_dir(&entry.path(), &to.join(&name), &|_| true),
                (true, false) => drop(fs::copy(entry.path(), to.join(&name))?),
            }
        }
        Ok(())
    };
    eventually("a copy of it", || some(from, to).is_ok());
}
