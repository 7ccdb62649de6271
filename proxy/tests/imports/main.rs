//! Who may import whom, read off the sources.
//!
//! The two halves of the proxy meet in one joint and nowhere else, and every policy is a function of what it is handed:
//! that is what makes a policy testable in virtual time, and a half replaceable. Nothing in the compiler keeps it so,
//! and the first `use` that breaks it looks harmless. This test reads every path of every module, tests left out, follows
//! it to the file that has what it names, and holds what it finds against three kinds of rules:
//!
//! - every folder has the list of those that it may name, all of which stand below it ([`FOLDERS`]), so that there is no
//!   circle of folders;
//! - some never reach something, by whatever way ([`RULES`]);
//! - some things are named in some places alone ([`PLACES`]).
//!
//! There is no list of exceptions: what is allowed is part of a rule, and a rule that nobody needs any more fails, too.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what is wrong by ending")]

mod graph;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::path::Path;

use graph::{Graph, REGISTRY, is_below};
use rules::{FOLDERS, Folder, PLACES, Places, RULES, Rule};
use source::Source;

const SENTENCE: &str = "`main -> cli -> app -> {control, serve, admin, drain, telemetry, config}`; `serve -> downstream -> forward -> \
    worker -> upstream -> request`, never back up; `control` never any of those; they never `control`, the registry crate, \
    `config` (but its settings) or reqwest; `balance`, `resilience`, `route`, `snapshot`, `error` never tokio I/O, hyper or a \
    clock (`Instant` is an argument); `outrigger-registry` nothing of ours; no circle between folders. The rules are in \
    proxy/tests/imports/rules.rs.";

fn sources() -> Vec<Source> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    source::read(&here.join("src"), "crate", &mut sources);
    source::read(&here.join("../registry-client/src"), REGISTRY, &mut sources);
    assert!(sources.len() > 250, "only {} files were found", sources.len());
    sources
}

#[test]
fn nobody_imports_what_is_not_theirs_to_know() {
    let graph = Graph::new(&sources());
    let mut found = above(FOLDERS);
    found.extend(unlisted(&graph, FOLDERS));
    found.extend(RULES.iter().flat_map(|rule| broken(&graph, rule)));
    found.extend(PLACES.iter().flat_map(|places| misplaced(&graph, places)));
    assert!(found.is_empty(), "{SENTENCE}\n\n{}", found.join("\n"));
}

#[test]
fn there_is_no_circle_of_folders() {
    let circles = Graph::new(&sources()).circles();
    assert!(circles.is_empty(), "{SENTENCE}\n\n{}", circles.join("\n"));
}

/// Names that stand above whoever names them.
fn above(rules: &[Folder]) -> Vec<String> {
    let all = [REGISTRY].into_iter().chain(rules.iter().map(|rule| rule.name));
    let place = |name: &str| all.clone().position(|other| other == name);
    let pairs = rules.iter().flat_map(|rule| rule.names.iter().map(move |other| (rule.name, *other)));
    pairs
        .filter(|(name, other)| *other != REGISTRY && place(other) <= place(name))
        .map(|(name, other)| format!("`{other}` does not stand below `{name}`, which may name it"))
        .collect()
}

/// Folders without a rule, what they name and may not, and what they may name and do not.
fn unlisted(graph: &Graph, rules: &[Folder]) -> Vec<String> {
    let folders = graph.folders();
    let mut found = Vec::new();
    for (folder, names) in &folders {
        let Some(rule) = rules.iter().find(|rule| rule.name == *folder) else {
            found.push(format!("`{folder}` has no rule: say what it may name"));
            continue;
        };
        for (other, edge) in names.iter().filter(|(other, _)| !rule.names.contains(other)) {
            let file = graph.file(&edge.from);
            found.push(format!("{file}: `{folder}` may not name `{other}`, and names `{}`", edge.item));
        }
        for other in rule.names.iter().filter(|other| !names.contains_key(*other)) {
            found.push(format!("`{folder}` does not name `{other}` any more: that can go from its list"));
        }
    }
    let gone = rules.iter().filter(|rule| !folders.contains_key(rule.name));
    found.extend(gone.map(|rule| format!("there is no `{}` any more: its rule can go", rule.name)));
    found
}

/// What the modules of a rule name, or reach, and must not.
fn broken(graph: &Graph, rule: &Rule) -> Vec<String> {
    let never = |path: &[String]| {
        rule.never.iter().any(|never| matches(path, never)) && !rule.but.iter().any(|but| matches(path, but))
    };
    // What is itself not to be reached is told of whoever names it.
    let is_told = |module: &str| never(&module.split("::").map(str::to_owned).collect::<Vec<_>>());
    let own: Vec<_> = graph.below(rule.of).collect();
    let reached = if rule.by_any_way {
        graph.reached(&own.iter().map(|(path, _)| *path).collect::<Vec<_>>())
    } else {
        own.into_iter().map(|(path, module)| (module, vec![path])).collect()
    };
    let mut found = Vec::new();
    for (module, way) in reached.into_iter().filter(|(_, way)| !way.last().is_some_and(|last| is_told(last))) {
        let (file, way) = (module.file.display(), way.join(" -> "));
        let named = module.names.iter().filter(|path| never(path)).map(|path| path.join("::"));
        found.extend(named.map(|path| format!("{file}: {way} names `{path}`; {}", rule.says)));
    }
    let missing = rule.of.iter().filter(|of| graph.below(&[of]).next().is_none());
    found.extend(missing.map(|of| format!("there is no `{of}` any more: {}", rule.says)));
    found
}

/// Whoever names what is named in some places alone, and places that do not.
fn misplaced(graph: &Graph, places: &Places) -> Vec<String> {
    let mut found = Vec::new();
    let mut idle: BTreeSet<&str> = places.only.iter().copied().collect();
    for (at, module) in graph.below(&["crate", REGISTRY]) {
        for path in module.names.iter().filter(|path| places.what.iter().any(|what| matches(path, what))) {
            match places.only.iter().find(|only| is_below(at, only)) {
                Some(only) => {
                    idle.remove(only);
                }
                None => {
                    found.push(format!(
                        "{}: `{at}` names `{}`; {}",
                        module.file.display(),
                        path.join("::"),
                        places.says
                    ));
                }
            }
        }
    }
    found.extend(idle.iter().map(|place| format!("`{place}` does not do so any more: {}", places.says)));
    found
}

/// Whether a path begins with a pattern, or has it anywhere, where it begins with `*`. A word alone is a name of something
/// in its own module, whatever it is called.
fn matches(path: &[String], pattern: &str) -> bool {
    let wanted: Vec<&str> = pattern.split("::").collect();
    match wanted.split_first() {
        Some((&"*", rest)) => path.windows(rest.len()).any(|window| window == rest),
        Some((method, _)) if method.starts_with('.') => path == [pattern],
        _ => path.len() > 1 && path.len() >= wanted.len() && path.iter().zip(&wanted).all(|(a, b)| a == b),
    }
}

#[cfg(test)]
mod tests;
