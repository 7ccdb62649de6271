//! What a route changes of a request, of an answer's fields, and where it sends a client.
//!
//! What comes of it is as strict as what came: a path without dot segments, fields that nobody can read as two. A prefix is put
//! in the place of another by whole segments, so that `/cart` under `/` is `/1` for `/cart/1`, and not `//1`.

use std::borrow::Cow;

use crate::config::settings::{HeaderChanges, PathChange, Redirect};
use crate::http::head::{Name, Version};
use crate::http::path::has_dot_segment;
use crate::http::{Bad, Head};

/// What a path becomes, without its query. None for what may not be sent: a substitution may put a dot segment together.
pub fn path<'p>(change: &'p PathChange, path: &'p [u8]) -> Option<Cow<'p, [u8]>> {
    let made = match change {
        // `*`, of OPTIONS, is no path.
        _ if !path.starts_with(b"/") => Cow::Borrowed(path),
        PathChange::Whole(whole) => Cow::Borrowed(whole.as_bytes()),
        PathChange::Prefix(to, of) => match path.strip_prefix(of.as_bytes()) {
            // At the end of a segment, as a route takes it.
            Some(rest) if of.ends_with('/') || rest.is_empty() || rest.starts_with(b"/") => {
                Cow::Owned(joined(to.as_bytes(), of.as_bytes(), rest))
            }
            _ => Cow::Borrowed(path),
        },
        PathChange::Substitution(substitution) => {
            let made = substitution.of(path).map_or(Cow::Borrowed(path), Cow::Owned);
            if !made.starts_with(b"/") || has_dot_segment(&made) {
                return None;
            }
            made
        }
    };
    Some(made)
}

fn joined(to: &[u8], of: &[u8], rest: &[u8]) -> Vec<u8> {
    let to = to.strip_suffix(b"/").unwrap_or(to);
    // The slash between the two was the old prefix's last byte, or is the rest's first.
    let slash: &[u8] = if of.ends_with(b"/") || rest.is_empty() && to.is_empty() { b"/" } else { b"" };
    [to, slash, rest].concat()
}

/// Copies fields with their changes: those that stay in their order, and then those that are added.
pub fn headers(from: &Head, changes: &HeaderChanges, into: &mut Head) -> Result<(), Bad> {
    for (_, name, value) in from.fields() {
        if !changes.remove.iter().any(|gone| gone.len() == name.len() && name.eq_ignore_ascii_case(gone.as_bytes())) {
            into.push(name, value)?;
        }
    }
    changes.add.iter().try_for_each(|(name, value)| into.push(name.as_bytes(), value.as_bytes()))
}

/// A request's head with another target, another host and changed fields.
pub fn request(from: &Head, target: &[u8], host: &[u8], changes: &HeaderChanges) -> Result<Head, Bad> {
    let mut fields = Head::default();
    headers(from, changes, &mut fields)?;
    let mut head = Head::default();
    head.set_request(from.method(), target, from.version())?;
    if !host.is_empty() {
        head.push(b"Host", host)?;
    }
    for (known, name, value) in fields.fields() {
        if known != Name::Host {
            head.push(name, value)?;
        }
    }
    Ok(head)
}

/// An answer's head with changed fields.
pub fn answer(from: &Head, changes: &HeaderChanges) -> Result<Head, Bad> {
    let mut head = Head::default();
    head.set_status(from.status(), from.reason(), from.version())?;
    headers(from, changes, &mut head)?;
    Ok(head)
}

/// What a client asked for, as far as a redirect keeps it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// With its port; empty where none was stated.
    pub host: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    /// `?` and what stands behind it; empty where there is none.
    pub query: &'a [u8],
}

