//! The policies of a service or of a route, as they are written.
//!
//! A policy with more than one knob is a group of keys, and groups are merged key by key like everything else: a route
//! that says `retries: { max: 0 }` keeps its service's budget. A group that can be switched off says `off`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::text::Path;
use crate::units::{Interval, Share, Size};

/// How a narrower value and a wider one become one.
pub trait Layer: Clone {
    /// The narrower one, with what it leaves open from the wider.
    fn over(self, wide: &Self) -> Self;
}

/// The narrower of two that may be left out, with what it leaves open.
pub fn merged<T: Layer>(narrow: Option<T>, wide: &Option<T>) -> Option<T> {
    match (narrow, wide) {
        (Some(narrow), Some(wide)) => Some(narrow.over(wide)),
        (narrow, wide) => narrow.or_else(|| wide.clone()),
    }
}

macro_rules! whole {
    ($($type:ty),* $(,)?) => {
        $(impl Layer for $type {
            fn over(self, _: &Self) -> Self {
                self
            }
        })*
    };
}

whole!(Interval, Share, Size, Path, u16, u32, bool, String, super::Balance, super::Protocol, super::Priority);
whole!(super::HashBy, super::Division, BTreeMap<String, String>);

/// A group that is on, or `off`.
#[derive(Debug, Clone, PartialEq)]
pub enum Switch<T> {
    /// Switched off.
    Off,
    /// On, with these keys.
    On(T),
}

impl<T: Layer> Layer for Switch<T> {
    fn over(self, wide: &Self) -> Self {
        match (self, wide) {
            (Self::On(narrow), Self::On(wide)) => Self::On(narrow.over(wide)),
            (narrow, _) => narrow,
        }
    }
}

