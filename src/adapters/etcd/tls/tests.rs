//! Handshakes in memory with certificates as people have them: a server shows one, and we trust it as a file.
//! `fixtures/make.sh` makes those that rcgen cannot make.

use rustls::{Connection, ServerConfig, ServerConnection, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use super::*;

/// Certificate and key of a fixture.
macro_rules! fixture {
    ($name:literal) => {
        (
            include_str!(concat!("fixtures/", $name, ".pem")),
            include_str!(concat!("fixtures/", $name, "-key.pem")),
        )
    };
}

type Fixture = (&'static str, &'static str);

const VERSION_1: Fixture = fixture!("version1");

fn ours((certificate, key): Fixture) -> Result<CertifiedKey, IdentityProblem> {
    identity(certificate.as_bytes(), &Secret(key.to_owned()))
}

/// Connects to a server that shows this certificate; the client trusts it, and shows the one of version 1.
fn connect(
    shown: Fixture,
    version: &'static SupportedProtocolVersion,
) -> Result<(), rustls::Error> {
    let tls = EtcdTls {
        ca: Some(shown.0.as_bytes().to_vec()),
        identity: Some((
            VERSION_1.0.as_bytes().to_vec(),
            Secret(VERSION_1.1.to_owned()),
        )),
    };
    let client = client_config(&tls).expect("the files are good");
    let provider = Arc::clone(client.crypto_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(
            ours(shown).expect("an identity"),
        )));
    let name = ServerName::try_from("10.0.0.1").expect("an address");
    let client = rustls::ClientConnection::new(Arc::new(client), name)?;
    let mut ends = [
        Connection::from(client),
        Connection::from(ServerConnection::new(Arc::new(server))?),
    ];
    while ends.iter().any(|end| end.is_handshaking()) {
        let [client, server] = &mut ends;
        pass(client, server)?;
        pass(server, client)?;
    }
    Ok(())
}

fn pass(from: &mut Connection, to: &mut Connection) -> Result<(), rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory takes it");
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory gives it");
        to.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn signs_and_verifies_with_the_keys_that_ring_lacks() {
    for (name, shown) in [
        ("P-521", fixture!("p521")),
        ("RSA 1024", fixture!("rsa1024")),
        ("RSA with exponent 3", fixture!("exponent3")),
        ("P-256 signed with SHA-512", fixture!("p256-sha512")),
        ("P-384 signed with SHA-512", fixture!("p384-sha512")),
        ("signed with SHA-1, but trusted itself", fixture!("sha1")),
    ] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let connected = connect(shown, version);
            assert_eq!(connected, Ok(()), "{name} {:?}", version.version);
        }
    }
}

#[test]
fn a_certificate_of_version_1_is_a_client_certificate_and_none_of_a_server() {
    assert!(ours(VERSION_1).is_ok());
    let refused = connect(VERSION_1, &rustls::version::TLS13).expect_err("it names no host");
    assert!(
        refused.to_string().contains("UnsupportedCertVersion"),
        "{refused}"
    );
}

#[test]
fn a_signature_over_something_else_is_refused() {
    for (name, fixture) in [
        ("P-521", fixture!("p521")),
        ("RSA 1024", fixture!("rsa1024")),
    ] {
        let identity = ours(fixture).expect("an identity");
        let certificate = Elements::read(&identity.cert[0]).expect("a certificate");
        let schemes = algorithms::ALL.supported_schemes();
        let signer = identity.key.choose_scheme(&schemes).expect("a scheme");
        let signature = signer.sign(b"this").expect("a signature");
        let mut mapping = algorithms::ALL.mapping.iter();
        let (_, algorithms) = mapping
            .find(|(scheme, _)| *scheme == signer.scheme())
            .expect("we verify what we sign");
        let (_, key) = public_key_of(&certificate);
        let verify = |message: &[u8]| algorithms[0].verify_signature(key, message, &signature);
        assert!(verify(b"this").is_ok(), "{name}");
        assert!(verify(b"that").is_err(), "{name}");
    }
}

fn public_key_of<'a>(certificate: &Elements<'a>) -> (&'a [u8], &'a [u8]) {
    let (_, content, _) =
        crate::adapters::etcd::der::element(certificate.public_key).expect("an element");
    crate::adapters::etcd::certificate::public_key(content).expect("a key")
}
