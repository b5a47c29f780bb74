//! Certificates that work, and what the daemon logs about those that do not.

use std::fs;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Tls, in_lab, messages};
use rcgen::KeyPair;

use super::pki::{Authority, Good, old_form};
use super::{daemon, gives_up, secure_etcd, trusting, wait_for_line};

#[test]
fn works_behind_an_nginx_that_ends_tls() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let server = Authority::new("ours")?.issue(lab.dir(), "nginx")?;
        let conf = format!(
            "server {{
                listen 23790 ssl http2;
                ssl_certificate {};
                ssl_certificate_key {};
                grpc_read_timeout 1200ms;
                location / {{ grpc_pass grpc://10.99.0.1:2379; }}
            }}",
            server.cert.display(),
            server.key.display()
        );
        let _nginx = lab.underlay.nginx(&conf, 23790)?;
        let daemon = trusting(lab.host(1), "https://10.99.0.1:23790", &server.ca).start_ready()?;
        // A deleted key comes back, and each cut is one more stream on the same connection.
        daemon.wait_for_log(messages::RESUMED_THE_WATCH)?;
        let (key, value) = lab.lease(1)?.entry();
        lab.etcd.delete(&key)?;
        daemon.wait_for_log("lease created again")?;
        ensure!(lab.etcd.get(&key)?.is_some(), "{value}");
        let log = daemon.log()?;
        ensure!(!log.contains(messages::ETCD_IS_UNREACHABLE), "{log}");
        Ok(())
    })
}

#[test]
fn shows_its_certificate_and_checks_that_of_etcd() -> Result<()> {
    in_lab(1, |lab| {
        let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
        let (server, node) = (
            ours.issue(lab.dir(), "server")?,
            ours.issue(lab.dir(), "node")?,
        );
        let stranger = theirs.issue(lab.dir(), "stranger")?;
        let etcd = secure_etcd(lab, &server, &[])?;
        let wrong_ca = daemon(
            lab.host(1),
            &etcd.endpoint(),
            &Tls {
                ca: stranger.ca.clone(),
                ..node.clone()
            },
        )
        .start()?;
        wait_for_line(
            &wrong_ca,
            &[
                "UnknownIssuer",
                &format!("{} {:?}", messages::NOT_SIGNED_BY, stranger.ca),
            ],
        )?;
        let log = wrong_ca.log()?;
        ensure!(
            log.matches("invalid peer certificate").count() == 1,
            "{log}"
        );
        wrong_ca.kill()?;
        let untrusted = daemon(
            lab.host(1),
            &etcd.endpoint(),
            &Tls {
                ca: server.ca.clone(),
                ..stranger.clone()
            },
        )
        .start()?;
        wait_for_line(
            &untrusted,
            &[&format!(
                "{} {:?}",
                messages::DOES_NOT_TRUST_OUR_CERTIFICATE,
                stranger.cert
            )],
        )?;
        untrusted.kill()?;
        let nothing = trusting(lab.host(1), &etcd.endpoint(), &server.ca).start()?;
        wait_for_line(
            &nothing,
            &[messages::REQUIRES_A_CERTIFICATE, "--etcd-certfile"],
        )?;
        nothing.kill()?;
        let plain = lab
            .host(1)
            .flanneld()
            .arg("--etcd-endpoints=http://10.99.0.1:3379")
            .start()?;
        wait_for_line(&plain, &["http://10.99.0.1:3379", messages::USE_HTTPS])?;
        plain.kill()?;
        daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
        ensure!(etcd.leases()?.len() == 1);
        Ok(())
    })
}

#[test]
fn an_authority_is_enough_where_etcd_demands_no_certificate() -> Result<()> {
    in_lab(1, |lab| {
        let server = Authority::new("ours")?.issue(lab.dir(), "server")?;
        // Naming an authority is what makes etcd demand certificates.
        let etcd = secure_etcd(
            lab,
            &server,
            &["--client-cert-auth=false", "--trusted-ca-file="],
        )?;
        trusting(lab.host(1), &etcd.endpoint(), &server.ca).start_ready()?;
        // Without the option, those of the system count, among which ours is not.
        let system = lab
            .host(1)
            .flanneld()
            .arg(&format!("--etcd-endpoints={}", etcd.endpoint()))
            .start()?;
        wait_for_line(&system, &["10.99.0.1:3379", "--etcd-cafile"])
    })
}

