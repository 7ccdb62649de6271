//! Where a route leads: to a service, to several, elsewhere, or nowhere.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use super::Build;
use super::changes::is_authority;
use super::policies::policy;
use crate::config::settings::{self, FallbackAnswer, HashBy, Leads, Part, Redirect, ServiceSettings};
use crate::config::written;

/// The largest weight of a part: sums of them stay exact.
const MAX_WEIGHT: u32 = 1_000_000;

impl Build<'_> {
    pub(super) fn leads(
        &mut self,
        index: &str,
        written: &written::Route,
        services: &BTreeMap<Arc<str>, ServiceSettings>,
    ) -> Leads {
        let path = ["routes", index];
        let ways =
            [written.service.is_some(), written.split.is_some(), written.redirect.is_some(), written.answer.is_some()];
        match ways.iter().filter(|way| **way).count() {
            1 => {}
            0 if self.tree.has_dead_key(&path)
                || ["service", "split", "redirect", "answer"]
                    .iter()
                    .any(|key| self.tree.is_dead(&["routes", index, key])) => {}
            0 => self.blame(&path, "leads nowhere, expected one of `service`, `split`, `redirect` and `answer`".into()),
            _ => self.blame(&path, "found several of `service`, `split`, `redirect` and `answer`, expected one".into()),
        }
        self.sticky(index, written);
        if let Some(redirect) = &written.redirect {
            self.answers_alone(index, written, "redirect");
            return Leads::Redirect(self.redirect(index, redirect, written.path.as_ref()));
        }
        if let Some(answer) = &written.answer {
            self.answers_alone(index, written, "answer");
            return Leads::Answer(self.fixed(index, answer));
        }
        let parts = match (&written.split, &written.service) {
            (Some(split), _) => self.split(index, written, split, services),
            (None, service) => {
                let service = service.as_deref().unwrap_or_default();
                if written.service.is_some() {
                    self.known_service(&["routes", index, "service"], service);
                    self.fallback_to_itself(&path, service, &written.policies());
                }
                vec![self.part(written, service, 1, services)]
            }
        };
        if let Some(part) = parts.first() {
            self.hash_and_balance(&path, &written.policies(), &part.policy);
        }
        Leads::To { parts, sticky: written.sticky.as_ref().and_then(hash_by) }
    }

    fn split(
        &mut self,
        index: &str,
        written: &written::Route,
        split: &[written::Part],
        services: &BTreeMap<Arc<str>, ServiceSettings>,
    ) -> Vec<Part> {
        let list = ["routes", index, "split"];
        let mut seen = HashSet::new();
        for (place, part) in self.places(&list, split.len()).iter().zip(split) {
            let at = |key: &'static str| ["routes", index, "split", place.as_str(), key];
            self.known_service(&at("service"), &part.service);
            self.within(&at("weight"), part.weight, 0..=MAX_WEIGHT);
            if !seen.insert(&part.service) {
                let message = format!("found `{}` again; to send it more, give it a larger `weight`", part.service);
                self.blame(&at("service"), message);
            }
            self.fallback_to_itself(&["routes", index], &part.service, &written.policies());
        }
        if split.iter().all(|part| part.weight == 0) && !self.tree.is_damaged(&list) {
            let message = match split.is_empty() {
                true => "found none, expected services and their weights",
                false => "the weights sum to zero, so that no request would go anywhere; expected one above 0",
            };
            self.blame(&list, message.into());
        }
        split.iter().map(|part| self.part(written, &part.service, part.weight, services)).collect()
    }

    fn part(
        &self,
        written: &written::Route,
        service: &str,
        weight: u32,
        services: &BTreeMap<Arc<str>, ServiceSettings>,
    ) -> Part {
        let of_service = self.config.services.get(service).map(written::Service::policies).unwrap_or_default();
        Part {
            service: services.get_key_value(service).map_or_else(|| service.into(), |(name, _)| Arc::clone(name)),
            weight,
            policy: policy(&[written.policies(), of_service, self.config.defaults.policies()]),
        }
    }

    fn sticky(&mut self, index: &str, written: &written::Route) {
        let Some(sticky) = &written.sticky else { return };
        let path = ["routes", index, "sticky"];
        if written.split.is_none() {
            self.blame(&path, "stands without `split`: there is nothing to choose from".into());
        }
        self.hash_by(&path, sticky);
    }

    /// One key, and one that says something.
    pub(super) fn hash_by(&mut self, path: &[&str], by: &written::HashBy) {
        let keys = [by.header.is_some(), by.cookie.is_some(), by.path == Some(true), by.address == Some(true)];
        if keys.into_iter().filter(|is| *is).count() != 1 && !self.tree.is_damaged(path) {
            self.blame(path, "expected one of `header: NAME`, `cookie: NAME`, `path: true` and `address: true`".into());
        }
        if let Some(name) = &by.cookie
            && (name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && !b"=;,\"".contains(&b)))
        {
            self.blame(&[path, &["cookie"]].concat(), format!("found `{name}`, expected a cookie's name"));
        }
    }

    /// What means nothing where the proxy answers by itself.
    fn answers_alone(&mut self, index: &str, written: &written::Route, way: &str) {
        let policies = serde_json::to_value(written.policies()).unwrap_or_default();
        let mut idle: Vec<String> = policies
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| key.clone())
            .collect();
        for (key, is) in [
            ("rewrite", written.rewrite.is_some()),
            ("request_headers", written.request_headers.is_some()),
            ("mirror", written.mirror.is_some()),
        ] {
            if is {
                idle.push(key.to_owned());
            }
        }
        for key in idle {
            let message = format!("means nothing beside `{way}`: no service is asked");
            self.blame(&["routes", index, &key], message);
        }
    }

    fn redirect(&mut self, index: &str, redirect: &written::Redirect, asked: Option<&written::PathMatch>) -> Redirect {
        let at = |key: &'static str| ["routes", index, "redirect", key];
        if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
            let message = format!("found {}, expected 301, 302, 303, 307 or 308", redirect.status);
            self.blame(&at("status"), message);
        }
        if let Some(host) = redirect.host.as_ref().filter(|host| !is_authority(host)) {
            let message = format!("found `{host}`, expected a host, like `shop.example` or `shop.example:8443`");
            self.blame(&at("host"), message);
        }
        let keys = super::changes::PathKeys {
            path: redirect.path.as_ref(),
            prefix: redirect.prefix.as_ref(),
            regex: redirect.regex.as_deref(),
            with: redirect.with.as_deref(),
        };
        let group = ["routes", index, "redirect"];
        if redirect.scheme.is_none() && redirect.host.is_none() && keys.are_none() && !self.tree.is_damaged(&group) {
            let message = "sends the client where it came from; expected `scheme`, `host`, `path`, `prefix` or `regex`";
            self.blame(&group, message.into());
        }
        Redirect {
            status: redirect.status,
            scheme: redirect.scheme.map(|scheme| match scheme {
                written::Scheme::Http => "http",
                written::Scheme::Https => "https",
            }),
            host: redirect.host.as_deref().map(Arc::from),
            path: self.path_change(&group, keys, asked),
        }
    }

    fn fixed(&mut self, index: &str, answer: &written::Fixed) -> FallbackAnswer {
        let group = ["routes", index, "answer"];
        self.fixed_answer(&group, answer.status, answer.headers.as_ref(), answer.body.as_deref());
        settings::FallbackAnswer {
            status: answer.status.unwrap_or(200),
            headers: answer.headers.iter().flatten().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect(),
            body: answer.body.clone().unwrap_or_default().into_bytes().into(),
        }
    }
}

/// What it means; none where it says nothing or more than one thing, which is told elsewhere.
pub(super) fn hash_by(by: &written::HashBy) -> Option<HashBy> {
    match (&by.header, &by.cookie) {
        (Some(name), _) => Some(HashBy::Header(name.0.as_str().into())),
        (_, Some(name)) => Some(HashBy::Cookie(name.as_str().into())),
        _ if by.path == Some(true) => Some(HashBy::Path),
        _ => (by.address == Some(true)).then_some(HashBy::Address),
    }
}
