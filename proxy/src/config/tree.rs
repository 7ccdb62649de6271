//! A YAML file as a tree whose every node knows where it stands.
//!
//! Errors that name a line need marks, and a file is read by more than one pass, so it is read once into a small
//! tree of our own. The tree is bounded on every side: bytes, nodes (each use of an alias counts, so aliases of
//! aliases cannot explode), and depth.
//!
//! Environment variables are put in here, into scalars that are already parsed: a variable's text can never add a
//! key or change the structure of the file.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

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
        let mut composer = Composer { env, next_id: 0, anchors: HashMap::new(), stack: Vec::new(), faults: Vec::new() };
        let root = composer.compose(text)?;
        let mut tree = Self { root, errors: Vec::new(), dead: HashSet::new() };
        for (id, message) in composer.faults {
            tree.blame(id, message);
        }
        Ok(tree)
    }

    /// The tree of an empty file.
    pub fn empty() -> Self {
        Self { root: null(0, Mark { line: 1, column: 1 }), errors: Vec::new(), dead: HashSet::new() }
    }

    /// Whether there was no file, or nothing in it.
    pub fn is_empty(&self) -> bool {
        self.root.id == 0
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

struct Composer<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    next_id: u32,
    anchors: HashMap<usize, Node>,
    stack: Vec<Open>,
    faults: Vec<(u32, String)>,
}

/// A list or a map that has begun and not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<Key>,
    /// The keys so far, and their lines: finding one again must not cost a walk.
    seen: HashMap<String, usize>,
}

