//! Files that are renewed on disk are in use without a restart of the daemon.

use std::fs;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, Member, QUICK, eventually, in_lab};

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
            let peer = Member {
                subnet: format!("10.5.{number}.0/24"),
                vtep: [10, 5, number, 0].into(),
                ..Member::invented(number.into())
            };
            let (key, value) = peer.lease();
            etcd.put(&key, &value)?;
            eventually(QUICK, "the new peer", || {
                let routes = lab.host(1).routes("flannel.1")?;
                ensure!(routes.contains_key(&peer.subnet), "{routes:?}");
                Ok(())
            })
        };
        peer_arrives(201)?;
        // etcd goes first; our files still know only the old authority.
        new.issue(lab.dir(), "server")?;
        etcd.restart()?;
        says(
            &daemon,
            &["WARN", "not signed by an authority in", "node/ca.pem"],
        )?;
        // Whoever renews files writes one after the other: a certificate without its key changes nothing.
        let next = new.issue(lab.dir(), "next")?;
        fs::copy(&next.cert, &node.cert)?;
        says(
            &daemon,
            &[
                "WARN",
                "cannot be used as they are now",
                "node/key.pem",
                "it belongs to another one",
            ],
        )?;
        fs::copy(&next.key, &node.key)?;
        fs::copy(&next.ca, &node.ca)?;
        says(&daemon, &["INFO", "files for etcd were renewed", "CA"])?;
        says(&daemon, &["etcd answers again"])?;
        ensure!(
            daemon
                .log()?
                .matches("cannot be used as they are now")
                .count()
                == 1,
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
            &["files for etcd were renewed", "certificate and key"],
        )?;
        says(&daemon, &["etcd answers again"])
    })
}
