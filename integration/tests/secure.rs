//! etcd that lets in only those who show a certificate, or know a password. Needs root.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, QUICK, Tls, eventually, in_lab};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// An authority, and one certificate that serves etcd and its clients, as files in `dir`.
fn certificates(dir: &Path) -> Result<Tls> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (authority_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let ca = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let cert = CertificateParams::new(vec!["10.99.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let tls = Tls { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&tls.ca, ca.pem())?;
    fs::write(&tls.cert, cert.pem())?;
    fs::write(&tls.key, key.serialize_pem())?;
    Ok(tls)
}

#[test]
fn shows_its_certificate_and_checks_that_of_etcd() -> Result<()> {
    in_lab(1, |lab| {
        let (tls, stranger) = (certificates(&fs_dir(lab.dir(), "ours")?)?, certificates(&fs_dir(lab.dir(), "other")?)?);
        let options = EtcdOptions { tls: Some(tls.clone()), ..EtcdOptions::new("secure", 3379) };
        let etcd = lab.start_etcd(options)?;
        etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = |ca: &Path| {
            lab.host(1)
                .flanneld()
                .arg(&format!("--etcd-endpoints={}", etcd.endpoint()))
                .arg(&format!("--etcd-cafile={}", ca.display()))
                .arg(&format!("--etcd-certfile={}", tls.cert.display()))
                .arg(&format!("--etcd-keyfile={}", tls.key.display()))
        };
        let wrong = daemon(&stranger.ca).start()?;
        eventually(QUICK, "the reason", || {
            let log = wrong.log()?;
            ensure!(log.matches("invalid peer certificate").count() == 1, "{log}");
            Ok(())
        })?;
        wrong.kill()?;
        daemon(&tls.ca).start_ready()?;
        ensure!(etcd.members()?.len() == 1);
        Ok(())
    })
}

fn fs_dir(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = dir.join(name);
    fs::create_dir_all(&path)?;
    Ok(path)
}

#[test]
fn knows_a_password_and_needs_no_more_rights_than_on_its_prefix() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        for line in [
            "user add root:secret",
            "user grant-role root root",
            "role add flannel",
            "role grant-permission flannel --prefix=true readwrite /coreos.com/network/",
            "user add flannel:hunter2",
            "user grant-role flannel flannel",
            "auth enable",
        ] {
            lab.etcd.ctl(&line.split(' ').collect::<Vec<_>>())?;
        }
        let daemon = |password: &str| {
            lab.host(1).flanneld().arg("--etcd-username=flannel").env("FLANNELD_ETCD_PASSWORD", password)
        };
        let wrong = daemon("hunter3").start()?;
        eventually(QUICK, "the reason", || {
            let log = wrong.log()?;
            ensure!(log.contains("invalid user ID or password") && !log.contains("hunter3"), "{log}");
            Ok(())
        })?;
        wrong.kill()?;
        let daemon = daemon("hunter2").start_ready()?;
        ensure!(!daemon.log()?.contains("hunter2"));
        let members =
            lab.etcd.ctl(&["--user=root:secret", "get", "--prefix", "--keys-only", "/coreos.com/network/subnets"])?;
        ensure!(members.trim().lines().count() == 1, "{members}");
        Ok(())
    })
}
