//! Who waits for the ledger's thread, and what they hear.

use tokio::sync::oneshot;

use super::{Admission, Entry, Unavailable};

/// What is said, and the entry that it is said of, so that the thread that made it frees it: an allocator has to search for
/// what other threads free, and the ledger's thread is the one that everybody waits for. `benches/README.md` has what it saves.
pub type Answer = (Admission, Option<Box<Entry>>);

/// Where an answer goes.
pub struct Reply(oneshot::Sender<Answer>);

/// Who waits for it.
pub struct Waiter(oneshot::Receiver<Answer>);

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
        self.send_back((admission, None));
    }

    /// The same, with the entry.
    pub fn send_back(self, answer: Answer) {
        let _ = self.0.send(answer);
    }
}

impl Waiter {
    /// What the thread says.
    pub async fn answer(self) -> Admission {
        self.0.await.map_or(Admission::Unavailable(Unavailable::Stopping), |(admission, _)| admission)
    }
}
