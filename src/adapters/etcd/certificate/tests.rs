//! Certificates that are good, and certificates that are damaged.

use std::time::{Duration, SystemTime};

use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

/// Makes a certificate that is valid for ten days, and its key, both in PEM.
pub(in crate::adapters::etcd) fn identity() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "overlay");
    params
        .distinguished_name
        .push(DnType::CommonName, "flannel");
    params.not_before = date_time_ymd(2026, 2, 25);
    params.not_after = date_time_ymd(2026, 3, 7);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn reads_how_long_it_is_valid_and_its_common_name() {
    let found = all(identity().0.as_bytes());
    let [certificate] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(certificate.common_name.as_deref(), Some("flannel"));
    assert_eq!(
        certificate.validity.not_before.text,
        "2026-02-25 00:00:00 UTC"
    );
    assert_eq!(
        certificate.validity.not_after.text,
        "2026-03-07 00:00:00 UTC"
    );
    assert_eq!(
        certificate.validity.not_after.time,
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_841_600)
    );
}

fn seconds(tag: u8, text: &str) -> Option<u64> {
    let since = time(tag, text.as_bytes())?
        .time
        .duration_since(SystemTime::UNIX_EPOCH);
    Some(since.ok()?.as_secs())
}

#[test]
fn reads_times_in_both_forms() {
    assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
    assert_eq!(seconds(UTC_TIME, "000229120000Z"), Some(951_825_600));
    assert_eq!(
        seconds(GENERALIZED_TIME, "20500301000000Z"),
        Some(2_529_705_600)
    );
    assert_eq!(
        seconds(GENERALIZED_TIME, "99991231235959Z"),
        Some(253_402_300_799)
    );
    for wrong in [
        "",
        "Z",
        "7001010000Z",
        "20500301000000",
        "2o500301000000Z",
        "\u{e9}0101000000Z",
    ] {
        assert_eq!(seconds(UTC_TIME, wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn never_panics_on_damaged_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..400,
        to: u8,
    ) {
        _ = read(&bytes);
        let [certificate] = &pem::certificates(identity().0.as_bytes())[..] else {
            panic!("one certificate")
        };
        let mut damaged = certificate.to_vec();
        if let Some(byte) = damaged.get_mut(at) {
            *byte = to;
        }
        _ = read(&damaged);
        if let Some(elements) = Elements::read(&damaged) {
            _ = (elements.validity(), elements.purposes());
        }
    }
}
