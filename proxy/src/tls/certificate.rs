//! What a certificate says of itself, as far as it decides what we do with it.
//!
//! rustls verifies certificates and does not tell what stands in them. Four things are needed beside that: the names that it
//! is for, to choose by; when it ends, to warn of; and who issued whom, to name a chain that is in the wrong order. They are
//! read here, straight from the DER (RFC 5280 section 4.1). Nothing is verified here, and nothing is believed of a peer's.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The DNS names that it is for, in lower case: `shop.example`, `*.shop.example`.
    pub names: Vec<Box<str>>,
    /// From when on it is good.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// Who it is, as it stands there.
    subject: Box<[u8]>,
    /// Who issued it.
    issuer: Box<[u8]>,
}

impl Facts {
    /// Reads a certificate. None where it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let mut outer = Der(certificate).expect_tag(SEQUENCE)?;
        let mut fields = outer.expect_tag(SEQUENCE)?;
        fields.skip_tag(VERSION);
        let (_serial, _signature) = (fields.next()?, fields.next()?);
        let issuer = fields.expect_tag(SEQUENCE)?.0.into();
        let mut validity = fields.expect_tag(SEQUENCE)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = fields.expect_tag(SEQUENCE)?.0.into();
        let _key = fields.expect_tag(SEQUENCE)?;
        let mut names = Vec::new();
        while let Some((tag, value)) = fields.next() {
            if tag == EXTENSIONS {
                names = alternative_names(Der(value).expect_tag(SEQUENCE)?);
            }
        }
        Some(Self { names, not_before, not_after, subject, issuer })
    }

    /// Whether `other` is who issued it.
    pub fn is_issued_by(&self, other: &Self) -> bool {
        self.issuer == other.subject
    }

    /// How long it is still good; none where it has ended.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        self.not_after.duration_since(now).ok()
    }

    /// Whether it is for this host, which is in lower case and has no port. A wildcard stands for one label (RFC 6125 section
    /// 6.4.3).
    pub fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => **name == *host,
        })
    }
}

fn alternative_names(mut extensions: Der<'_>) -> Vec<Box<str>> {
    while let Some((SEQUENCE, extension)) = extensions.next() {
        let mut extension = Der(extension);
        if extension.next() != Some((OBJECT, SUBJECT_ALT_NAME)) {
            continue;
        }
        extension.skip_tag(BOOLEAN);
        let Some(mut names) = extension.expect_tag(OCTETS).and_then(|mut value| value.expect_tag(SEQUENCE)) else {
            break;
        };
        let mut found = Vec::new();
        while let Some((tag, name)) = names.next() {
            if tag == DNS_NAME
                && let Ok(name) = std::str::from_utf8(name)
            {
                found.push(name.trim_end_matches('.').to_ascii_lowercase().into());
            }
        }
        return found;
    }
    Vec::new()
}

/// Some values, one after the other, each with its tag and length in front.
#[derive(Clone, Copy)]
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
            0x83 => {
                let [a, b, c] = *rest.first_chunk()?;
                (u32::from_be_bytes([0, a, b, c]) as usize, rest.get(3..)?)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect_tag(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| Self(value))
    }

    fn skip_tag(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// `240131235959Z`, or with the whole year in front.
    fn time(&mut self) -> Option<SystemTime> {
        let (tag, text) = self.next()?;
        let digits = text.strip_suffix(b"Z")?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = |digits: &[u8]| digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = digits.split_at_checked(2)?;
                // RFC 5280 section 4.1.2.5.1.
                (if number(year) < 50 { 2000 } else { 1900 } + number(year), rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = digits.split_at_checked(4)?;
                (number(year), rest)
            }
            _ => return None,
        };
        let [month, day, hour, minute, second] = rest.as_chunks::<2>().0 else { return None };
        let seconds = days(year, number(month), number(day)) * 86_400
            + number(hour) * 3_600
            + number(minute) * 60
            + number(second);
        let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

/// Days from the first of January 1970 (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const DNS_NAME: u8 = 0x82;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(names: &[&str]) -> Facts {
        let time = SystemTime::UNIX_EPOCH;
        let names = names.iter().map(|name| (*name).into()).collect();
        Facts { names, not_before: time, not_after: time, subject: Box::default(), issuer: Box::default() }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let facts = facts(&["shop.example", "*.shop.example"]);
        for (host, is) in [
            ("shop.example", true),
            ("a.shop.example", true),
            ("a.b.shop.example", false),
            (".shop.example", false),
            ("shop.example.org", false),
            ("example", false),
            ("", false),
        ] {
            assert_eq!(facts.is_for(host), is, "{host}");
        }
    }

    #[test]
    fn times_are_read_in_either_form() {
        let of =
            |bytes: &[u8]| Der(bytes).time().map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(of(b"\x17\x0d200131000000Z"), Some(1_580_428_800));
        assert_eq!(of(b"\x17\x0d691231235959Z"), Some(0), "before 1970 is never to come");
        assert_eq!(of(b"\x18\x0f20910101000000Z"), Some(3_818_448_000));
        assert_eq!(of(b"\x18\x0f20240229120001Z"), Some(1_709_208_001));
        for bad in [
            &b"\x17\x0d20013100000xZ"[..],
            b"\x17\x0c20013100000Z",
            b"\x17\x0d200131000000+",
            b"\x17\x00",
            b"\x04\x01Z",
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Facts::of(&CertificateDer::from(bytes.clone()));
            // Of the right form for a while.
            let mut nested = vec![SEQUENCE, 0x81, bytes.len() as u8 + 3, SEQUENCE, 0x81, bytes.len() as u8];
            nested.extend(bytes);
            let _ = Facts::of(&CertificateDer::from(nested));
        }
    }
}