impl<T: Serialize> Serialize for Switch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(keys) => keys.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off`, or a map of keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Switch<T>, E> {
                if text == "off" {
                    return Ok(Switch::Off);
                }
                Err(E::custom(format!("found `{text}`, expected `off`, or a map of keys")))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Switch<T>, E> {
                Err(E::custom("found nothing, expected `off`, or a map of keys"))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Switch<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "const": "off" }, generator.subschema_for::<T>()] })
    }
}

macro_rules! group {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[doc = $doc:literal])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl Layer for $name {
            fn over(self, wide: &Self) -> Self {
                Self { $($field: merged(self.$field, &wide.$field),)* }
            }
        }
    )*};
}

group! {
    /// Further attempts after one that failed, each on another instance where there is one.
    pub struct Retries {
        /// Further attempts of one request, whatever they are for; 0 for none, at most 7. A request that was processed
        /// is only tried again where its method is idempotent, or it has an `Idempotency-Key`.
        pub max: u32,
        /// Further attempts for each request of the service, at most 100%: retries, hedges and second tries together.
        /// The service's alone.
        pub budget: Share,
        /// Further attempts a second that a service with few requests may have nevertheless, at most 10000. The service's alone.
        pub min_per_second: u32,
        /// Whether requests of any method may be processed twice. Say so only where that does no harm.
        pub any_method: bool,
    }

    /// When a try is stuck: a multiple of the p99 of the route and method.
    pub struct LearnedTry {
        /// How many times the p99, above 100% and at most 10000%: `300%`.
        pub multiple: Share,
        /// Never sooner than this.
        pub floor: Interval,
        /// Never later than this, and what holds until 500 answers are known.
        pub ceiling: Interval,
    }

    /// A second attempt on another instance, for GET and HEAD that are slower than the p99 of their route.
    pub struct Hedge {
        /// The share of requests that may be hedged, of the same budget as retries.
        pub share: Share,
        /// Never sooner than this, however fast the route is.
        pub floor: Interval,
    }

    /// Small answers are made whole before their head is passed on, so that one that breaks off can be asked for again. Small
    /// request bodies are collected for at most 250 ms before anything is taken for them, so that slow uploads hold nothing.
    /// `off` for routes that are conversations: requests and answers are passed on as they come. gRPC is, always.
    pub struct Hold {
        /// The largest answer that is held, at most 64KiB.
        pub max_size: Size,
        /// How long an answer whose length is not stated is held to see whether it is small. At most 10s.
        pub unknown_for: Interval,
    }

    /// When an instance is left out for a while because it does worse than its peers.
    pub struct Outlier {
        /// After so many failures in a row.
        pub consecutive: u32,
        /// After this share of failures within ten seconds, at least 1%.
        pub failure_share: Share,
        /// Attempts within ten seconds below which a share says nothing.
        pub min_attempts: u32,
        /// When its typical latency is so many times that of its peers; a whole number, at least 2.
        pub latency_factor: u32,
        /// For how long, the first time; each further time twice as long. Drawn from a fifth around it, so that instances do not
        /// come back together. Nobody waits so long who is needed: while a bad instance has to stay in, those that are out are
        /// tried four times a second.
        pub base_ejection: Interval,
        /// For how long at most, the first time too.
        pub max_ejection: Interval,
        /// The largest share of a pool that is left out, and one instance at least unless it is `0%`. Never the last one. Beyond
        /// that the worst are out and the best in.
        pub max_ejected: Share,
    }

    /// When the whole service is taken for dead, and its requests fail at once.
    pub struct Breaker {
        /// After so many failed attempts in a row, over all instances, at least 2, ...
        pub consecutive: u32,
        /// ... and so long a time in which none succeeded. What fails while other paths are answered does not count.
        pub silence: Interval,
        /// How often one request is let through to see whether it is back.
        pub probe_every: Interval,
    }

    /// How many requests may be at the service at once. The service's alone.
    pub struct Limit {
        /// A fixed bound, for the process. Left out: none.
        pub max_in_flight: u32,
        /// Whether a bound is found by itself while the service is overloaded.
        pub adaptive: bool,
        /// Requests that may wait for their turn, for the process: shared out among the workers, each of which lets at least one
        /// wait, so that no fewer wait than there are workers. 0: none.
        pub queue: u32,
        /// How long one waits at most.
        pub queue_timeout: Interval,
    }

    /// A part of the service that one caller, or the requests of one route, may have.
    pub struct Bulkhead {
        /// `caller` (`http.caller_header` of a trusted caller, else its address) or `route`.
        pub per: super::Division,
        /// Requests in flight of one of them, for the process.
        pub max_in_flight: u32,
    }

    /// Checks of our own, beside the registry's word. The service's alone. One of `http`, `tcp` and `grpc` says what is asked.
    pub struct HealthCheck {
        /// GET of this path; an answer of 200 to 399 is good.
        pub http: Path,
        /// What stands in `Host` then. Left out: the service's name.
        pub host: String,
        /// `true`: a connection that is made is good.
        pub tcp: bool,
        /// `grpc.health.v1.Health/Check` of this service; empty for the server as a whole.
        pub grpc: String,
        /// Another port than the instance's.
        pub port: u16,
        /// From one check of an instance to the next, or up to a fifth less: drawn each time, so that checks do not come
        /// together.
        pub interval: Interval,
        /// For one check; no longer than `interval`. Left out: `interval`, where that is shorter than the built-in value.
        pub timeout: Interval,
        /// So many good ones in a row, and it is healthy again: 1 to 1000. The first of all counts at once.
        pub healthy: u32,
        /// So many bad ones in a row, and it is not: 1 to 1000.
        pub unhealthy: u32,
        /// How long an instance that the registry no longer names stays while its checks are good.
        pub keep_absent: Interval,
    }

    /// What is answered when the service fails: a stale copy if there is one, else another service's answer, else a fixed
    /// one. Each is marked with `Outrigger-Degraded`.
    pub struct Fallback {
        /// A copy of an earlier answer to the same GET, no longer than this past its freshness.
        pub stale: Interval,
        /// Another service, one of `services`, under its own policies.
        pub service: String,
        /// The status of a fixed answer, 200 to 599. Left out, where there is a `body`: 200.
        pub status: u16,
        /// Header lines of the fixed answer.
        pub headers: BTreeMap<String, String>,
        /// Its body, at most 1 MiB.
        pub body: String,
    }
}

/// When a try is stuck, so that another one is started beside it.
#[derive(Debug, Clone, PartialEq)]
pub enum PerTry {
    /// Never.
    Off,
    /// After a fixed time.
    Fixed(Interval),
    /// After a time that is learned.
    Learned(LearnedTry),
}

impl Layer for PerTry {
    fn over(self, wide: &Self) -> Self {
        match (self, wide) {
            (Self::Learned(narrow), Self::Learned(wide)) => Self::Learned(narrow.over(wide)),
            (narrow, _) => narrow,
        }
    }
}

impl Serialize for PerTry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Fixed(time) => time.serialize(serializer),
            Self::Learned(keys) => keys.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for PerTry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PerTry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`learned`, `off`, a duration like `300ms`, or a map of `multiple`, `floor` and `ceiling`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PerTry, E> {
                match text {
                    "off" => Ok(PerTry::Off),
                    "learned" => Ok(PerTry::Learned(LearnedTry::default())),
                    _ => text.parse().map(PerTry::Fixed).map_err(E::custom),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PerTry, A::Error> {
                LearnedTry::deserialize(de::value::MapAccessDeserializer::new(map)).map(PerTry::Learned)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for PerTry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PerTry".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (time, keys) = (generator.subschema_for::<Interval>(), generator.subschema_for::<LearnedTry>());
        json_schema!({ "oneOf": [{ "enum": ["learned", "off"] }, time, keys] })
    }
}
