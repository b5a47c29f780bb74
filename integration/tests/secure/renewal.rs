//! Files that are renewed on disk are in use without a restart of the daemon.

use std::fs;

use anyhow::{Result, ensure};
use integration::{Lease, in_lab, messages};

use super::pki::Authority;
use super::{daemon, secure_etcd, wait_for_line};

#[test]
fn reconnects_when_all_certificates_are_of_a_new_authority() -> Result<()> {
    in_lab(1, |lab| {
        let (old, new) = (Authority::new("old")?, Authority::new("new")?);
        let (server, node) = (
            old.issue(lab.dir(), "server")?,
            old.issue(lab.dir(), "node")?,
        );
        let etcd = secure_etcd(lab, &server, &[])?;
        let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
        let peer_arrives = |number: u8| {
            let peer = Lease::numbered(number);
            let (key, value) = peer.entry();
            etcd.put(&key, &value)?;
            lab.host(1).wait_for_route(&peer)
        };
        peer_arrives(201)?;
        // etcd goes first; our files still know only the old authority.
        new.issue(lab.dir(), "server")?;
        etcd.restart()?;
        wait_for_line(&daemon, &["WARN", messages::NOT_SIGNED_BY, "node/ca.pem"])?;
        // A renewal writes one file after the other: a certificate without its key changes nothing.
        let next = new.issue(lab.dir(), "next")?;
        fs::copy(&next.cert, &node.cert)?;
        wait_for_line(
            &daemon,
            &[
                "WARN",
                messages::FILES_CANNOT_BE_USED,
                "node/key.pem",
                messages::BELONGS_TO_ANOTHER_CERTIFICATE,
            ],
        )?;
        fs::copy(&next.key, &node.key)?;
        fs::copy(&next.ca, &node.ca)?;
        wait_for_line(&daemon, &["INFO", messages::FILES_WERE_RENEWED, "CA"])?;
        wait_for_line(&daemon, &[messages::ETCD_IS_REACHABLE_AGAIN])?;
        ensure!(
            daemon
                .log()?
                .matches(messages::FILES_CANNOT_BE_USED)
                .count()
                == 1,
            "said once"
        );
        peer_arrives(202)
    })
}

#[test]
fn a_renewed_certificate_is_used_for_the_next_connection() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let (server, node) = (
            authority.issue(lab.dir(), "server")?,
            authority.issue(lab.dir(), "node")?,
        );
        let etcd = secure_etcd(lab, &server, &[])?;
        let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
        authority.issue(lab.dir(), "node")?;
        etcd.restart()?;
        wait_for_line(
            &daemon,
            &[messages::FILES_WERE_RENEWED, "certificate and key"],
        )?;
        wait_for_line(&daemon, &[messages::ETCD_IS_REACHABLE_AGAIN])
    })
}
