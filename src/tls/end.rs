//! The end of a certificate that somebody shows.

use std::time::{Duration, SystemTime};

use yasna::tags::{TAG_GENERALIZEDTIME, TAG_UTCTIME};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader};

/// Until when a certificate is valid, by its own word (`notAfter`, RFC 5280, 4.1.2.5); None where it is none. webpki looks
/// at it and does not tell it.
pub fn end_of(certificate: &[u8]) -> Option<SystemTime> {
    let parts = parts_of(certificate).ok()?;
    let body = parts_of(parts.first()?).ok()?;
    // Of version 1 it has no version, which is tagged, before its number, algorithm and issuer.
    let tagged = body.first()?.first()? >> 6 == 2;
    let validity = parts_of(body.get(3 + usize::from(tagged))?).ok()?;
    let seconds = yasna::parse_der(validity.get(1)?, read_time).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.try_into().ok()?))
}

/// The elements of a sequence, each as it is written.
fn parts_of(sequence: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    yasna::parse_der(sequence, |sequence| sequence.collect_sequence_of(|part| part.read_der()))
}

/// In seconds since 1970. Up to 2049 a certificate has the one form, then the other.
fn read_time(time: BERReader<'_, '_>) -> ASN1Result<i64> {
    match time.lookahead_tag()? {
        tag if tag == TAG_UTCTIME => time.read_utctime().map(|time| time.datetime().unix_timestamp()),
        tag if tag == TAG_GENERALIZEDTIME => time.read_generalized_time().map(|time| time.datetime().unix_timestamp()),
        _ => Err(ASN1Error::new(ASN1ErrorKind::Invalid)),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn made(year: i32) -> Vec<u8> {
        let mut parameters = CertificateParams::new(["a".to_owned()]).expect("a name");
        parameters.not_after = date_time_ymd(year, 11, 27);
        let key = KeyPair::generate().expect("a key");
        parameters.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_a_time() {
        for year in [2027, 2049, 2050, 9999] {
            let end = end_of(&made(year)).map(|end| humantime::format_rfc3339_seconds(end).to_string());
            assert_eq!(end, Some(format!("{year}-11-27T00:00:00Z")));
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        let whole = made(2027);
        for bytes in [&[][..], b"certificate", &whole[..whole.len() / 2], &[0x30, 0x00], &[0x30, 0x80, 0, 0]] {
            assert_eq!(end_of(bytes), None);
        }
        assert_eq!(end_of(&[whole.as_slice(), b"x"].concat()), None, "what follows is not looked over");
    }
}
