//! What a route changes of requests and answers, who may call it, and who gets a copy.

use std::sync::Arc;

use super::Build;
use crate::config::settings::{Access, HeaderChanges, Mirror, PathChange, Substitution};
use crate::config::text::{HeaderName, HostPattern, Path};
use crate::config::written;
use crate::http::head::Name;
use crate::http::path::has_dot_segment;

/// Blocks of a list of addresses: each is looked at for each request.
const MAX_BLOCKS: usize = 1_000;
/// The longest value of a header field that is added.
const MAX_VALUE: usize = 4 << 10;
/// Lines that are added.
const MAX_LINES: usize = 64;

/// The keys that say what a path becomes.
#[derive(Clone, Copy)]
pub(super) struct PathKeys<'w> {
    pub path: Option<&'w Path>,
    pub prefix: Option<&'w Path>,
    pub regex: Option<&'w str>,
    pub with: Option<&'w str>,
}

impl PathKeys<'_> {
    pub fn are_none(&self) -> bool {
        self.path.is_none() && self.prefix.is_none() && self.regex.is_none() && self.with.is_none()
    }
}

impl Build<'_> {
    pub(super) fn rewritten(
        &mut self,
        index: &str,
        rewrite: &written::Rewrite,
        asked: Option<&written::PathMatch>,
    ) -> Option<PathChange> {
        let group = ["routes", index, "rewrite"];
        if let Some(host) = rewrite.host.as_ref().filter(|host| !is_authority(host)) {
            let message = format!("found `{host}`, expected a host, like `shop.internal` or `shop.internal:8080`");
            self.blame(&["routes", index, "rewrite", "host"], message);
        }
        let keys = PathKeys {
            path: rewrite.path.as_ref(),
            prefix: rewrite.prefix.as_ref(),
            regex: rewrite.regex.as_deref(),
            with: rewrite.with.as_deref(),
        };
        if rewrite.host.is_none() && keys.are_none() && !self.tree.is_damaged(&group) {
            self.blame(&group, "changes nothing; expected `host`, `path`, `prefix` or `regex`".into());
        }
        self.path_change(&group, keys, asked)
    }

    /// What a path becomes. `asked` is what the route's path has to be.
    pub(super) fn path_change(
        &mut self,
        group: &[&str],
        keys: PathKeys<'_>,
        asked: Option<&written::PathMatch>,
    ) -> Option<PathChange> {
        let several = [keys.path.is_some(), keys.prefix.is_some(), keys.regex.is_some()];
        if several.into_iter().filter(|is| *is).count() > 1 {
            self.blame(group, "found several of `path`, `prefix` and `regex`, expected one".into());
        }
        if keys.regex.is_some() != keys.with.is_some() && !self.tree.is_damaged(group) {
            self.blame(group, "`regex` says what is replaced and `with` what by: expected both".into());
        }
        if let (Some(regex), Some(with)) = (keys.regex, keys.with) {
            return self.substitution(group, regex, with);
        }
        if let Some(prefix) = keys.prefix {
            let of = match asked {
                None => "/",
                Some(written::PathMatch::Prefix(path)) => path.0.as_str(),
                Some(_) => {
                    let message =
                        "stands in the place of the route's prefix, and the route's `path` is none".to_owned();
                    self.blame(&[group, &["prefix"]].concat(), message);
                    return None;
                }
            };
            return Some(PathChange::Prefix(prefix.0.as_str().into(), of.into()));
        }
        keys.path.map(|path| PathChange::Whole(path.0.as_str().into()))
    }

    fn substitution(&mut self, group: &[&str], regex: &str, with: &str) -> Option<PathChange> {
        let at = |key: &'static str| [group, &[key]].concat();
        let made = match Substitution::new(regex, with) {
            Ok(made) => made,
            Err(message) => {
                self.blame(&at("regex"), message);
                return None;
            }
        };
        if let Some(group) = made.missing_group() {
            let message = format!(
                "found `${group}`, which is no group of `{regex}`; text right behind one needs braces: `$${{1}}x`"
            );
            self.blame(&at("with"), message);
        }
        let plain: String = with.chars().filter(|c| !"${}".contains(*c)).collect();
        if !with.starts_with(['/', '$']) || plain.chars().any(|c| !c.is_ascii_graphic() || "?#\"<>\\^`|".contains(c)) {
            let message =
                format!("found `{with}`, expected a path that starts with `/`, percent-encoded and without a query");
            self.blame(&at("with"), message);
        } else if has_dot_segment(plain.as_bytes()) {
            self.blame(&at("with"), format!("found `{with}`; a path with a `.` or `..` segment is never sent"));
        }
        Some(PathChange::Substitution(made))
    }

    pub(super) fn header_changes(
        &mut self,
        index: &str,
        key: &str,
        written: Option<&written::HeaderChanges>,
    ) -> HeaderChanges {
        let Some(written) = written else { return HeaderChanges::default() };
        let group = ["routes", index, key];
        if written.set.is_empty()
            && written.add.is_empty()
            && written.remove.is_empty()
            && !self.tree.is_damaged(&group)
        {
            self.blame(&group, "changes nothing; expected `set`, `add` or `remove`".into());
        }
        if written.set.len() + written.add.len() > MAX_LINES {
            self.blame(&group, format!("found more than {MAX_LINES} lines"));
        }
        let request = key == "request_headers";
        for (part, name) in
            written.set.keys().map(|name| ("set", name)).chain(written.add.keys().map(|name| ("add", name)))
        {
            self.changeable(&["routes", index, key, part, &name.0], name, request);
        }
        for (place, name) in
            self.places(&["routes", index, key, "remove"], written.remove.len()).iter().zip(&written.remove)
        {
            self.changeable(&["routes", index, key, "remove", place], name, request);
            if written.set.contains_key(name) {
                self.blame(
                    &["routes", index, key, "remove", place],
                    format!("found `{name}`, which is under `set`, too"),
                );
            }
        }
        for (part, (name, value)) in
            written.set.iter().map(|line| ("set", line)).chain(written.add.iter().map(|line| ("add", line)))
        {
            let path = ["routes", index, key, part, &name.0];
            if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
                self.blame(&path, "has a control character in its value".into());
            } else if value.trim_matches([' ', '\t']) != value {
                self.blame(&path, "has a blank at an end of its value, which is no part of it".into());
            } else if value.len() > MAX_VALUE {
                self.blame(&path, format!("found {} bytes, expected at most {MAX_VALUE}", value.len()));
            }
        }
        let text = |name: &HeaderName| Arc::<str>::from(name.0.as_str());
        let lines = written.set.iter().chain(&written.add);
        HeaderChanges {
            remove: written.remove.iter().chain(written.set.keys()).map(text).collect(),
            add: lines.map(|(name, value)| (text(name), value.as_str().into())).collect(),
        }
    }

    /// A field that is the proxy's own to write is nobody's to change.
    fn changeable(&mut self, path: &[&str], name: &HeaderName, request: bool) {
        let http = &self.config.http;
        let control = [&http.deadline_header, &http.priority_header, &http.caller_header];
        let why = match Name::of(name.0.as_bytes()) {
            Name::Connection
            | Name::ContentLength
            | Name::TransferEncoding
            | Name::KeepAlive
            | Name::Te
            | Name::Trailer
            | Name::Upgrade
            | Name::Http2Settings
            | Name::ProxyConnection
            | Name::ProxyAuthenticate
            | Name::ProxyAuthorization => "says how a message is framed or what holds for one connection alone",
            Name::Host if request => "is what `rewrite.host` is for",
            Name::Host | Name::Via | Name::XRequestId => "is the proxy's own to write",
            Name::Disguised => "looks like another field to many servers, and is never passed on",
            Name::Forwarded
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedProto
            | Name::GrpcTimeout
            | Name::XEnvoyAttempt
            | Name::XEnvoyExpected
            | Name::XEnvoyTimeout
            | Name::XOutriggerExplain
            | Name::Expect
            | Name::MaxForwards
                if request =>
            {
                "is the proxy's own to write"
            }
            Name::ProxyStatus | Name::OutriggerDegraded | Name::GrpcStatus if !request => {
                "says what became of the request, which is no route's to say"
            }
            _ if control.iter().any(|control| control.0 == name.0) => "is a control field (`http`)",
            _ => return,
        };
        self.blame(path, format!("found `{name}`, which {why}"));
    }

    pub(super) fn access(&mut self, path: &[&str], written: &written::Access) -> Option<Access> {
        if written.allow.is_empty() && written.deny.is_empty() && !self.tree.is_damaged(path) {
            self.blame(path, "says nothing; expected `allow` or `deny`".into());
        }
        for (key, blocks) in [("allow", &written.allow), ("deny", &written.deny)] {
            if blocks.len() > MAX_BLOCKS {
                let message = format!("found {} blocks, expected at most {MAX_BLOCKS}", blocks.len());
                self.blame(&[path, &[key]].concat(), message);
            }
        }
        let blocks = |written: &[crate::config::text::Cidr]| written.iter().map(|block| block.0.canonical()).collect();
        Some(Access {
            name: crate::config::tree::join_keys(path).into(),
            allow: blocks(&written.allow),
            deny: blocks(&written.deny),
        })
    }

    pub(super) fn mirror(&mut self, index: &str, written: &written::Mirror) -> Mirror {
        let at = |key: &'static str| ["routes", index, "mirror", key];
        self.known_service(&at("service"), &written.service);
        self.within(&at("max_in_flight"), written.max_in_flight, 1..=100_000);
        if !(written.share.0 > 0.0 && written.share.0 <= 1.0) {
            self.blame(&at("share"), format!("found {}, expected above 0% and at most 100%", written.share));
        }
        Mirror {
            service: written.service.as_str().into(),
            share: written.share.0,
            max_in_flight: written.max_in_flight,
        }
    }
}

/// Whether it is a host, with a port or without.
pub(super) fn is_authority(text: &str) -> bool {
    let plain = |host: &str| !host.starts_with('*') && host.parse::<HostPattern>().is_ok();
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            plain(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
        _ => plain(text),
    }
}
