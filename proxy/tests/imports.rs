//! Who may import whom, read off the sources.
//!
//! The two halves of the proxy meet in one joint and nowhere else, and every policy is a function of what it is handed:
//! that is what makes a policy testable in virtual time, and a half replaceable. Nothing in the compiler keeps it so,
//! and the first `use` that breaks it looks harmless. This test reads every path of every module, tests left out, and
//! holds it against [`RULES`].

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by ending")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SENTENCE: &str = "`main -> cli -> app -> {control, serve, admin, drain, telemetry, config}`; `control` never the data plane \
    (`serve`, `downstream`, `forward`, `worker`, `upstream`, `request`); that never `control`, the registry crate, `config` (except `config::settings`) or reqwest; \
    `balance`, `resilience`, `route`, `snapshot`, `error`, `http` never tokio I/O or time, hyper, what is above them, or a \
    clock (`Instant` is an argument); only `net.rs` names TcpStream and TcpListener; `outrigger-registry` nothing of ours.";

/// What some modules may not name.
struct Rule {
    /// Modules, with all below them.
    of: &'static [&'static str],
    /// Paths, with all below them. `*::X` is an `X` anywhere.
    never: &'static [&'static str],
    /// Paths of those that are allowed nevertheless.
    but: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        of: &["crate::control"],
        never: &[
            "crate::serve",
            "crate::downstream",
            "crate::forward",
            "crate::worker",
            "crate::upstream",
            "crate::request",
            "crate::app",
            "crate::admin",
        ],
        but: &[],
    },
    Rule {
        of: &[
            "crate::serve",
            "crate::downstream",
            "crate::forward",
            "crate::worker",
            "crate::upstream",
            "crate::request",
        ],
        never: &["crate::control", "crate::config", "crate::app", "crate::admin", "outrigger_registry", "reqwest"],
        but: &["crate::config::settings"],
    },
    Rule {
        of: &["crate::balance", "crate::resilience", "crate::route", "crate::snapshot", "crate::error", "crate::http"],
        never: &[
            "tokio",
            "hyper",
            "hyper_util",
            "h2",
            "reqwest",
            "outrigger_registry",
            "std::fs",
            "std::thread",
            "*::Instant::now",
            "*::SystemTime::now",
            "crate::net",
            "crate::serve",
            "crate::downstream",
            "crate::forward",
            "crate::worker",
            "crate::upstream",
            "crate::request",
            "crate::control",
            "crate::app",
            "crate::admin",
            "crate::drain",
            "crate::config",
        ],
        but: &["crate::config::settings"],
    },
    Rule {
        of: &["crate", "registry"],
        never: &["*::TcpStream", "*::TcpListener", "*::TcpSocket", "*::UnixStream", "*::UnixListener"],
        but: &[],
    },
    Rule {
        of: &["crate::telemetry", "crate::drain", "crate::net", "crate::config"],
        never: &["crate::serve", "crate::downstream", "crate::forward", "crate::worker"],
        but: &[],
    },
    Rule { of: &["registry"], never: &["outrigger"], but: &[] },
];

/// A module that may name something nevertheless.
struct Exception {
    module: &'static str,
    path: &'static str,
    why: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        module: "crate::snapshot",
        path: "tokio::sync",
        why: "channels between the halves: no I/O, no time, and no runtime is needed for them",
    },
    Exception { module: "crate::net", path: "*::TcpStream", why: "it is the file that names them" },
    Exception { module: "crate::net", path: "*::TcpListener", why: "it is the file that names them" },
    Exception { module: "crate::admin", path: "*::TcpStream", why: "a server of its own thread, off the data plane" },
    Exception { module: "crate::admin", path: "*::TcpListener", why: "a server of its own thread, off the data plane" },
    Exception { module: "crate::drill", path: "*::TcpStream", why: "a client in a process of its own" },
    Exception { module: "crate::cli", path: "*::TcpStream", why: "clients and servers of the demo" },
    Exception { module: "crate::cli", path: "*::TcpListener", why: "clients and servers of the demo" },
    Exception { module: "registry::embedded", path: "*::TcpStream", why: "a server for tests and the demo" },
    Exception { module: "registry::embedded", path: "*::TcpListener", why: "a server for tests and the demo" },
];

#[test]
fn nobody_imports_what_is_not_theirs_to_know() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    read(&here.join("src"), "crate", &mut sources);
    read(&here.join("../registry-client/src"), "registry", &mut sources);
    assert!(sources.len() > 60, "only {} files were found", sources.len());

    let mut used = BTreeSet::new();
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(file, module, text)| {
            violations(module, text, &mut used).into_iter().map(move |v| format!("{}: {v}", file.display()))
        })
        .collect();
    assert!(found.is_empty(), "{SENTENCE}\n\n{}", found.join("\n"));

    for (at, exception) in EXCEPTIONS.iter().enumerate() {
        let Exception { module, path, why } = exception;
        assert!(used.contains(&at), "`{module}` does not name {path} any more ({why}): the exception can go");
    }
}

