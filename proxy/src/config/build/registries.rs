//! Where services are found.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Build;
use crate::config::settings::RegistrySettings;
use crate::config::written::{self, RegistryKind};

impl Build<'_> {
    pub(super) fn registries(&mut self) -> BTreeMap<Arc<str>, RegistrySettings> {
        let config = self.config;
        config
            .registries
            .iter()
            .filter_map(|(name, r)| Some((Arc::from(name.as_str()), self.registry(name, r)?)))
            .collect()
    }

    fn registry(&mut self, name: &str, written: &written::Registry) -> Option<RegistrySettings> {
        let kind = written.kind.or(match name {
            "consul" => Some(RegistryKind::Consul),
            "file" => Some(RegistryKind::File),
            _ => None,
        });
        let path = ["registries", name];
        match kind {
            None => {
                if !self.tree.is_dead(&["registries", name, "type"]) && !self.tree.has_dead_key(&path) {
                    self.blame(&path, "the key `type` is missing, expected `consul` or `file`".into());
                }
                None
            }
            Some(RegistryKind::Consul) => {
                if written.path.is_some() {
                    self.blame(&["registries", name, "path"], "is a key of `type: file`, and this is `consul`".into());
                }
                if let Some(address) = &written.address
                    && let Err(message) = consul_address(address)
                {
                    self.blame(&["registries", name, "address"], message);
                }
                Some(RegistrySettings::Consul {
                    address: written.address.clone(),
                    token_file: written.token_file.clone(),
                    datacenter: written.datacenter.clone(),
                    max_stale: written.max_stale.map(|s| s.0),
                    include_warning: written.include_warning.unwrap_or(true),
                })
            }
            Some(RegistryKind::File) => {
                let of_consul = [
                    ("address", written.address.is_some()),
                    ("token_file", written.token_file.is_some()),
                    ("datacenter", written.datacenter.is_some()),
                    ("max_stale", written.max_stale.is_some()),
                    ("include_warning", written.include_warning.is_some()),
                ];
                for (key, _) in of_consul.iter().filter(|(_, given)| *given) {
                    self.blame(&["registries", name, key], "is a key of `type: consul`, and this is `file`".into());
                }
                if written.path.is_none() && !self.tree.is_dead(&["registries", name, "path"]) {
                    self.blame(&path, "the key `path` is missing".into());
                }
                Some(RegistrySettings::File { path: written.path.clone()? })
            }
        }
    }
}

fn consul_address(address: &str) -> Result<(), String> {
    let expected = "expected `http://host:port`, `https://host:port` or `unix:///path`";
    let wrong = || format!("found `{address}`, {expected}");
    if let Some(path) = address.strip_prefix("unix://") {
        return if path.starts_with('/') { Ok(()) } else { Err(wrong()) };
    }
    // As Consul's own tools take it, the scheme may be left out.
    let full = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let uri: http::Uri = full.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() && uri.query().is_none() => Ok(()),
        _ => Err(wrong()),
    }
}
