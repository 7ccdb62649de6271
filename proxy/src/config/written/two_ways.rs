//! What may be written in two ways: as one text, or as a map that says more.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::text::{InstanceAddress, Path, Regex};

/// An instance of a service: `10.0.0.1:3001`, `https://api.example:8443`, or `{ address: "10.0.0.1:3001", weight: 3 }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instance {
    /// A host name or an IP address, and a port; with `https://` in front where it speaks TLS.
    pub address: InstanceAddress,
    /// Its share of the traffic relative to the others'. 0 takes none; at most 65535.
    pub weight: u32,
}

/// A route's path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathMatch {
    /// The whole path.
    Exact(Path),
    /// The whole path, by a pattern.
    Regex(Regex),
    /// Whole segments from the start.
    #[serde(untagged)]
    Prefix(Path),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InstanceMap {
    /// A host name or an IP address, and a port; with `https://` in front where it speaks TLS.
    address: InstanceAddress,
    /// Its share of the traffic relative to the others'. 0 takes none; at most 65535.
    #[serde(default = "one")]
    weight: u32,
}

fn one() -> u32 {
    1
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PathMap {
    /// The whole path, and nothing below it.
    exact: Option<Path>,
    /// A regular expression that the whole path, without the query, has to be.
    regex: Option<Regex>,
}

/// What a header field or a parameter of the query has to say.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueMatch {
    /// Its beginning.
    Prefix(String),
    /// The whole value, by a pattern.
    Regex(Regex),
    /// Whether it is there.
    Present(bool),
    /// The whole value.
    #[serde(untagged)]
    Exact(String),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ValueMap {
    /// The whole value.
    exact: Option<String>,
    /// Its beginning.
    prefix: Option<String>,
    /// A regular expression that the whole value has to be.
    regex: Option<Regex>,
    /// `true`: it is there, whatever it says. `false`: it is not there.
    present: Option<bool>,
}

impl ValueMap {
    fn only<E: de::Error>(self) -> Result<ValueMatch, E> {
        match (self.exact, self.prefix, self.regex, self.present) {
            (Some(exact), None, None, None) => Ok(ValueMatch::Exact(exact)),
            (None, Some(prefix), None, None) => Ok(ValueMatch::Prefix(prefix)),
            (None, None, Some(regex), None) => Ok(ValueMatch::Regex(regex)),
            (None, None, None, Some(present)) => Ok(ValueMatch::Present(present)),
            (None, None, None, None) => Err(E::missing_field("exact`, `prefix`, `regex` or `present")),
            _ => Err(E::custom("expected one of `exact`, `prefix`, `regex` and `present`")),
        }
    }
}

// By hand rather than by serde's `untagged`, which would forget where the error was and what it was.
impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Instance;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address like `10.0.0.1:3001`, or a map of `address` and `weight`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Instance, E> {
                text.parse().map(|address| Instance { address, weight: 1 }).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Instance, A::Error> {
                let InstanceMap { address, weight } =
                    Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Instance { address, weight })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PathMatch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path like `/cart`, `{ exact: /cart }` or `{ regex: '/v[0-9]+/.*' }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathMatch, E> {
                text.parse().map(PathMatch::Prefix).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PathMatch, A::Error> {
                let map: PathMap = Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                match (map.exact, map.regex) {
                    (Some(exact), None) => Ok(PathMatch::Exact(exact)),
                    (None, Some(regex)) => Ok(PathMatch::Regex(regex)),
                    // What was wrong in it is told already, and is missing here.
                    (None, None) => Err(de::Error::missing_field("exact` or `regex")),
                    _ => Err(de::Error::custom("expected one of `exact` and `regex`")),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for ValueMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ValueMatch;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value, or a map of `exact`, `prefix`, `regex` or `present`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ValueMatch, E> {
                Ok(ValueMatch::Exact(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<ValueMatch, E> {
                Err(E::custom("expected a value in quotes: `01` and `1` are one number, and not one value"))
            }

            fn visit_bool<E: de::Error>(self, is: bool) -> Result<ValueMatch, E> {
                Err(E::custom(format!("expected `\"{is}\"` in quotes, or `{{ present: {is} }}`")))
            }

            fn visit_unit<E: de::Error>(self) -> Result<ValueMatch, E> {
                Err(E::custom("found nothing, expected a value, or `{ present: true }`"))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ValueMatch, A::Error> {
                let map: ValueMap = Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                map.only()
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Which instances are used while nobody carries what is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum FallbackSubset {
    /// All of them.
    Any,
    /// Those that carry this.
    Labels(BTreeMap<String, String>),
}

impl Serialize for FallbackSubset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Labels(labels) => labels.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FallbackSubset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = FallbackSubset;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`any`, or a map like `{ tag: v1 }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FallbackSubset, E> {
                match text {
                    "any" => Ok(FallbackSubset::Any),
                    _ => Err(E::custom(format!("found `{text}`, expected `any`, or a map like `{{ tag: v1 }}`"))),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<FallbackSubset, A::Error> {
                Deserialize::deserialize(de::value::MapAccessDeserializer::new(map)).map(FallbackSubset::Labels)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for FallbackSubset {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FallbackSubset".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let labels = generator.subschema_for::<BTreeMap<String, String>>();
        json_schema!({ "oneOf": [{ "const": "any" }, labels] })
    }
}

impl JsonSchema for ValueMatch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ValueMatch".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = ValueMap::json_schema(generator);
        json_schema!({ "oneOf": [{ "type": "string" }, map] })
    }
}

impl JsonSchema for Instance {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Instance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = InstanceMap::json_schema(generator);
        json_schema!({ "oneOf": [generator.subschema_for::<InstanceAddress>(), map] })
    }
}

impl JsonSchema for PathMatch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PathMatch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = PathMap::json_schema(generator);
        json_schema!({ "oneOf": [generator.subschema_for::<Path>(), map] })
    }
}
