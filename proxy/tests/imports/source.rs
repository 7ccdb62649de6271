//! What a source file names: the paths of its `use` trees, each spelled out, and those inside expressions and types.
//!
//! It reads words and signs, no grammar: enough for paths, and nothing to keep up with as the language grows. Comments,
//! strings and tests are left out.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub file: PathBuf,
    /// The path of its module: `crate::net`.
    pub module: String,
    /// What is in it.
    pub text: String,
}

/// What a text names, as it is written there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// What `use` brings in.
    pub imports: Vec<Import>,
    /// Paths in expressions and types; and methods and members, with the dot: `.elapsed`.
    pub paths: Vec<Vec<String>>,
}

/// What `use` brings in.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// What it is called here; `*` for all that there is.
    pub name: String,
    /// The path.
    pub path: Vec<String>,
    /// Whether others find it here: then it may be that nobody needs it here.
    pub shown: bool,
}

/// Every source file below `dir`. Files of tests are left out.
pub fn read(dir: &Path, module: &str, into: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if matches!(name, "tests" | "testing") {
            continue;
        }
        let below = if name == "lib" { module.to_owned() } else { format!("{module}::{name}") };
        if path.is_dir() {
            read(&path, &below, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            into.push(Source { file: path, module: below, text });
        }
    }
}

/// What a text names.
pub fn named(text: &str) -> Named {
    let tokens = tokens(text);
    let mut named = Named::default();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = test_code(&tokens, at) {
            at = end;
            continue;
        }
        if tokens[at] == "use" {
            let shown = at > 0 && matches!(tokens[at - 1].as_str(), "pub" | ")");
            let mut found = Vec::new();
            at = tree(&tokens, at + 1, &[], &mut found);
            named.imports.extend(found.into_iter().map(|(name, path)| Import { name, path, shown }));
            continue;
        }
        if tokens[at] == "mod" {
            at += 2;
            continue;
        }
        if tokens[at] == "." && tokens.get(at + 1).is_some_and(|t| is_word(t)) {
            named.paths.push(vec![format!(".{}", tokens[at + 1])]);
            at += 2;
            continue;
        }
        let mut path = Vec::new();
        while at < tokens.len() && is_word(&tokens[at]) {
            path.push(tokens[at].clone());
            let on = tokens.get(at + 1).is_some_and(|t| t == "::") && tokens.get(at + 2).is_some_and(|t| is_word(t));
            if !on {
                break;
            }
            at += 2;
        }
        at += 1;
        if !path.is_empty() {
            named.paths.push(path);
        }
    }
    named
}

/// Where what begins at `at` ends, if it is for tests only.
fn test_code(tokens: &[String], mut at: usize) -> Option<usize> {
    let mark = ["#", "[", "cfg", "(", "test", ")", "]"];
    if tokens.len() < at + mark.len() || tokens[at..].iter().zip(mark).any(|(a, b)| a != b) {
        return None;
    }
    let mut deep = 0_usize;
    at += mark.len();
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" if deep == 0 => return Some(at + 1),
            "{" => deep += 1,
            "}" if deep <= 1 => return Some(at + 1),
            "}" => deep -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// Spells out one tree of a `use`; says where it ends.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<(String, Vec<String>)>) -> usize {
    let mut path = prefix.to_vec();
    let mut name = path.last().cloned();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "as" => {
                name = tokens.get(at + 1).cloned();
                at += 2;
            }
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t == ","));
                }
                return at + 1;
            }
            "*" => {
                name = Some("*".to_owned());
                at += 1;
            }
            // `use a::b::{self, c}` brings in `b`.
            "self" if !path.is_empty() => at += 1,
            word if is_word(word) => {
                path.push(word.to_owned());
                name = Some(word.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    found.extend(name.map(|name| (name, path)));
    at
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Words, `::` and single signs; without comments, strings and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest),
            'r' if rest.starts_with("r\"") => rest[2..].find('"').map_or(rest.len(), |end| end + 3),
            'r' if rest.starts_with("r#\"") => rest.find("\"#").map_or(rest.len(), |end| end + 2),
            '\'' => character(rest),
            ':' if rest.starts_with("::") => {
                found.push("::".to_owned());
                2
            }
            c if c.is_ascii_alphanumeric() || c == '_' => {
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(rest[..len].to_owned());
                len
            }
            c => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    found
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A character, or the sign before a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text[3..].find('\'').map_or(text.len(), |end| end + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
