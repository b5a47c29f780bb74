//! This host's way to etcd, as a number that grows when the way changes: when the source address of our connections leaves
//! the host, or packets leave by another interface. What was sent over the old way gets no answer, and TCP would notice that
//! only after seconds. It knows no address: the slice of the underlay decides what is a change.

use tokio::sync::watch;

/// Follows the number.
#[derive(Debug, Clone)]
pub(super) struct NetworkPath(watch::Receiver<u64>);

impl NetworkPath {
    pub(super) const fn new(path: watch::Receiver<u64>) -> Self {
        Self(path)
    }

    /// Returns the present number.
    pub(super) fn number(&self) -> u64 {
        *self.0.borrow()
    }

    /// Waits until the number is another one. Cancel-safe.
    pub(super) async fn changed_from(&self, number: u64) {
        let mut path = self.0.clone();
        if path.wait_for(|now| *now != number).await.is_err() {
            // Nobody follows the interfaces any more: the daemon stops.
            std::future::pending::<()>().await;
        }
    }
}
