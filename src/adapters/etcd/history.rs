//! Tells whether a stream goes on where another one ended. Pure; it opens neither.

use etcd_client::{ResponseHeader, WatchResponse};

/// Where a stream comes from, as its first answer says. `etcd grpc-proxy` leaves cluster and term out when it lets a client
/// join a watch that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History {
    cluster: u64,
    /// It changes with each election: when a leader fails, when etcd is restarted or restored.
    term: u64,
    revision: i64,
}

impl History {
    pub(super) fn of(answer: &WatchResponse) -> Self {
        let header = answer.header();
        Self {
            cluster: header.map_or(0, ResponseHeader::cluster_id),
            term: header.map_or(0, ResponseHeader::raft_term),
            revision: header.map_or(0, ResponseHeader::revision),
        }
    }

    /// Whether everything from revision `next` on is what follows upon what an earlier stream has brought. An etcd that was
    /// restored from a backup has other changes under the same revisions, or none yet: it would be silent. A watch that a
    /// proxy shares may be further than `next` already.
    pub(super) const fn continues(self, earlier: Self, next: i64) -> bool {
        self.cluster != 0
            && self.cluster == earlier.cluster
            && self.term == earlier.term
            && self.revision + 1 >= next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_continues_another_only_in_the_same_history() {
        let history = |cluster, term, revision| History {
            cluster,
            term,
            revision,
        };
        let before = history(7, 2, 40);
        for (now, expected) in [
            (history(7, 2, 99), true),
            (history(7, 2, 49), true),
            // A member that lags behind, or an etcd with the data of an earlier day.
            (history(7, 2, 48), false),
            (history(7, 3, 99), false),
            (history(8, 2, 99), false),
        ] {
            assert_eq!(now.continues(before, 50), expected, "{now:?}");
        }
        let shared = history(0, 0, 99);
        assert!(!shared.continues(shared, 50));
    }
}