#[test]
fn a_line_that_breaks_a_rule_is_seen() {
    let caught = |module: &str, text: &str| violations(module, text, &mut BTreeSet::new());
    for (module, text) in [
        ("crate::control", "use crate::worker::Worker;"),
        ("crate::control::pools", "fn f() { crate::upstream::Upstream::new(); }"),
        ("crate::control::pools", "use super::super::upstream;"),
        ("crate::downstream::http1", "use crate::{config::{settings::Policy, Config}, http::Head};"),
        ("crate::downstream::http1", "use outrigger_registry::Registry;"),
        ("crate::upstream::http2", "type X = ::reqwest::Client;"),
        ("crate::balance::p2c", "fn f() { let now = std::time::Instant::now(); }"),
        ("crate::balance::p2c", "use std::time::Instant;\nfn f() -> Instant { Instant::now() }"),
        ("crate::resilience::retry", "use tokio::time::sleep;"),
        ("crate::resilience::retry", "use crate::upstream::Broken;"),
        ("crate::snapshot", "use tokio::{sync::mpsc, net::TcpStream};"),
        ("crate::http::head", "use hyper::HeaderMap;"),
        ("crate::serve::accept", "pub struct Socket { socket: std::net::TcpListener }"),
        ("crate::serve::accept", "use std::net::{SocketAddr, TcpStream as Stream};"),
        ("registry::consul", "use outrigger::snapshot::Snapshot;"),
        ("crate::http::parse", "#[cfg(test)]\nmod tests;\nuse crate::net::Io;"),
        ("crate::http::write", "/* a */ use /* b */ crate :: // c\n net :: Io ;"),
    ] {
        assert_eq!(caught(module, text).len(), 1, "{module}: {text}: {:?}", caught(module, text));
    }
    for (module, text) in [
        ("crate::downstream::http1", "use crate::config::settings::Policy;"),
        ("crate::control", "// use crate::worker::Worker;\n//! [`crate::upstream`]"),
        ("crate::control", "const S: &str = \"crate::worker\"; const C: char = '\"';"),
        ("crate::control", "#[cfg(test)]\nmod tests { use crate::worker::Worker; }"),
        ("crate::control", "use super::workers::X;"),
        ("crate::balance", "fn f(now: std::time::Instant) {}"),
        ("crate::net", "use tokio::net::TcpStream;"),
        ("crate::http::buffer", "fn f<'a>(x: &'a str) -> &'a str { x }"),
    ] {
        assert_eq!(caught(module, text), Vec::<String>::new(), "{module}: {text}");
    }
}

/// Every source file below `dir`, its module and its text. Files of tests are left out.
fn read(dir: &Path, module: &str, into: &mut Vec<(PathBuf, String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let below = if matches!(name, "lib" | "main") { module.to_owned() } else { format!("{module}::{name}") };
        if matches!(name, "tests" | "testing") {
            continue;
        }
        if path.is_dir() {
            read(&path, &below, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push((path.clone(), below, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What a module names and must not; notes the exceptions that it made use of.
fn violations(module: &str, text: &str, used: &mut BTreeSet<usize>) -> Vec<String> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for path in paths(&tokens) {
        let path = absolute(module, path);
        let rules = RULES.iter().filter(|rule| rule.of.iter().any(|of| is_below(module, of)));
        let broken = rules
            .filter(|rule| !rule.but.iter().any(|but| matches(&path, but)))
            .any(|rule| rule.never.iter().any(|never| matches(&path, never)));
        let exception = || EXCEPTIONS.iter().position(|e| is_below(module, e.module) && matches(&path, e.path));
        match broken.then(exception) {
            None => {}
            Some(Some(at)) => {
                used.insert(at);
            }
            Some(None) => found.push(format!("`{module}` names `{}`", path.join("::"))),
        }
    }
    found
}

fn is_below(module: &str, above: &str) -> bool {
    module.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn matches(path: &[String], pattern: &str) -> bool {
    let wanted: Vec<&str> = pattern.split("::").collect();
    match wanted.split_first() {
        Some((&"*", rest)) => path.windows(rest.len()).any(|window| window == rest),
        _ => path.len() >= wanted.len() && path.iter().zip(&wanted).all(|(a, b)| a == b),
    }
}

/// A path from the crate's root.
fn absolute(module: &str, path: Vec<String>) -> Vec<String> {
    let mut base: Vec<String> = module.split("::").map(str::to_owned).collect();
    let mut rest = path.into_iter().peekable();
    match rest.peek().map(String::as_str) {
        Some("crate") => {
            rest.next();
            base.truncate(1);
        }
        Some("self" | "super") => {
            while let Some(step) = rest.next_if(|step| step == "self" || step == "super") {
                if step == "super" {
                    base.pop();
                }
            }
        }
        _ => base.clear(),
    }
    base.extend(rest);
    base
}

/// The paths of a text: those of its `use` trees, each spelled out, and those inside expressions and types.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_code(&tokens[at..]) {
            // Tests that stand in the file stand last in it; the others are a file that is not read.
            if tokens.get(at + 9).is_some_and(|t| t == "{") {
                break;
            }
            at += 9;
        }
        if tokens[at] == "use" {
            at = tree(tokens, at + 1, &[], &mut found);
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
            found.push(path);
        }
    }
    found
}

fn is_test_code(tokens: &[String]) -> bool {
    ["#", "[", "cfg", "(", "test", ")", "]", "mod"].iter().zip(tokens).filter(|(a, b)| *a == b).count() == 8
}

/// Spells out one tree of a `use`; says where it ends.
fn tree(tokens: &[String], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "as" => at += 2,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t == ","));
                }
                return at + 1;
            }
            "*" => at += 1,
            word if is_word(word) => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => break,
        }
    }
    found.push(path);
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
