//! What may be written in two ways: as one text, or as a map that says more.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::super::text::{InstanceAddress, Path};

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
    exact: Path,
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
                f.write_str("a path like `/cart`, or `{ exact: /cart }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathMatch, E> {
                text.parse().map(PathMatch::Prefix).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PathMatch, A::Error> {
                let PathMap { exact } = Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(PathMatch::Exact(exact))
            }
        }
        deserializer.deserialize_any(Visitor)
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
