//! Owns what we read in certificates ourselves: until when they are good and whose they are, for errors that name the
//! cause. Whether a certificate is genuine is for the TLS library. Pure.
//!
//! A certificate is DER: nested elements of tag, length, content. RFC 5280, section 4.1.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// DER tags.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The element that says "common name": object identifier 2.5.4.3.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
const DAY: u64 = 86_400;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) not_before: Moment,
    pub(super) not_after: Moment,
    /// Common name of the subject: etcd takes it for the name of the user.
    pub(super) name: Option<String>,
}

/// A time in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) time: SystemTime,
    /// `2026-11-21 04:52:48 UTC`
    pub(super) text: String,
}

/// The certificates of a PEM file that can be read.
pub(super) fn all(pem: &[u8]) -> Vec<Certificate> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| read(&der.ok()?))
        .collect()
}

fn read(der: &[u8]) -> Option<Certificate> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let rest = match element(body)? {
        (VERSION, _, rest) => rest,
        _ => body,
    };
    let (_, _serial, rest) = element(rest)?;
    let (_, _algorithm, rest) = element(rest)?;
    let (_, _issuer, rest) = element(rest)?;
    let (_, validity, rest) = element(rest)?;
    let (_, subject, _) = element(rest)?;
    let (tag, not_before, rest) = element(validity)?;
    let not_before = moment(tag, not_before)?;
    let (tag, not_after, _) = element(rest)?;
    Some(Certificate {
        not_before,
        not_after: moment(tag, not_after)?,
        name: common_name(subject),
    })
}

/// Tag and content of the first element, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = input.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // So many bytes of length follow; four are enough for any file.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, &byte| length << 8 | usize::from(byte)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn common_name(subject: &[u8]) -> Option<String> {
    let at = subject
        .windows(COMMON_NAME.len())
        .position(|window| window == COMMON_NAME)?;
    let (_, text, _) = element(subject.get(at + COMMON_NAME.len()..)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn moment(tag: u8, text: &[u8]) -> Option<Moment> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let century = match (tag, digits.get(..2)?) {
        (UTC_TIME, year) if year < "50" => "20",
        (UTC_TIME, _) => "19",
        (GENERALIZED_TIME, _) => "",
        _ => return None,
    };
    let all = format!("{century}{digits}");
    if all.len() != 14 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (date, time) = (
        [&all[..4], &all[4..6], &all[6..8]],
        [&all[8..10], &all[10..12], &all[12..]],
    );
    let text = format!("{} {} UTC", date.join("-"), time.join(":"));
    let number = |digits: &str| digits.parse::<u64>().ok();
    let day = days(number(date[0])?, number(date[1])?, number(date[2])?)?;
    let seconds = 3600 * number(time[0])? + 60 * number(time[1])? + number(time[2])?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(day * DAY + seconds))?;
    Some(Moment { time, text })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; a year that begins in March has its leap day at its end.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    (365 * year + year / 4 - year / 100 + year / 400 + of_year).checked_sub(719_468)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    /// A certificate for ten days, and its key.
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
    fn reads_until_when_it_is_good_and_whose_it_is() {
        let found = all(identity().0.as_bytes());
        let [certificate] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(certificate.name.as_deref(), Some("flannel"));
        assert_eq!(certificate.not_before.text, "2026-02-25 00:00:00 UTC");
        assert_eq!(certificate.not_after.text, "2026-03-07 00:00:00 UTC");
        assert_eq!(
            certificate.not_after.time,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_772_841_600)
        );
    }

    #[test]
    fn reads_the_times_of_both_centuries() {
        let seconds = |tag, text: &str| {
            let moment = moment(tag, text.as_bytes())?;
            moment
                .time
                .duration_since(SystemTime::UNIX_EPOCH)
                .ok()
                .map(|since| since.as_secs())
        };
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
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..400, to: u8) {
            _ = read(&bytes);
            let mut damaged = CertificateDer::from_pem_slice(identity().0.as_bytes()).expect("a certificate").to_vec();
            if let Some(byte) = damaged.get_mut(at) {
                *byte = to;
            }
            _ = read(&damaged);
        }
    }
}
