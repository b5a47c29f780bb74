//! A table: what etcd shows, what stands in the file of authorities, and what becomes of it. Go agrees in each case.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints, date_time_ymd,
};
use rustls::crypto::ring;

use super::*;

/// The first of January 2026, in days since 1970.
const JANUARY_2026: u64 = 20_454;

/// An authority and the means to sign with it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let der = params.self_signed(&key).expect("a certificate").into();
    Authority {
        issuer: Issuer::new(params, key),
        der,
    }
}

/// A certificate of etcd for 10.0.0.1, good in 2026.
fn signed_by(
    authority: &Authority,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec!["10.0.0.1".to_owned()]).expect("an address");
    params.distinguished_name.push(DnType::CommonName, "etcd");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, &authority.issuer);
    signed.expect("a certificate").into()
}

fn of_an_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

/// Returns what the verifier says of a certificate for this host, so many days into 2026.
fn judge(
    shown: &CertificateDer<'static>,
    listed: &[&CertificateDer<'static>],
    host: &str,
    day: u64,
) -> String {
    let provider = Arc::new(CryptoProvider {
        signature_verification_algorithms: super::super::algorithms::ALL,
        ..ring::default_provider()
    });
    let listed = listed.iter().map(|der| (*der).clone()).collect();
    let verifier = ServerVerifier::new(listed, &provider).expect("an authority");
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs((JANUARY_2026 + day) * 86_400));
    match verifier.verify_server_cert(shown, &[], &name, &[], now) {
        Ok(_) => "ok".to_owned(),
        Err(Error::InvalidCertificate(why)) => format!("{why:?}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(judgement: &str, expected: &str) {
    assert!(judgement.contains(expected), "{judgement}: {expected}");
}

#[test]
fn a_certificate_in_the_file_is_trusted_for_its_name_its_time_and_its_purpose() {
    let strange = authority("strange", |_| ());
    for ca in [false, true] {
        let shown = signed_by(&strange, |params| {
            if ca {
                of_an_authority(params);
            }
        });
        check(&judge(&shown, &[&shown], "10.0.0.1", 10), "ok");
        check(&judge(&shown, &[&shown], "10.0.0.2", 10), "NotValidForName");
        check(&judge(&shown, &[&shown], "10.0.0.1", 400), "Expired");
    }
    let other = signed_by(&strange, of_an_authority);
    let later = signed_by(&strange, |params| {
        params.not_before = date_time_ymd(2026, 6, 1)
    });
    check(&judge(&later, &[&later], "10.0.0.1", 10), "NotValidYet");
    let for_clients = signed_by(&strange, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    check(
        &judge(&for_clients, &[&for_clients], "10.0.0.1", 10),
        "InvalidPurpose",
    );
    let unknown = signed_by(&strange, |params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    check(
        &judge(&unknown, &[&unknown], "10.0.0.1", 10),
        "UnsupportedCriticalExtension",
    );
    // Another certificate of the same kind vouches for nothing.
    check(
        &judge(&other, &[&later], "10.0.0.1", 10),
        "CaUsedAsEndEntity",
    );
}

#[test]
fn a_certificate_of_no_file_needs_an_authority_of_the_file() {
    let (ours, strange) = (authority("ours", |_| ()), authority("strange", |_| ()));
    let plain = signed_by(&ours, |_| ());
    check(&judge(&plain, &[&ours.der], "10.0.0.1", 10), "ok");
    check(
        &judge(&plain, &[&strange.der], "10.0.0.1", 10),
        "UnknownIssuer",
    );
}

#[test]
fn an_authority_may_sign_another_one_for_etcd() {
    let ours = authority("ours", |_| ());
    let shown = signed_by(&ours, of_an_authority);
    check(&judge(&shown, &[&ours.der], "10.0.0.1", 10), "ok");
    check(
        &judge(&shown, &[&ours.der], "10.0.0.2", 10),
        "NotValidForName",
    );
    check(&judge(&shown, &[&ours.der], "10.0.0.1", 400), "Expired");
    // It has the name, but another key.
    let namesake = authority("ours", |_| ());
    check(
        &judge(&shown, &[&namesake.der], "10.0.0.1", 10),
        "CaUsedAsEndEntity",
    );
    let mut forged = shown.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    check(
        &judge(&forged.into(), &[&ours.der], "10.0.0.1", 10),
        "CaUsedAsEndEntity",
    );
    let narrow = authority("narrow", |params| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("example".to_owned())];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees,
            excluded_subtrees: Vec::new(),
        });
    });
    let outside = signed_by(&narrow, of_an_authority);
    check(
        &judge(&outside, &[&narrow.der], "10.0.0.1", 10),
        "CaUsedAsEndEntity",
    );
}

#[test]
fn any_purpose_includes_that_of_a_server() {
    let ours = authority("ours", |_| ());
    let of = |purpose| {
        let shown = signed_by(&ours, |params| params.extended_key_usages = vec![purpose]);
        judge(&shown, &[&ours.der], "10.0.0.1", 10)
    };
    check(&of(ExtendedKeyUsagePurpose::Any), "ok");
    check(&of(ExtendedKeyUsagePurpose::ServerAuth), "ok");
    check(&of(ExtendedKeyUsagePurpose::ClientAuth), "InvalidPurpose");
}

#[test]
fn a_short_key_is_named_also_of_a_trusted_certificate() {
    let pem = include_bytes!("../fixtures/rsa768.pem");
    let short = crate::adapters::etcd::pem::certificates(pem).remove(0);
    check(&judge(&short, &[&short], "10.0.0.1", 10), "ShortKey(768)");
}
