//! Mistakes with certificates that other clients of etcd overlook, or that need a clock.

use std::fs;
use std::path::Path;

use anyhow::Result;
use integration::{EtcdOptions, Lab, Tls, in_lab, messages};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::Mistaken;

/// A certificate of etcd that has signed itself.
enum Flaw {
    /// Its common name alone says which host it is of.
    NoName,
    NotValidYet,
}

#[test]
fn certificates_of_etcd_that_cannot_be_used_are_explained() -> Result<()> {
    in_lab(1, |lab| {
        let nameless = etcd_with(lab, "nameless", 3379, &Flaw::NoName)?;
        let future = etcd_with(lab, "future", 4379, &Flaw::NotValidYet)?;
        let start = |case, number, (endpoint, ca): &(String, String)| {
            Mistaken::start(lab.host(1), case, number, &[endpoint, ca])
        };
        let cases = [
            (
                start("etcd's certificate has only a common name", 1, &nameless.1)?,
                "subjectAltName=IP:10.99.0.1) -out etcd.pem",
            ),
            (
                start("etcd's certificate begins later", 2, &future.1)?,
                "check this host's clock",
            ),
        ];
        for (mistaken, words) in cases {
            mistaken.wait_for("EtcdReachable", &["https://10.99.0.1", words])?;
        }
        let plain = Mistaken::start(
            lab.host(1),
            "http:// to etcd with TLS",
            3,
            &["--etcd-endpoints=http://10.99.0.1:3379"],
        )?;
        plain.wait_for(
            "EtcdReachable",
            &["http://10.99.0.1:3379", messages::USE_HTTPS],
        )?;
        Ok(())
    })
}

/// Starts an etcd with a certificate, and returns it with the options of its clients.
fn etcd_with(
    lab: &Lab,
    name: &str,
    port: u16,
    flaw: &Flaw,
) -> Result<(integration::Etcd, (String, String))> {
    let tls = certificate(lab.dir(), name, flaw)?;
    // Its own client does not trust it either, so nothing waits for it.
    let etcd = lab.launch_etcd(EtcdOptions {
        args: vec![
            "--client-cert-auth=false".to_owned(),
            "--trusted-ca-file=".to_owned(),
        ],
        tls: Some(tls.clone()),
        ..EtcdOptions::new(name, port)
    })?;
    let options = (
        format!("--etcd-endpoints={}", etcd.endpoint()),
        format!("--etcd-cafile={}", tls.ca.display()),
    );
    Ok((etcd, options))
}

fn certificate(dir: &Path, name: &str, flaw: &Flaw) -> Result<Tls> {
    let mut params = CertificateParams::new(vec!["10.99.0.1".to_owned(), "127.0.0.1".to_owned()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    match flaw {
        Flaw::NoName => params.subject_alt_names.clear(),
        Flaw::NotValidYet => params.not_before = date_time_ymd(2080, 1, 1),
    }
    let key = KeyPair::generate()?;
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    let tls = Tls {
        ca: dir.join("ca.pem"),
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    };
    let pem = params.self_signed(&key)?.pem();
    fs::write(&tls.ca, &pem)?;
    fs::write(&tls.cert, pem)?;
    fs::write(&tls.key, key.serialize_pem())?;
    Ok(tls)
}
