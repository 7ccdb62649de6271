//! Which file names what of which other file.
//!
//! A path is followed to where the thing is: through the names that `use` gives, here and in every module on the way. So a
//! re-export is no way around a rule, and a folder's front page does not make everyone who reads it know all of the folder.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;

use crate::source::{self, Source};

/// All modules.
pub struct Graph {
    modules: BTreeMap<String, Module>,
}

/// What one file names.
pub struct Module {
    /// Where it is.
    pub file: PathBuf,
    /// Paths, from the crate's root or from a crate of others.
    pub names: BTreeSet<Vec<String>>,
    /// The other files of ours that it needs something of, and what. What it only shows to others is for them to need.
    pub to: BTreeMap<String, String>,
}

/// From one folder to another: the file that names something, and what.
pub struct Edge {
    /// The module.
    pub from: String,
    /// The path of what it names.
    pub item: String,
}

/// The crate of the registries, as everybody names it. The proxy's is `crate` here, whoever names it.
pub const REGISTRY: &str = "outrigger_registry";
/// Renamed so often, it is a circle.
const RENAMES: usize = 16;

type Imports = HashMap<String, HashMap<String, Vec<String>>>;

impl Graph {
    /// Of these sources.
    pub fn new(sources: &[Source]) -> Self {
        let written: Vec<_> = sources.iter().map(|s| (s, source::named(&s.text))).collect();
        let mut imports: Imports = written.iter().map(|(s, _)| (s.module.clone(), HashMap::new())).collect();
        for (source, named) in &written {
            let known = named.imports.iter().map(|import| (import.name.clone(), import.path.clone())).collect();
            imports.insert(source.module.clone(), known);
        }
        let modules = written.iter().map(|(source, named)| {
            let follow = |path: &Vec<String>| followed(&imports, &source.module, path, 0);
            let (shown, own): (Vec<_>, Vec<_>) = named.imports.iter().partition(|import| import.shown);
            let needed = own.iter().map(|import| &import.path).chain(&named.paths);
            let needed: BTreeSet<_> = needed.map(follow).collect();
            let to = needed.iter().filter_map(|path| Some((home_of_item(&imports, path)?, path.join("::"))));
            let to = to.filter(|(module, _)| *module != source.module).collect();
            let names = shown.iter().map(|import| follow(&import.path)).chain(needed.iter().cloned()).collect();
            (source.module.clone(), Module { file: source.file.clone(), names, to })
        });
        Self { modules: modules.collect() }
    }

    /// Every module at or below one of these, with its path.
    pub fn below<'a>(&'a self, of: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a Module)> {
        let wanted = move |module: &str| of.iter().any(|of| is_below(module, of));
        self.modules.iter().map(|(path, module)| (path.as_str(), module)).filter(move |(path, _)| wanted(path))
    }

    /// Where a module is.
    pub fn file(&self, module: &str) -> String {
        self.modules.get(module).map_or_else(String::new, |module| module.file.display().to_string())
    }

    /// Every module that can be reached from one of these, themselves first, with the shortest way there.
    pub fn reached<'a>(&'a self, from: &[&'a str]) -> Vec<(&'a Module, Vec<&'a str>)> {
        let mut found = Vec::new();
        let mut seen: BTreeSet<&str> = from.iter().copied().collect();
        let mut queue: VecDeque<Vec<&str>> = from.iter().map(|start| vec![*start]).collect();
        while let Some(way) = queue.pop_front() {
            let Some(module) = way.last().and_then(|last| self.modules.get(*last)) else { continue };
            for next in module.to.keys() {
                if seen.insert(next) {
                    queue.push_back(way.iter().copied().chain([next.as_str()]).collect());
                }
            }
            found.push((module, way));
        }
        found
    }

    /// The folders of ours, and those that each of them names something of.
    pub fn folders(&self) -> BTreeMap<&str, BTreeMap<&str, Edge>> {
        let mut folders: BTreeMap<&str, BTreeMap<&str, Edge>> = BTreeMap::new();
        for (from, module) in &self.modules {
            let Some(folder) = folder(from) else { continue };
            let known = folders.entry(folder).or_default();
            for path in &module.names {
                let other = match (path[0].as_str(), path.get(1)) {
                    ("crate", Some(folder)) => folder,
                    // The other crate is a folder of its own.
                    (REGISTRY, Some(_)) => REGISTRY,
                    _ => continue,
                };
                if other != folder {
                    known.entry(other).or_insert_with(|| Edge { from: from.clone(), item: path.join("::") });
                }
            }
        }
        folders
    }

    /// Circles of folders, the shortest that each folder is part of, told with a file and an item for each step.
    pub fn circles(&self) -> Vec<String> {
        let folders = self.folders();
        let mut seen = BTreeSet::new();
        let mut told = Vec::new();
        for start in folders.keys() {
            let Some(circle) = circle(&folders, start) else { continue };
            if seen.insert(circle.iter().copied().collect::<BTreeSet<_>>()) {
                let steps = circle.iter().zip(circle.iter().cycle().skip(1)).map(|(from, to)| {
                    let Edge { from: module, item } = &folders[from][to];
                    format!("    {from} -> {to}: {} names {item}", self.modules[module].file.display())
                });
                told.push(format!("a circle:\n{}", steps.collect::<Vec<_>>().join("\n")));
            }
        }
        told
    }
}

