//! What the checks share: ranges, names that have to be declared, and where to put the blame.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::Build;
use crate::config::error::did_you_mean;
use crate::config::tree::Kind;
use crate::units::{Interval, Patience};

impl Build<'_> {
    pub(super) fn within(&mut self, path: &[&str], found: u32, range: RangeInclusive<u32>) {
        if !range.contains(&found) {
            self.blame(path, format!("found {found}, expected {} to {}", range.start(), range.end()));
        }
    }

    pub(super) fn some_time(&mut self, path: &[&str], found: Interval) {
        if found.0 == Duration::ZERO {
            self.blame(path, format!("found {found}, expected at least 1ms"));
        }
    }

    pub(super) fn some_patience(&mut self, path: &[&str], found: Patience) {
        if let Some(time) = found.0 {
            self.some_time(path, Interval(time));
        }
    }

    pub(super) fn known_service(&mut self, path: &[&str], name: &str) {
        if self.config.services.contains_key(name) {
            return;
        }
        let known = self.known(&["services"], &self.config.services);
        self.known_name(path, name, "service", "services", known);
    }

    pub(super) fn known_registry(&mut self, path: &[&str], name: &str) -> bool {
        let known = self.registry_names();
        self.known_name(path, name, "registry", "registries", known)
    }

    pub(super) fn known_name(
        &mut self,
        path: &[&str],
        name: &str,
        what: &str,
        section: &str,
        known: Vec<String>,
    ) -> bool {
        let found = known.iter().any(|k| k == name);
        if !found && !self.is_lost(section) {
            let hint = did_you_mean(name, known.iter().map(String::as_str));
            self.blame(path, format!("found `{name}`, expected a {what} that is declared under `{section}`{hint}"));
        }
        found
    }

    pub(super) fn only_registry(&mut self, path: &[&str], expected: &str) -> Option<Arc<str>> {
        let known = self.registry_names();
        match known.as_slice() {
            [only] => return Some(Arc::from(only.as_str())),
            _ if self.is_lost("registries") || self.tree.has_dead_key(path) => {}
            [] => self.blame(path, format!("there is no registry to find it in; expected {expected}")),
            many => {
                self.blame(path, format!("there are several registries ({}); expected {expected}", many.join(", ")))
            }
        }
        None
    }

    /// Whether a section was wrong as a whole, or may be what an unknown key was meant to be.
    pub(super) fn is_lost(&self, section: &str) -> bool {
        let mistyped = self.tree.at(&[section]).is_none() && self.tree.has_dead_key(&[]);
        mistyped || self.tree.is_dead(&[section])
    }

    pub(super) fn registry_names(&self) -> Vec<String> {
        self.known(&["registries"], &self.config.registries)
    }

    /// The keys under a path, those with errors and those that only the command line gave included.
    pub(super) fn known<T>(&self, path: &[&str], read: &BTreeMap<String, T>) -> Vec<String> {
        let mut known: BTreeSet<String> = self.tree.keys(path).into_iter().map(str::to_owned).collect();
        known.extend(read.keys().cloned());
        known.into_iter().collect()
    }

    /// The places in the file of a list's items.
    pub(super) fn places(&self, list: &[&str], len: usize) -> Vec<String> {
        self.tree.live_items(list, len)
    }

    /// Whether nothing at all is written in a list, not even something wrong.
    pub(super) fn nothing_in(&self, list: &[&str]) -> bool {
        let items = matches!(self.tree.at(list).map(|n| &n.kind), Some(Kind::List(items)) if !items.is_empty());
        !items && !self.tree.is_dead(list)
    }

    pub(super) fn blame(&mut self, path: &[&str], message: String) {
        self.errors.push(self.tree.error_at(path, message));
    }
}
