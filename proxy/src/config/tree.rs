//! A YAML file as a tree whose every node knows where it stands.
//!
//! Errors that name a line need marks, and a file is read by more than one pass, so it is read once into a small
//! tree of our own. The tree is bounded on every side: bytes, nodes (each use of an alias counts, so aliases of
//! aliases cannot explode), and depth.
//!
//! Environment variables are put in here, into scalars that are already parsed: a variable's text can never add a
//! key or change the structure of the file.

mod compose;

use std::collections::HashSet;

use compose::compose;

use super::error::{ConfigError, Mark};

/// Bytes of a file.
pub const MAX_BYTES: usize = 4 << 20;
/// Nodes of a tree, those that an alias repeats included.
const MAX_NODES: usize = 200_000;
/// Lists and maps within each other.
const MAX_DEPTH: usize = 32;

/// A file's tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The outermost node; a plain null for an empty file.
    pub root: Node,
    /// What was wrong while it was read, though the tree could be made.
    pub errors: Vec<ConfigError>,
    /// The nodes and keys that those errors are about: whoever reads on skips them.
    pub dead: HashSet<u32>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unlike that of any other node or key of the tree.
    pub id: u32,
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text; what it means is up to whoever asks. Only a plain one can be a number, a boolean or null.
    Scalar {
        /// Environment variables put in.
        text: String,
        /// Written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, each key once.
    Map(Vec<(Key, Node)>),
}

/// A map's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Unlike that of any other node or key of the tree.
    pub id: u32,
    /// Where it begins.
    pub mark: Mark,
    /// The key.
    pub text: String,
}

