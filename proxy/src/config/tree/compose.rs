//! From a parser's events to a tree.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::{Key, Kind, MAX_DEPTH, MAX_NODES, Node, fault, null};
use crate::config::error::{ConfigError, Mark};

/// What is wrong with nodes and keys of a tree that could be made all the same.
type Faults = Vec<(u32, String)>;

/// The outermost node, and what is wrong in it.
pub(super) fn compose(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(Node, Faults), ConfigError> {
    let mut composer = Composer { env, next_id: 0, anchors: HashMap::new(), stack: Vec::new(), faults: Vec::new() };
    let root = composer.root(text)?;
    Ok((root, composer.faults))
}

struct Composer<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    next_id: u32,
    anchors: HashMap<usize, Node>,
    stack: Vec<Open>,
    faults: Faults,
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
    fn root(&mut self, text: &str) -> Result<Node, ConfigError> {
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