/// The shortest way from a folder back to it.
fn circle<'a>(folders: &BTreeMap<&'a str, BTreeMap<&'a str, Edge>>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut seen = BTreeSet::new();
    let mut queue = VecDeque::from([vec![start]]);
    while let Some(way) = queue.pop_front() {
        for next in folders.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if *next == start {
                return Some(way);
            }
            if seen.insert(*next) {
                queue.push_back(way.iter().copied().chain([*next]).collect());
            }
        }
    }
    None
}

/// The top-level folder that a module of the proxy is in.
fn folder(module: &str) -> Option<&str> {
    module.strip_prefix("crate::")?.split("::").next()
}

/// Whether a module is another one, or below it.
pub fn is_below(module: &str, above: &str) -> bool {
    module.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The file that what a followed path names is in.
fn home(imports: &Imports, path: &[String]) -> Option<String> {
    let mut module = path.first().filter(|root| matches!(root.as_str(), "crate" | REGISTRY))?.clone();
    for step in &path[1..] {
        let below = format!("{module}::{step}");
        if !imports.contains_key(&below) {
            break;
        }
        module = below;
    }
    Some(module)
}

/// The same, where the path names something in it and not the module itself.
fn home_of_item(imports: &Imports, path: &[String]) -> Option<String> {
    home(imports, path).filter(|module| module.split("::").count() < path.len())
}

/// A path from the crate's root, or from that of another crate, to where the thing is.
fn followed(imports: &Imports, module: &str, path: &[String], renamed: usize) -> Vec<String> {
    let path = absolute(imports, module, path, renamed);
    let Some(home) = home(imports, &path) else { return path };
    let (steps, rest) = path.split_at(home.split("::").count());
    let elsewhere = rest.first().and_then(|item| imports.get(&steps.join("::"))?.get(item));
    match elsewhere {
        // A module that names its own import `super::X` has brought it in from its parent, not from itself.
        Some(import) if renamed < RENAMES && import != &path => {
            let import: Vec<String> = import.iter().chain(&rest[1..]).cloned().collect();
            followed(imports, &home, &import, renamed + 1)
        }
        _ => path,
    }
}

/// A path from a crate's root, as far as the module itself says what its first name means.
fn absolute(imports: &Imports, module: &str, path: &[String], renamed: usize) -> Vec<String> {
    // The program's root file is in the crate's root, as the library's is.
    let module = if module == "crate::main" { "crate" } else { module };
    let mut base: Vec<String> = module.split("::").map(str::to_owned).collect();
    let mut rest = path.iter().cloned().peekable();
    let Some(first) = path.first() else { return Vec::new() };
    match first.as_str() {
        "crate" => {
            rest.next();
            base.truncate(1);
        }
        "self" | "super" => {
            while let Some(step) = rest.next_if(|step| step == "self" || step == "super") {
                if step == "super" {
                    base.pop();
                }
            }
        }
        _ if imports.contains_key(&format!("{module}::{first}")) => {}
        _ => {
            let import = imports.get(module).and_then(|known| known.get(first));
            match import.filter(|import| import.first() != Some(first) && renamed < RENAMES) {
                Some(import) => {
                    rest.next();
                    base = followed(imports, module, import, renamed + 1);
                }
                None => {
                    base.clear();
                    if first == "outrigger" {
                        rest.next();
                        base.push("crate".to_owned());
                    }
                }
            }
        }
    }
    base.extend(rest);
    base
}