/// Where a redirect leads: always a whole URL where the host is known, or a path that begins with two slashes would lead to
/// another host. None where the path may not be sent.
pub fn location(redirect: &Redirect, asked: &Asked<'_>) -> Option<Vec<u8>> {
    let path = match &redirect.path {
        None => Cow::Borrowed(asked.path),
        Some(change) => path(change, asked.path)?,
    };
    let path: &[u8] = if path.starts_with(b"/") { &path } else { b"/" };
    let scheme = redirect.scheme.unwrap_or(asked.scheme);
    let host = match &redirect.host {
        Some(host) => host.as_bytes(),
        // A port is of its scheme.
        None if scheme != asked.scheme => without_port(asked.host),
        None => asked.host,
    };
    let mut location = Vec::with_capacity(scheme.len() + 3 + host.len() + path.len() + asked.query.len());
    if host.is_empty() {
        let rest = path.iter().position(|b| !matches!(b, b'/' | b'\\')).unwrap_or(path.len());
        location.push(b'/');
        encoded(&path[rest..], &mut location);
    } else {
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        encoded(host, &mut location);
        encoded(path, &mut location);
    }
    encoded(asked.query, &mut location);
    Some(location)
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|b| *b == b':') {
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

/// What a URL cannot hold as it is.
fn encoded(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => out.extend(format!("%{byte:02X}").bytes()),
            byte if byte.is_ascii_graphic() => out.push(*byte),
            byte => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
}

/// The version in which the proxy's own answers are written down.
pub const OWN: Version = Version::Http11;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::settings::Substitution;

    fn changed(change: &PathChange, of: &str) -> Option<String> {
        path(change, of.as_bytes()).map(|made| String::from_utf8(made.into_owned()).unwrap())
    }

    #[test]
    fn a_prefix_is_put_in_the_place_of_another_by_whole_segments() {
        for (of, to, asked, sent) in [
            ("/cart", "/", "/cart", "/"),
            ("/cart", "/", "/cart/1", "/1"),
            ("/cart", "/new", "/cart", "/new"),
            ("/cart", "/new", "/cart/1", "/new/1"),
            ("/cart", "/new/", "/cart", "/new"),
            ("/cart", "/new/", "/cart/1", "/new/1"),
            ("/cart/", "/new", "/cart/1", "/new/1"),
            ("/cart/", "/", "/cart/1", "/1"),
            ("/cart/", "/", "/cart//1", "//1"),
            ("/", "/shop", "/", "/shop/"),
            ("/", "/shop", "/cart", "/shop/cart"),
            ("/cart", "/new", "*", "*"),
        ] {
            let change = PathChange::Prefix(to.into(), of.into());
            assert_eq!(changed(&change, asked).as_deref(), Some(sent), "{of} -> {to}: {asked}");
        }
    }

    #[test]
    fn a_substitution_never_makes_a_path_that_would_have_been_refused() {
        let change = |text, with| PathChange::Substitution(Substitution::new(text, with).unwrap());
        assert_eq!(changed(&change("/old/(.*)", "/new/$1"), "/old/a"), Some("/new/a".into()));
        assert_eq!(changed(&change("/old/(.*)", "/new/$1"), "/other"), Some("/other".into()));
        assert_eq!(changed(&change("/a(.*)", "/$1"), "/a../x"), None, "a dot segment");
        assert_eq!(changed(&change("/a(.*)", "$1"), "/ax"), None, "no slash");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_replace_and_never_leads_to_a_host_that_the_path_names() {
        let to = |redirect: &Redirect, host: &str, path: &str, query: &str| {
            let asked = Asked { scheme: "http", host: host.as_bytes(), path: path.as_bytes(), query: query.as_bytes() };
            String::from_utf8(location(redirect, &asked).unwrap()).unwrap()
        };
        let none = Redirect { status: 308, scheme: None, host: None, path: None };
        let https = Redirect { scheme: Some("https"), ..none.clone() };
        assert_eq!(to(&https, "shop:8080", "/a", "?x=1"), "https://shop/a?x=1");
        assert_eq!(to(&https, "[::1]:80", "//evil/x", ""), "https://[::1]//evil/x");
        assert_eq!(to(&https, "[::1]", "*", ""), "https://[::1]/");
        let other = Redirect { host: Some("new.example:81".into()), ..none.clone() };
        assert_eq!(to(&other, "shop:8080", "/a", ""), "http://new.example:81/a");
        let moved = Redirect { path: Some(PathChange::Prefix("/b".into(), "/a".into())), ..none };
        assert_eq!(to(&moved, "shop:8080", "/a/x", "?"), "http://shop:8080/b/x?");
        assert_eq!(to(&moved, "", "//evil/x", ""), "/evil/x");
        assert_eq!(to(&moved, "", "/\\evil/x", ""), "/evil/x");
        assert_eq!(to(&moved, "shop", "/\u{e4}\"", ""), "http://shop/%C3%A4%22");
    }

    #[test]
    fn fields_are_removed_set_and_added_and_the_others_stay_in_their_order() {
        let mut head = Head::default();
        head.set_request(b"GET", b"/", OWN).unwrap();
        for (name, value) in [("Host", "a"), ("X-One", "1"), ("x-two", "2"), ("X-ONE", "3"), ("X-Three", "4")] {
            head.push(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let changes = HeaderChanges {
            remove: vec!["x-one".into(), "x-three".into()],
            add: vec![("x-one".into(), "new".into()), ("x-two".into(), "more".into())],
        };
        let made = request(&head, b"/b?c", b"other", &changes).unwrap();
        let lines: Vec<_> = made.fields().map(|(_, n, v)| [n, b":", v].concat()).collect();
        let lines: Vec<_> = lines.iter().map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(lines, ["Host:other", "x-two:2", "x-one:new", "x-two:more"]);
        assert_eq!((made.method(), made.target()), (&b"GET"[..], &b"/b?c"[..]));
        let long: Arc<str> = "x".repeat(40_000).into();
        let changes = HeaderChanges { remove: vec![], add: vec![("a".into(), Arc::clone(&long)), ("b".into(), long)] };
        assert_eq!(request(&head, b"/", b"a", &changes).unwrap_err(), Bad::TooLarge);
    }

    proptest! {
        #[test]
        fn what_a_path_becomes_is_a_path(
            to in "(/|/new|/new/|/a/b)", of in "(/|/cart|/cart/)", rest in "[a-z/%.]{0,12}",
        ) {
            let asked = format!("{of}{rest}");
            prop_assume!(!has_dot_segment(asked.as_bytes()));
            let made = changed(&PathChange::Prefix(to.as_str().into(), of.as_str().into()), &asked).unwrap();
            let whole = of.ends_with('/') || rest.is_empty() || rest.starts_with('/');
            prop_assert!(made.starts_with('/'), "{made}");
            prop_assert!(if whole { made.starts_with(to.trim_end_matches('/')) } else { made == asked }, "{made}");
            prop_assert!(!has_dot_segment(made.as_bytes()), "{made}");
        }
    }
}
