//! Certificates as people have them: what etcdctl takes, the daemon takes. Each case is made with openssl, as guides do
//! it, and `etcdctl` itself writes the network configuration with the same files.

use std::fs;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, Lab, Tls, in_lab, messages};

use super::{daemon, gives_up, trusting, wait_for_line};

/// Shell functions that make an authority, and sign.
const MAKE: &str = r#"
names=subjectAltName=IP:10.99.0.1,IP:127.0.0.1
authority() { # NAME KEY-OPTIONS...
    name=$1; shift
    openssl req -x509 -nodes -days 10 -subj /CN=$name -keyout $name-key.pem -out $name.pem -newkey "$@"
}
sign() { # NAME AUTHORITY EXTENSIONS KEY-OPTIONS...
    name=$1 by=$2 extensions=$3; shift 3
    openssl req -nodes -subj /CN=$name -keyout $name-key.pem -out $name.csr -newkey "$@"
    echo "$extensions" | tr ';' '\n' >extensions
    openssl x509 -req -days 10 -in $name.csr -CA $by.pem -CAkey $by-key.pem -CAcreateserial -sha512 \
        ${extensions:+-extfile extensions} -out $name.pem
}
p256="ec -pkeyopt ec_paramgen_curve:P-256" p521="ec -pkeyopt ec_paramgen_curve:P-521"
"#;

/// What people make: the script leaves `ca`, `server` and `node`, each with `.pem` and `-key.pem`.
const KINDS: [(&str, &str); 3] = [
    (
        "client-of-version-1",
        "authority ca $p256; sign server ca $names $p256; sign node ca '' $p256",
    ),
    (
        "p-521",
        "authority ca $p521; sign server ca $names $p521; sign node ca keyUsage=digitalSignature $p521",
    ),
    (
        "rsa-1024",
        "authority ca rsa:1024; sign server ca $names rsa:1024; sign node ca '' rsa:1024",
    ),
];

/// Where etcd's own certificate is what the daemon trusts, and clients need none.
const OWN_AUTHORITY: [(&str, &str); 3] = [
    (
        "its-own-authority",
        "authority server $p256 -addext $names; cp server.pem ca.pem",
    ),
    (
        "leaf-as-cafile",
        "authority other $p256; sign server other $names $p256; cp server.pem ca.pem",
    ),
    (
        "authority-signed-by-another",
        "authority ca $p256; sign server ca \"$names;basicConstraints=CA:TRUE\" $p256",
    ),
];

/// Runs a script in a folder of its own, and returns the files of the server and of the node.
fn make(lab: &Lab, name: &str, script: &str) -> Result<(Tls, Tls)> {
    let dir = lab.dir().join(name);
    fs::create_dir_all(&dir)?;
    lab.host(1)
        .sh(&format!("cd {}\n{MAKE}\n{script}", dir.display()))?;
    let files = |name: &str| Tls {
        ca: dir.join("ca.pem"),
        cert: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}-key.pem")),
    };
    Ok((files("server"), files("node")))
}

#[test]
fn takes_what_etcdctl_takes_of_old_and_rare_kinds() -> Result<()> {
    in_lab(1, |lab| {
        for ((name, script), port) in KINDS.into_iter().zip((3379..).step_by(10)) {
            let (server, node) = make(lab, name, script)?;
            let etcd = lab.start_etcd(EtcdOptions {
                tls: Some(server),
                ..EtcdOptions::new(name, port)
            })?;
            etcd.put(CONFIG_KEY, CONFIG)?;
            let daemon = daemon(lab.host(1), &etcd.endpoint(), &node).start_ready()?;
            let log = daemon.log()?;
            let warned = log.contains(messages::TOO_SHORT_TO_BE_SAFE);
            ensure!(warned == (name == "rsa-1024"), "{name}: {log}");
            daemon.stop()?;
        }
        Ok(())
    })
}

#[test]
fn takes_a_certificate_of_etcd_that_is_its_own_authority() -> Result<()> {
    in_lab(1, |lab| {
        for ((name, script), port) in OWN_AUTHORITY.into_iter().zip((3379..).step_by(10)) {
            let (server, _) = make(lab, name, script)?;
            let etcd = lab.start_etcd(EtcdOptions {
                tls: Some(server.clone()),
                args: vec![
                    "--client-cert-auth=false".to_owned(),
                    "--trusted-ca-file=".to_owned(),
                ],
                ..EtcdOptions::new(name, port)
            })?;
            etcd.put(CONFIG_KEY, CONFIG)?;
            let daemon = trusting(lab.host(1), &etcd.endpoint(), &server.ca).start_ready()?;
            daemon.stop()?;
            // The name counts all the same.
            lab.host(1).sh(
                "grep -q other.example /etc/hosts || echo 10.99.0.1 other.example >> /etc/hosts",
            )?;
            let other = format!("https://other.example:{port}");
            let refused = trusting(lab.host(1), &other, &server.ca).start()?;
            wait_for_line(
                &refused,
                &[
                    "does not name the host in",
                    "subjectAltName=DNS:other.example",
                ],
            )?;
            refused.kill()?;
        }
        Ok(())
    })
}

#[test]
fn a_key_with_a_passphrase_is_named_with_the_command_that_removes_it() -> Result<()> {
    in_lab(1, |lab| {
        let (_, node) = make(lab, "encrypted", KINDS[0].1)?;
        let key = node.key.display();
        for encrypt in [
            "openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret",
            "openssl ec -aes128 -passout pass:secret",
        ] {
            lab.host(1).sh(&format!(
                "cp {key} {key}.plain; {encrypt} -in {key}.plain -out {key}"
            ))?;
            let command = format!("openssl pkey -in {key} -out NEW");
            gives_up(
                daemon(lab.host(1), "https://10.99.0.1:3379", &node),
                &["encrypted with a passphrase", &command],
            )?;
            lab.host(1).sh(&format!("cp {key}.plain {key}"))?;
        }
        Ok(())
    })
}
