//! Durations, sizes and shares as they are written: `250ms`, `64KiB`, `20%`.
//!
//! Each is parsed where it stands, so that an error says what was found, and nobody later meets a bad one. They stand apart
//! from the configuration because faults, plans of drills and the command line write them too.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration: `250ms`, `2s`, `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

/// How long nothing may happen: a duration, or `off` for as long as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(pub Option<Duration>);

impl Patience {
    /// Its time; the longest that there is where it is off.
    pub fn time(self) -> Duration {
        self.0.unwrap_or(Duration::from_secs(MAX_DAYS * 86_400))
    }
}

impl FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            _ => text.parse().map(|Interval(time)| Self(Some(time))).map_err(|error| error + ", or `off`"),
        }
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => Interval(time).fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// A number of bytes: `64KiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// A share, or a multiple: `20%`, `2.5%`, `300%`. 1.0 is all.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Days of the longest duration: long enough for anything, and far from where adding to an instant overflows.
const MAX_DAYS: u64 = 365;

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a duration like `250ms`, `2s`, `5m` or `1h`";
        let wrong = || format!("found `{text}`, {expected}");
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("found `{text}`, a number without a unit; {expected}"));
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        let mut last_unit = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(wrong()),
            };
            if unit >= last_unit {
                return Err(wrong());
            }
            last_unit = unit;
            rest = &rest[letters..];
            total = total.saturating_add(Duration::from_millis(number.saturating_mul(unit)));
        }
        if text.is_empty() {
            return Err(wrong());
        }
        if total > Duration::from_secs(MAX_DAYS * 86_400) {
            return Err(format!("found `{text}`, expected at most {MAX_DAYS} days"));
        }
        Ok(Self(total))
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            0 => f.write_str("0s"),
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found `{text}`, expected a share like `20%` or `2.5%`");
        let digits = text.strip_suffix('%').ok_or_else(wrong)?;
        let plain = digits.len() <= 8 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let percent: f64 = digits.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        Ok(Self(percent / 100.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three decimals are enough for anything that is written, and hide what division by 100 does to it.
        let percent = (self.0 * 1e5).round() / 1e3;
        write!(f, "{percent}%")
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a size like `512B`, `64KiB` or `1MiB`";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1_usize << 30,
            "" => return Err(format!("found `{text}`, a number without a unit; {expected}")),
            other => {
                let meant = ["KiB", "MiB", "GiB"].into_iter().find(|u| other.to_uppercase().starts_with(&u[..1]));
                let hint = meant.map(|u| format!("; did you mean `{u}`?")).unwrap_or_default();
                return Err(format!("found `{text}`, {expected}{hint}"));
            }
        };
        let number: usize = number.parse().map_err(|_| format!("found `{text}`, {expected}"))?;
        number.checked_mul(factor).map(Self).ok_or_else(|| format!("found `{text}`, more than can be addressed"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{}GiB", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

/// Gives a type serde's and schemars' sides from its `FromStr` and `Display`.
macro_rules! as_text {
    ($($type:ident, $kind:literal, $example:literal;)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::units::TextVisitor::<Self>($kind, PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "title": $kind, "examples": [$example] })
            }
        }
    )*};
}

pub(crate) use as_text;

as_text! {
    Interval, "a duration", "250ms";
    Patience, "a duration, or `off`", "5m";
    Size, "a size", "64KiB";
    Share, "a share", "20%";
}

/// Reads a value out of text; what it was to be is told where there is something else.
pub(crate) struct TextVisitor<T>(pub(crate) &'static str, pub(crate) PhantomData<T>);

impl<T: FromStr<Err = String>> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests;