#[test]
fn takes_keys_of_all_forms() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let etcd = secure_etcd(lab, &authority.issue(lab.dir(), "server")?, &[])?;
        let (curve, rsa) = (
            KeyPair::generate()?,
            KeyPair::from_pem(include_str!("rsa-for-tests-only.pem"))?,
        );
        let forms = [
            (&curve, curve.serialize_pem(), "-----BEGIN PRIVATE KEY-----"),
            (
                &curve,
                old_form(&curve, "EC PRIVATE KEY")?,
                "-----BEGIN EC PRIVATE KEY-----",
            ),
            (&rsa, rsa.serialize_pem(), "-----BEGIN PRIVATE KEY-----"),
            (
                &rsa,
                old_form(&rsa, "RSA PRIVATE KEY")?,
                "-----BEGIN RSA PRIVATE KEY-----",
            ),
        ];
        for (key, pem, label) in forms {
            ensure!(pem.starts_with(label), "{label}");
            let files = authority.issue(lab.dir(), "node")?;
            fs::write(&files.cert, authority.sign(key, "node", Good::ForLong)?)?;
            fs::write(&files.key, pem)?;
            let daemon = daemon(lab.host(1), &etcd.endpoint(), &files).start_ready()?;
            daemon.stop()?;
        }
        Ok(())
    })
}

#[test]
fn an_expired_certificate_is_named_ours_or_that_of_etcd() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let (server, node) = (
            authority.issue(lab.dir(), "server")?,
            authority.issue(lab.dir(), "node")?,
        );
        let etcd = secure_etcd(lab, &server, &[])?;
        let old = authority.issue_until(lab.dir(), "old", Good::Until2021)?;
        let expired = daemon(lab.host(1), &etcd.endpoint(), &old).start()?;
        let file = format!(
            "our certificate \"{}\" expired at 2021-01-01 00:00:00 UTC",
            old.cert.display()
        );
        wait_for_line(&expired, &["WARN", messages::ETCD_IS_UNREACHABLE, &file])?;
        // It needs no restart to be let in with a new one.
        authority.issue(lab.dir(), "old")?;
        expired.wait_ready()?;
        expired.kill()?;
        // etcd reads its certificate for each connection.
        authority.issue_until(lab.dir(), "server", Good::Until2021)?;
        let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start()?;
        wait_for_line(&daemon, &[messages::CERTIFICATE_OF_ETCD_HAS_EXPIRED])?;
        authority.issue(lab.dir(), "server")?;
        daemon.wait_ready()
    })
}

#[test]
fn unusable_certificate_files_end_the_daemon_at_the_start() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let (one, other) = (
            authority.issue(lab.dir(), "one")?,
            authority.issue(lab.dir(), "other")?,
        );
        let start = |files: &Tls| daemon(lab.host(1), "https://10.99.0.1:3379", files);
        let (key, cert) = (
            other.key.display().to_string(),
            one.cert.display().to_string(),
        );
        gives_up(
            start(&Tls {
                key: other.key.clone(),
                ..one.clone()
            }),
            &[messages::BELONGS_TO_ANOTHER_CERTIFICATE, &key, &cert],
        )?;
        let no_ca = Tls {
            ca: one.key.clone(),
            ..one.clone()
        };
        gives_up(
            start(&no_ca),
            &[
                messages::NO_READABLE_CERTIFICATE,
                &one.key.display().to_string(),
            ],
        )?;
        let missing = Tls {
            cert: lab.dir().join("nowhere.pem"),
            ..one.clone()
        };
        gives_up(
            start(&missing),
            &[messages::FAILED_TO_READ, "nowhere.pem", "No such file"],
        )?;
        fs::write(&other.cert, [0x30, 0x82, 0xff])?;
        gives_up(
            start(&other),
            &[messages::IS_NOT_PEM, &other.cert.display().to_string()],
        )?;
        let empty = lab.dir().join("empty");
        fs::write(&empty, "\n")?;
        let password = start(&one)
            .arg("--etcd-username=a")
            .arg(&format!("--etcd-password-file={}", empty.display()));
        gives_up(
            password,
            &[messages::IS_EMPTY, &empty.display().to_string()],
        )
    })
}

#[test]
fn a_certificate_of_etcd_for_another_host_is_named() -> Result<()> {
    in_lab(1, |lab| {
        let authority = Authority::new("ours")?;
        let _etcd = secure_etcd(lab, &authority.issue(lab.dir(), "server")?, &[])?;
        let node = authority.issue(lab.dir(), "node")?;
        lab.host(1)
            .sh("echo 10.99.0.1 etcd.example >> /etc/hosts")?;
        let daemon = daemon(lab.host(1), "https://etcd.example:3379", &node).start()?;
        wait_for_line(&daemon, &[messages::DOES_NOT_NAME_THE_HOST])
    })
}
