//! Faults: whether there may be any, how far they reach, and those that are there from the start.

use super::Build;
use crate::config::settings;
use crate::units::Share;

/// As many as a request may be held against without anybody noticing.
const MAX_ACTIVE: u32 = 100_000;

impl Build<'_> {
    pub(super) fn faults(&mut self) -> settings::FaultLimits {
        let faults = &self.config.faults;
        self.within(&["faults", "max_active"], faults.max_active, 1..=MAX_ACTIVE);
        self.some_time(&["faults", "max_ttl"], faults.max_ttl);
        for (key, share) in [("max_requests", faults.max_requests), ("max_endpoints", faults.max_endpoints)] {
            if !(0.0..=1.0).contains(&share.0) {
                self.blame(&["faults", key], format!("found {share}, expected 0% to {}", Share(1.0)));
            }
        }
        if faults.toxiproxy.enabled && !faults.enabled {
            let message = "found true beside `faults.enabled: false`; it injects faults, so it needs that lock open";
            self.blame(&["faults", "toxiproxy", "enabled"], message.into());
        }
        let indexes = self.places(&["faults", "start"], faults.start.len());
        for (index, spec) in indexes.iter().zip(&faults.start) {
            let path = ["faults", "start", index];
            if !faults.enabled {
                self.blame(&path, "stands beside `faults.enabled: false`, so it would never be there".into());
            }
            if let Some(service) = &spec.service {
                self.known_service(&["faults", "start", index, "service"], service);
            }
            if let Err(invalid) = spec.understand() {
                let keys: Vec<&str> = path.into_iter().chain(invalid.key.split('.')).collect();
                self.blame(&keys, invalid.message);
            }
        }
        settings::FaultLimits {
            enabled: faults.enabled,
            max_active: faults.max_active as usize,
            max_requests: faults.max_requests.0,
            max_endpoints: faults.max_endpoints.0,
            max_ttl: faults.max_ttl.0,
            audit_log: faults.audit_log.clone(),
            toxiproxy: faults.toxiproxy.enabled.then(|| settings::ToxiproxySettings {
                address: faults.toxiproxy.address.0,
                populate: faults.toxiproxy.populate.clone(),
                metrics: faults.toxiproxy.metrics,
                runtime_metrics: faults.toxiproxy.runtime_metrics,
            }),
            start: faults.start.clone(),
        }
    }
}
