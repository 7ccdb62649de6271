//! From a tree to the types as written, telling every error and not only the first.
//!
//! serde stops at the first error. Since every key is optional, there is a simple way on: note the error, take the
//! node it is about out of the tree, and read again, until what is left can be read. The types stay plain serde
//! types, and a file with twenty errors says so in one run.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::error::did_you_mean;
use super::tree::{Key, Kind, Node, Tree};

/// Errors that are told of one file; further ones wait for the next run.
const MAX_ERRORS: usize = 100;

/// Reads the tree. What cannot be read is recorded in the tree and left at its default.
pub fn read<T: for<'de> Deserialize<'de> + Default>(tree: &mut Tree) -> T {
    for _ in 0..MAX_ERRORS {
        if tree.dead.contains(&tree.root.id) {
            break;
        }
        let stumble = match T::deserialize(Reader { node: &tree.root, tree }) {
            Ok(value) => return value,
            Err(stumble) => stumble,
        };
        let at = stumble.at.unwrap_or(tree.root.id);
        if stumble.lack { tree.blame_lack(at, stumble.message) } else { tree.blame(at, stumble.message) }
    }
    T::default()
}

/// One error, and the node or key it is about.
#[derive(Debug)]
struct Stumble {
    at: Option<u32>,
    message: String,
    /// A key is missing.
    lack: bool,
}

impl Stumble {
    /// The innermost place wins: it is set first.
    fn at(mut self, id: u32) -> Self {
        self.at.get_or_insert(id);
        self
    }

    fn new(message: String) -> Self {
        Self { at: None, message, lack: false }
    }
}

impl std::error::Error for Stumble {}

impl fmt::Display for Stumble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Stumble {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("found {found}, expected {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(found, expected.iter().copied());
        Self::new(format!("found `{found}`, expected {}{hint}", one_of(expected)))
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(found, expected.iter().copied());
        let all = if hint.is_empty() { format!(", expected {}", one_of(expected)) } else { hint };
        Self::new(format!("unknown key `{found}`{all}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { lack: true, ..Self::new(format!("the key `{field}` is missing")) }
    }
}

fn one_of(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[derive(Clone, Copy)]
struct Reader<'de> {
    node: &'de Node,
    tree: &'de Tree,
}

impl<'de> Reader<'de> {
    fn is_null(self) -> bool {
        matches!(&self.node.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// What it is, for messages.
    fn found(self) -> String {
        match &self.node.kind {
            _ if self.is_null() => "nothing".to_owned(),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Scalar { text, plain: true } => format!("`{text}`"),
            Kind::Scalar { text, .. } => format!("the text `{text}` (in quotes)"),
        }
    }

    fn plain(self) -> Option<&'de str> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => Some(text),
            _ => None,
        }
    }

    fn wrong<T>(self, expected: &dyn de::Expected) -> Result<T, Stumble> {
        Err(Stumble::new(format!("found {}, expected {expected}", self.found())).at(self.node.id))
    }

    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        match self.plain().and_then(|text| text.parse::<u64>().ok()) {
            Some(n) => visitor.visit_u64(n).or_else(|_: Stumble| self.wrong(&"a smaller number")),
            None => self.wrong(&"a number, 0 or above"),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
            self.integer(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Stumble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        match &self.node.kind {
            _ if self.is_null() => visitor.visit_unit().map_err(|e: Stumble| e.at(self.node.id)),
            Kind::List(_) => self.deserialize_seq(visitor),
            Kind::Map(_) => self.deserialize_map(visitor),
            // Nobody says what it shall be (a fault's attributes), so it is what it looks like.
            Kind::Scalar { text, plain } => match (text.parse::<u64>(), text.as_str()) {
                (Ok(number), _) if *plain => visitor.visit_u64(number),
                (_, "true" | "false") if *plain => visitor.visit_bool(text == "true"),
                _ => visitor.visit_str(text),
            }
            .map_err(|e: Stumble| e.at(self.node.id)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        match self.plain() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => self.wrong(&"`true` or `false`"),
        }
    }

    integers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.is_null() => {
                visitor.visit_borrowed_str(text).map_err(|e: Stumble| e.at(self.node.id))
            }
            _ => self.wrong(&visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stumble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        let items = match &self.node.kind {
            Kind::List(items) => items.as_slice(),
            _ if self.is_null() => &[],
            _ => return self.wrong(&"a list"),
        };
        visitor.visit_seq(Items { items, tree: self.tree }).map_err(|e| e.at(self.node.id))
    }

    /// `orders:` with nothing behind it is `orders: {}`.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        let entries = match &self.node.kind {
            Kind::Map(entries) => entries.as_slice(),
            _ if self.is_null() => &[],
            _ => return self.wrong(&"a map of keys and values"),
        };
        visitor.visit_map(Entries { entries, value: None, tree: self.tree }).map_err(|e| e.at(self.node.id))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stumble> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stumble> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.is_null() => {
                visitor.visit_enum(text.as_str().into_deserializer()).map_err(|e: Stumble| e.at(self.node.id))
            }
            _ => self.wrong(&one_of(variants).as_str()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stumble> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'de> {
    items: &'de [Node],
    tree: &'de Tree,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Stumble;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stumble> {
        while let Some((node, rest)) = self.items.split_first() {
            self.items = rest;
            if !self.tree.dead.contains(&node.id) {
                let reader = Reader { node, tree: self.tree };
                return seed.deserialize(reader).map(Some).map_err(|e| e.at(node.id));
            }
        }
        Ok(None)
    }
}

struct Entries<'de> {
    entries: &'de [(Key, Node)],
    value: Option<&'de Node>,
    tree: &'de Tree,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Stumble;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stumble> {
        while let Some(((key, value), rest)) = self.entries.split_first() {
            self.entries = rest;
            if !self.tree.dead.contains(&key.id) && !self.tree.dead.contains(&value.id) {
                self.value = Some(value);
                let name = key.text.as_str().into_deserializer();
                return seed.deserialize(name).map(Some).map_err(|e: Stumble| e.at(key.id));
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stumble> {
        let node = self.value.take().ok_or_else(|| Stumble::new("a value was asked for before its key".into()))?;
        seed.deserialize(Reader { node, tree: self.tree }).map_err(|e| e.at(node.id))
    }
}
