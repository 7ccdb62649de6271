//! A plan as it is written: the keys of the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, de};

use super::FaultName;
use crate::config::text::{FieldName, Method, Url};
use crate::fault::Place;
use crate::fault::guard::GuardSpec;
use crate::fault::spec::Endpoints;
use crate::units::{Interval, Share};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    pub name: Option<String>,
    pub environment: Option<String>,
    pub admin: Urls,
    pub probes: Vec<Probe>,
    pub dependencies: Vec<Dependency>,
    pub faults: Option<Vec<FaultName>>,
    pub places: Option<Vec<Place>>,
    pub slow: Option<Interval>,
    pub errors: Option<Errors>,
    pub hold: Option<Share>,
    pub duration: Option<Interval>,
    pub settle: Option<Interval>,
    pub recovery: Option<Interval>,
    pub guards: Vec<GuardSpec>,
}

/// A column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub name: String,
    pub url: Url,
    pub method: Option<Method>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub timeout: Option<Interval>,
    pub every: Option<Interval>,
    pub hold: Option<Share>,
    pub available: Option<Expectation>,
    pub degraded: Option<Expectation>,
}

/// What an answer has to be.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectation {
    pub status: Statuses,
    pub body_contains: Option<String>,
    pub headers: BTreeMap<FieldNameKey, String>,
}

/// Rows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    pub name: Option<String>,
    pub service: Option<String>,
    pub proxy: Option<String>,
    pub faults: Option<Vec<FaultName>>,
    pub places: Option<Vec<Place>>,
    pub endpoints: Option<Endpoints>,
    pub slow: Option<Interval>,
    pub errors: Option<Errors>,
}

/// What `errors` are.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Errors {
    pub status: Option<u16>,
    pub share: Option<Share>,
    pub every: Option<u64>,
}

/// One URL, or a list of them.
#[derive(Debug, Default)]
pub struct Urls(pub Vec<Url>);

/// One status, or a list of them.
#[derive(Debug, Default)]
pub struct Statuses(pub Vec<u16>);

/// A [`FieldName`] as a key of a map.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldNameKey(pub String);

impl<'de> Deserialize<'de> for FieldNameKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FieldName::deserialize(deserializer).map(|name| Self(name.0))
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Urls, E> {
                text.parse().map(|url| Urls(vec![url])).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = items.next_element()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 100 to 599, or a list of them")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Statuses, E> {
                let wrong = || E::custom(format!("found `{number}`, expected a status from 100 to 599"));
                let status = u16::try_from(number).ok().filter(|status| (100..=599).contains(status));
                status.map(|status| Statuses(vec![status])).ok_or_else(wrong)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Statuses, A::Error> {
                let mut statuses = Vec::new();
                while let Some(Statuses(one)) = items.next_element()? {
                    statuses.extend(one);
                }
                Ok(Statuses(statuses))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