impl Tree {
    /// Reads a file. An `Err` is a fault after which no tree can be made.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        if text.len() > MAX_BYTES {
            return Err(fault(None, format!("found {} bytes, expected at most {MAX_BYTES}", text.len())));
        }
        let (root, faults) = compose(text, env)?;
        let mut tree = Self { root, errors: Vec::new(), dead: HashSet::new() };
        for (id, message) in faults {
            tree.blame(id, message);
        }
        Ok(tree)
    }

    /// The tree of an empty file.
    pub fn empty() -> Self {
        Self { root: null(0, Mark { line: 1, column: 1 }), errors: Vec::new(), dead: HashSet::new() }
    }

    /// Has a node skipped that lacks a key, and says so unless something in it was wrong: that may be what is missed.
    pub fn blame_lack(&mut self, id: u32, message: String) {
        if find(&self.root, id).is_some_and(|node| self.is_damaged_node(node)) {
            self.dead.insert(id);
        } else {
            self.blame(id, message);
        }
    }

    /// Records an error of a node or a key, and has it skipped from now on.
    pub fn blame(&mut self, id: u32, message: String) {
        let (path, mark) = self.locate(id);
        self.errors.push(ConfigError { path, mark, message });
        self.dead.insert(id);
    }

    /// The node under a path of map keys and list indexes: `services.orders`, as `["services", "orders"]`.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, step| match &node.kind {
            Kind::Map(entries) => entries.iter().find(|(k, _)| k.text == *step).map(|(_, v)| v),
            Kind::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            Kind::Scalar { .. } => None,
        })
    }

    /// Whether something stands under the path and was wrong, so that what it would mean is not known.
    pub fn is_dead(&self, path: &[&str]) -> bool {
        (0..=path.len()).any(|n| self.at(&path[..n]).is_some_and(|node| self.dead.contains(&node.id)))
    }

    /// Whether anything under the path was wrong.
    pub fn is_damaged(&self, path: &[&str]) -> bool {
        self.at(path).is_some_and(|node| self.is_damaged_node(node))
    }

    fn is_damaged_node(&self, node: &Node) -> bool {
        self.dead.contains(&node.id)
            || match &node.kind {
                Kind::Scalar { .. } => false,
                Kind::List(items) => items.iter().any(|item| self.is_damaged_node(item)),
                Kind::Map(entries) => {
                    entries.iter().any(|(key, value)| self.dead.contains(&key.id) || self.is_damaged_node(value))
                }
            }
    }

    /// Whether a key of the map under the path was wrong: what it was meant to be may be what is missed elsewhere.
    pub fn has_dead_key(&self, path: &[&str]) -> bool {
        match self.at(path).map(|n| &n.kind) {
            Some(Kind::Map(entries)) => entries.iter().any(|(k, _)| self.dead.contains(&k.id)),
            _ => false,
        }
    }

    /// The keys of the map under a path, those with errors included.
    pub fn keys(&self, path: &[&str]) -> Vec<&str> {
        match self.at(path).map(|n| &n.kind) {
            Some(Kind::Map(entries)) => entries.iter().map(|(k, _)| k.text.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// The places in a list of the items that could be read: those that could not are not among the `len` that were.
    pub fn live_items(&self, list: &[&str], len: usize) -> Vec<String> {
        let live: Vec<_> = match self.at(list).map(|n| &n.kind) {
            Some(Kind::List(items)) => {
                let live = items.iter().enumerate().filter(|(_, item)| !self.dead.contains(&item.id));
                live.map(|(i, _)| i.to_string()).collect()
            }
            _ => Vec::new(),
        };
        // The command line may have put a list of its own in the place of the file's.
        if live.len() == len { live } else { (0..len).map(|i| i.to_string()).collect() }
    }

    /// An error about what stands under a path, or about the innermost of what it should stand in.
    pub fn error_at(&self, path: &[&str], message: String) -> ConfigError {
        let mark = (1..=path.len()).rev().find_map(|n| self.at(&path[..n])).map(|node| node.mark);
        ConfigError { path: join_keys(path), mark, message }
    }

    fn locate(&self, id: u32) -> (String, Option<Mark>) {
        fn walk(node: &Node, id: u32, path: &mut Vec<Step>) -> Option<Mark> {
            if node.id == id {
                return Some(node.mark);
            }
            match &node.kind {
                Kind::Scalar { .. } => None,
                Kind::List(items) => items.iter().enumerate().find_map(|(i, item)| {
                    path.push(Step::Index(i));
                    walk(item, id, path).or_else(|| {
                        path.pop();
                        None
                    })
                }),
                Kind::Map(entries) => entries.iter().find_map(|(key, value)| {
                    path.push(Step::Key(key.text.clone()));
                    if key.id == id {
                        return Some(key.mark);
                    }
                    walk(value, id, path).or_else(|| {
                        path.pop();
                        None
                    })
                }),
            }
        }
        let mut path = Vec::new();
        let mark = walk(&self.root, id, &mut path);
        (join(&path), mark)
    }
}

/// A path as it is shown: `services.orders.instances[1].weight`.
pub fn join_keys(path: &[&str]) -> String {
    let steps: Vec<_> =
        path.iter().map(|s| s.parse().map(Step::Index).unwrap_or_else(|_| Step::Key((*s).to_owned()))).collect();
    join(&steps)
}

fn find(node: &Node, id: u32) -> Option<&Node> {
    if node.id == id {
        return Some(node);
    }
    match &node.kind {
        Kind::Scalar { .. } => None,
        Kind::List(items) => items.iter().find_map(|item| find(item, id)),
        Kind::Map(entries) => entries.iter().find_map(|(_, value)| find(value, id)),
    }
}

enum Step {
    Key(String),
    Index(usize),
}

fn join(path: &[Step]) -> String {
    let mut joined = String::new();
    for step in path {
        match step {
            Step::Index(i) => joined.push_str(&format!("[{i}]")),
            Step::Key(key) => {
                if !joined.is_empty() {
                    joined.push('.');
                }
                let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
                if plain { joined.push_str(key) } else { joined.push_str(&format!("{key:?}")) }
            }
        }
    }
    joined
}

fn fault(mark: Option<Mark>, message: String) -> ConfigError {
    ConfigError { path: String::new(), mark, message }
}

fn null(id: u32, mark: Mark) -> Node {
    Node { id, mark, kind: Kind::Scalar { text: String::new(), plain: true } }
}

#[cfg(test)]
mod tests;
