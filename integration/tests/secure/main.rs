//! etcd that demands a certificate or a password. Needs root.

mod auth;
mod kinds;
mod pki;
mod renewal;
mod tls;

use std::path::Path;

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Etcd, EtcdOptions, Flanneld, FlanneldCommand, Host, Lab, SLOW, Tls,
    eventually,
};

/// An etcd that demands certificates of an authority, and holds a configuration.
fn secure_etcd(lab: &Lab, tls: &Tls, args: &[&str]) -> Result<Etcd> {
    let args = args.iter().map(ToString::to_string).collect();
    let etcd = lab.start_etcd(EtcdOptions {
        tls: Some(tls.clone()),
        args,
        ..EtcdOptions::new("secure", 3379)
    })?;
    etcd.put(CONFIG_KEY, CONFIG)?;
    Ok(etcd)
}

/// A daemon that trusts the authority of these files, and shows their certificate.
fn daemon<'a>(host: &'a Host, endpoint: &str, files: &Tls) -> FlanneldCommand<'a> {
    trusting(host, endpoint, &files.ca)
        .arg(&format!("--etcd-certfile={}", files.cert.display()))
        .arg(&format!("--etcd-keyfile={}", files.key.display()))
}

/// A daemon that trusts an authority, and shows nothing.
fn trusting<'a>(host: &'a Host, endpoint: &str, ca: &Path) -> FlanneldCommand<'a> {
    host.flanneld()
        .arg(&format!("--etcd-endpoints={endpoint}"))
        .arg(&format!("--etcd-cafile={}", ca.display()))
}

/// Waits until one line of the log holds all these words.
fn wait_for_line(daemon: &Flanneld, words: &[&str]) -> Result<()> {
    eventually(SLOW, format_args!("a line with {words:?}"), || {
        // A quote inside of a field is escaped there.
        let log = daemon.log()?.replace('\\', "");
        ensure!(
            log.lines()
                .any(|line| words.iter().all(|word| line.contains(word))),
            "{log}"
        );
        Ok(())
    })
}

/// Waits until it has given up at the start, with these words.
fn gives_up(daemon: FlanneldCommand<'_>, words: &[&str]) -> Result<()> {
    let daemon = daemon.start()?;
    ensure!(daemon.wait(SLOW)?.code() == Some(1), "{}", daemon.log()?);
    wait_for_line(&daemon, words)
}
