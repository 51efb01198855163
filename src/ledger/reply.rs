//! Who waits for the ledger's thread, and what they hear.

use tokio::sync::oneshot;

use super::{Admission, Entry, Unavailable};

/// Where an answer goes.
pub struct Reply(oneshot::Sender<(Admission, Option<Box<Entry>>)>);

/// Who waits for it.
pub struct Waiter(oneshot::Receiver<(Admission, Option<Box<Entry>>)>);

/// Both ends.
pub fn channel() -> (Reply, Waiter) {
    let (reply, waiter) = oneshot::channel();
    (Reply(reply), Waiter(waiter))
}

impl Reply {
    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Says it to whoever still waits.
    pub fn send(self, admission: Admission) {
        let _ = self.0.send((admission, None));
    }

    /// The same, with the entry, so that the thread that made it frees it: an allocator has to search for what other
    /// threads free, and the ledger's thread is the one that everybody waits for. `benches/README.md` has what it saves.
    pub fn send_back(self, admission: Admission, entry: Option<Box<Entry>>) {
        let _ = self.0.send((admission, entry));
    }
}

impl Waiter {
    /// What the thread says.
    pub async fn answer(self) -> Admission {
        self.0.await.map_or(Admission::Unavailable(Unavailable::Stopping), |(admission, _)| admission)
    }
}
