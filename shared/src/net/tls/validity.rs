//! When a certificate expires, so that a process can report that its own certificate has expired.

use rustls::pki_types::CertificateDer;
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime, Time};

use super::der::{Element, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, VERSION, any_element, element};

/// The last moment at which `leaf` is valid (`notAfter`); `None` if the certificate is malformed.
pub fn not_after(leaf: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let (certificate, _) = element(leaf, SEQUENCE)?;
    let (mut body, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(body, VERSION) {
        body = rest;
    }
    let (_serial, rest) = element(body, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let not_before = any_element(validity)?;
    let Element { tag, content, rest } = any_element(not_before.rest)?;
    if rest.is_empty() { moment(tag, content) } else { None }
}

/// `moment` in RFC 3339 format, in UTC, without fractions of a second.
pub fn rfc3339(moment: OffsetDateTime) -> String {
    moment.replace_nanosecond(0).unwrap_or(moment).format(&Rfc3339).unwrap_or_default()
}

/// Parses the two forms of RFC 5280, 4.1.2.5: `YYMMDDhhmmssZ` and `YYYYMMDDhhmmssZ`.
fn moment(tag: u8, text: &[u8]) -> Option<OffsetDateTime> {
    let (&b'Z', digits) = text.split_last()? else { return None };
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = number(digits, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => number(digits, 4)?,
        _ => return None,
    };
    let (month, rest) = two_digits(rest)?;
    let (day, rest) = two_digits(rest)?;
    let (hour, rest) = two_digits(rest)?;
    let (minute, rest) = two_digits(rest)?;
    let (second, rest) = two_digits(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let date = Date::from_calendar_date(i32::from(year), Month::try_from(month).ok()?, day).ok()?;
    Some(date.with_time(Time::from_hms(hour, minute, second).ok()?).assume_utc())
}

fn two_digits(digits: &[u8]) -> Option<(u8, &[u8])> {
    let (value, rest) = number(digits, 2)?;
    Some((u8::try_from(value).ok()?, rest))
}

/// A number of `len` decimal digits, at most four, and what follows it.
fn number(digits: &[u8], len: usize) -> Option<(u16, &[u8])> {
    let (digits, rest) = digits.split_at_checked(len)?;
    let add = |sum: u16, &digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'));
    Some((digits.iter().try_fold(0, add)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::net::tls::authority::{Authority, Usage};

    #[test]
    fn the_expiry_time_is_the_one_the_certificate_was_issued_with() {
        let authority = Authority::new("test", 30_000).unwrap();
        // Times from 2050 on are encoded in the other form.
        for days in [1, 20_000] {
            let leaf = authority.issue("leaf", &[], Usage::Client, days).unwrap();
            let wanted = OffsetDateTime::now_utc() + time::Duration::days(days);
            let off = not_after(&leaf.chain[0]).unwrap() - wanted;
            assert!(off.abs() < time::Duration::minutes(1), "{days} days: {off}");
        }
    }

    #[test]
    fn both_forms_of_a_time_are_parsed() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).ok();
        assert_eq!(moment(UTC_TIME, b"261127230111Z"), at(1_795_820_471));
        assert_eq!(moment(UTC_TIME, b"500101000000Z"), at(-631_152_000));
        assert_eq!(moment(GENERALIZED_TIME, b"99991231235959Z"), at(253_402_300_799));
    }

    #[test]
    fn an_invalid_time_is_none() {
        for bad in [&b"261327230111Z"[..], b"2611272301Z", b"261127230111", b"2611272x0111Z", b"", b"Z"] {
            assert_eq!(moment(UTC_TIME, bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = not_after(&CertificateDer::from(bytes));
        }

        #[test]
        fn a_certificate_with_a_changed_byte_never_panics(at in 0_usize..300, byte: u8) {
            let authority = Authority::new("test", 1).unwrap();
            let mut der = authority.issue("leaf", &[], Usage::Client, 1).unwrap().chain[0].to_vec();
            let at = at % der.len();
            der[at] = byte;
            let _ = not_after(&CertificateDer::from(der));
        }
    }
}