impl Composer<'_> {
    fn compose(&mut self, text: &str) -> Result<Node, ConfigError> {
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|e| not_yaml(text, &e))?;
            let at = mark(&span.start);
            let done = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(fault(Some(at), "found a second document, expected one to a file".into()));
                    }
                    None
                }
                Event::Scalar(value, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && !is_str_tag(tag.as_deref());
                    self.refuse_tag(tag.as_deref(), at)?;
                    let is_key = self.awaits_key();
                    let id = self.id(at)?;
                    let text = if is_key { value.into_owned() } else { self.expand(&value, id) };
                    Some((Node { id, mark: at, kind: Kind::Scalar { text, plain } }, anchor))
                }
                Event::Alias(anchor) => {
                    let mut node =
                        self.anchors.get(&anchor).cloned().ok_or_else(|| {
                            fault(Some(at), "found an alias of itself, expected a finished node".into())
                        })?;
                    self.renumber(&mut node, at)?;
                    if self.stack.len() + depth(&node) > MAX_DEPTH {
                        return Err(too_deep(at));
                    }
                    Some((node, 0))
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), at)?;
                    self.open(Kind::List(Vec::new()), anchor, at)?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), at)?;
                    self.open(Kind::Map(Vec::new()), anchor, at)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.stack.pop().map(|open| (open.node, open.anchor)),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if let Some((node, anchor)) = done {
                if anchor > 0 {
                    self.anchors.insert(anchor, node.clone());
                }
                match self.stack.last_mut() {
                    None => root = Some(node),
                    Some(_) => self.put(node)?,
                }
            }
        }
        Ok(root.unwrap_or_else(|| null(self.next_id, Mark { line: 1, column: 1 })))
    }

    fn open(&mut self, kind: Kind, anchor: usize, mark: Mark) -> Result<(), ConfigError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(mark));
        }
        let node = Node { id: self.id(mark)?, mark, kind };
        self.stack.push(Open { node, anchor, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), ConfigError> {
        let Some(open) = self.stack.last_mut() else { return Ok(()) };
        match &mut open.node.kind {
            Kind::Scalar { .. } => {}
            Kind::List(items) => items.push(node),
            Kind::Map(entries) => match open.key.take() {
                None => match node.kind {
                    Kind::Scalar { text, .. } => open.key = Some(Key { id: node.id, mark: node.mark, text }),
                    _ => return Err(fault(Some(node.mark), "found a list or a map, expected a key".into())),
                },
                Some(key) => {
                    match open.seen.get(&key.text) {
                        Some(line) => {
                            let message = format!("the key stands here again; it is already on line {line}");
                            self.faults.push((key.id, message));
                        }
                        None => _ = open.seen.insert(key.text.clone(), key.mark.line),
                    }
                    entries.push((key, node));
                }
            },
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        self.stack.last().is_some_and(|open| matches!(open.node.kind, Kind::Map(_)) && open.key.is_none())
    }

    fn id(&mut self, mark: Mark) -> Result<u32, ConfigError> {
        self.next_id += 1;
        if self.next_id as usize > MAX_NODES {
            return Err(fault(Some(mark), format!("found more than {MAX_NODES} nodes, aliases counted each time")));
        }
        Ok(self.next_id)
    }

    fn renumber(&mut self, node: &mut Node, mark: Mark) -> Result<(), ConfigError> {
        node.id = self.id(mark)?;
        match &mut node.kind {
            Kind::Scalar { .. } => {}
            Kind::List(items) => {
                for item in items {
                    self.renumber(item, mark)?;
                }
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    key.id = self.id(mark)?;
                    self.renumber(value, mark)?;
                }
            }
        }
        Ok(())
    }

    fn refuse_tag(&self, tag: Option<&Tag>, mark: Mark) -> Result<(), ConfigError> {
        match tag {
            Some(tag) if !is_str_tag(Some(tag)) => {
                let name = format!("{}{}", tag.handle, tag.suffix);
                Err(fault(Some(mark), format!("found the tag `{name}`, expected none: types are known from the keys")))
            }
            _ => Ok(()),
        }
    }

    /// Puts in `${NAME}` and `${NAME:-default}`; `$${` stands for `${`.
    fn expand(&mut self, text: &str, id: u32) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, from) = rest.split_at(start);
            if let Some(escaped) = before.strip_suffix('$') {
                out.push_str(escaped);
                out.push_str("${");
                rest = &from[2..];
                continue;
            }
            out.push_str(before);
            let Some(end) = from.find('}') else {
                self.faults.push((id, format!("found `{from}`, expected a `}}` after `${{`; `$${{` is a plain `${{`")));
                return out;
            };
            let (name, default) = match from[2..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&from[2..end], None),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                self.faults
                    .push((id, format!("found `{}`, expected `${{NAME}}` or `${{NAME:-default}}`", &from[..=end])));
            } else {
                // As in a shell, `:-` also stands in for a variable that is set and empty.
                match ((self.env)(name).filter(|v| default.is_none() || !v.is_empty()), default) {
                    (Some(value), _) => out.push_str(&value),
                    (None, Some(default)) => out.push_str(default),
                    (None, None) => self.faults.push((
                        id,
                        format!(
                            "the environment variable {name} is not set; `${{{name}:-default}}` gives it a default"
                        ),
                    )),
                }
            }
            rest = &from[end + 1..];
        }
        out.push_str(rest);
        out
    }
}

fn fault(mark: Option<Mark>, message: String) -> ConfigError {
    ConfigError { path: String::new(), mark, message }
}

fn not_yaml(text: &str, error: &ScanError) -> ConfigError {
    let mark = mark(error.marker());
    // YAML takes the braces of a variable for its own where it is within others.
    let variable = text.lines().nth(mark.line.saturating_sub(1)).is_some_and(|line| line.contains("${"));
    let hint = if variable { "; within `{ }` or `[ ]`, `${NAME}` stands in quotes" } else { "" };
    fault(Some(mark), format!("not YAML: {}{hint}", error.info()))
}

fn too_deep(mark: Mark) -> ConfigError {
    fault(Some(mark), format!("found more than {MAX_DEPTH} lists and maps within each other"))
}

fn depth(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|(_, v)| depth(v)).max().unwrap_or(0),
    }
}

fn is_str_tag(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|t| t.is_yaml_core_schema() && t.suffix == "str")
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

fn null(id: u32, mark: Mark) -> Node {
    Node { id, mark, kind: Kind::Scalar { text: String::new(), plain: true } }
}

#[cfg(test)]
mod tests;
