//! Asks etcd, through a bounded queue, for the leases of subnets that no known peer has. It waits for no answer: a lease that
//! exists comes as a change of peers.

use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::mpsc;

use crate::overlay::misses::SubnetRequests;

pub(super) struct LeaseRequests {
    queue: mpsc::Sender<Ipv4Network>,
    requests: SubnetRequests,
}

impl LeaseRequests {
    pub(super) fn new(queue: mpsc::Sender<Ipv4Network>) -> Self {
        Self {
            queue,
            requests: SubnetRequests::default(),
        }
    }

    /// A request for which the queue has no room is made again for the next packet.
    pub(super) fn request(&mut self, subnet: Ipv4Network, now: Duration) {
        if self.requests.is_due(subnet, now) && self.queue.try_send(subnet).is_ok() {
            self.requests.record(subnet, now);
        }
    }
}
