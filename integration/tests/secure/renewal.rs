//! Files that are renewed on disk are in use without a restart of the daemon.

use std::fs;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, Member, in_lab, messages};

use super::pki::Authority;
use super::{daemon, says};

#[test]
fn gets_back_when_everything_is_signed_by_a_new_authority() -> Result<()> {
    in_lab(1, |lab| {
        let (old, new) = (Authority::new("old")?, Authority::new("new")?);
        let (server, node) = (
            old.issue(lab.dir(), "server")?,
            old.issue(lab.dir(), "node")?,
        );
        let etcd = lab.start_etcd(EtcdOptions {
            tls: Some(server.clone()),
            ..EtcdOptions::new("secure", 3379)
        })?;
        etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
        let peer_arrives = |number: u8| {
            let peer = Member::numbered(number);
            let (key, value) = peer.lease();
            etcd.put(&key, &value)?;
            lab.host(1).wait_for_route(&peer)
        };
        peer_arrives(201)?;
        // etcd goes first; our files still know only the old authority.
        new.issue(lab.dir(), "server")?;
        etcd.restart()?;
        says(&daemon, &["WARN", messages::NOT_SIGNED_BY, "node/ca.pem"])?;
        // Whoever renews files writes one after the other: a certificate without its key changes nothing.
        let next = new.issue(lab.dir(), "next")?;
        fs::copy(&next.cert, &node.cert)?;
        says(
            &daemon,
            &[
                "WARN",
                messages::CANNOT_BE_USED_NOW,
                "node/key.pem",
                messages::BELONGS_TO_ANOTHER_ONE,
            ],
        )?;
        fs::copy(&next.key, &node.key)?;
        fs::copy(&next.ca, &node.ca)?;
        says(&daemon, &["INFO", messages::FILES_WERE_RENEWED, "CA"])?;
        says(&daemon, &[messages::ETCD_ANSWERS_AGAIN])?;
        ensure!(
            daemon.log()?.matches(messages::CANNOT_BE_USED_NOW).count() == 1,
            "said once"
        );
        peer_arrives(202)
    })
}

#[test]
fn a_certificate_renewed_in_good_time_is_shown_with_the_next_connection() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let (server, node) = (
            authority.issue(lab.dir(), "server")?,
            authority.issue(lab.dir(), "node")?,
        );
        let etcd = lab.start_etcd(EtcdOptions {
            tls: Some(server),
            ..EtcdOptions::new("secure", 3379)
        })?;
        etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
        authority.issue(lab.dir(), "node")?;
        etcd.restart()?;
        says(
            &daemon,
            &[messages::FILES_WERE_RENEWED, "certificate and key"],
        )?;
        says(&daemon, &[messages::ETCD_ANSWERS_AGAIN])
    })
}
