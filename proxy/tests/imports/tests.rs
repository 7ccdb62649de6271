//! The test of the test: for each kind of rule, something that breaks it is caught, and what only looks like it is not.

use super::*;

const ONE: Folder = Folder { name: "one", names: &["two"] };
const TWO: Folder = Folder { name: "two", names: &[] };

/// Modules with their texts.
fn graph(sources: &[(&str, &str)]) -> Graph {
    let source = |(module, text): &(&str, &str)| Source {
        file: format!("{}.rs", module.replace("::", "/")).into(),
        module: (*module).to_owned(),
        text: (*text).to_owned(),
    };
    Graph::new(&sources.iter().map(source).collect::<Vec<_>>())
}

fn rule(never: &'static [&'static str], but: &'static [&'static str], by_any_way: bool) -> Rule {
    Rule { says: "so it is", of: &["crate::one"], never, but, by_any_way }
}

#[track_caller]
fn tells(found: &[String], expected: &[&str]) {
    let fits = found.len() == expected.len() && found.iter().zip(expected).all(|(found, part)| found.contains(part));
    assert!(fits, "found {found:#?}\nexpected {expected:#?}");
}

#[test]
fn a_folder_names_those_of_its_list_and_a_list_is_no_longer_than_it_has_to_be() {
    let good =
        [("crate::one", "use crate::two::X;"), ("crate::two::x", "struct X;"), ("crate::two", "pub use x::X; mod x;")];
    tells(&unlisted(&graph(&good), &[ONE, TWO]), &[]);
    tells(&unlisted(&graph(&good), &[ONE]), &["`two` has no rule"]);
    tells(&unlisted(&graph(&good), &[ONE, TWO, Folder { name: "three", names: &[] }]), &["no `three` any more"]);
    let back = [("crate::one", "use crate::two::X;"), ("crate::two::x", "fn f() { crate::one::g(); }")];
    tells(
        &unlisted(&graph(&back), &[ONE, TWO]),
        &["crate/two/x.rs: `two` may not name `one`, and names `crate::one::g`"],
    );
    let idle = [("crate::one", "struct A;"), ("crate::two", "struct X;")];
    tells(&unlisted(&graph(&idle), &[ONE, TWO]), &["`one` does not name `two` any more"]);
}

#[test]
fn a_list_has_only_what_stands_below() {
    assert_eq!(above(&[ONE, TWO]), Vec::<String>::new());
    tells(&above(&[TWO, ONE]), &["`two` does not stand below `one`"]);
    tells(&above(&[ONE]), &["`two` does not stand below `one`"]);
    assert_eq!(above(&[Folder { name: "one", names: &[REGISTRY] }]), Vec::<String>::new());
}

#[test]
fn a_name_that_is_shown_elsewhere_is_followed_to_where_it_is() {
    let hidden = [
        ("crate::one", "use crate::two::Y; fn f(y: Y) { Y::new(); }"),
        ("crate::two", "pub use crate::three::Y as Y;"),
        ("crate::three", "pub struct Y;"),
    ];
    let rules = [ONE, Folder { name: "two", names: &["three"] }, Folder { name: "three", names: &[] }];
    tells(&unlisted(&graph(&hidden), &rules), &["`one` may not name `three`", "`one` does not name `two`"]);
}

#[test]
fn a_circle_is_told_with_a_file_and_an_item_for_each_step() {
    let circle = [
        ("crate::one::a", "use crate::two::X;"),
        ("crate::two", "pub struct X; fn f() { super::three::g() }"),
        ("crate::three::c", "use crate::one::a::A;"),
        ("crate::three", "pub fn g() {}"),
        ("crate::four", "use crate::one::a::A;"),
    ];
    let told = graph(&circle).circles();
    assert_eq!(told.len(), 1, "{told:?}");
    for step in [
        "one -> two: crate/one/a.rs names crate::two::X",
        "two -> three: crate/two.rs names crate::three::g",
        "three -> one: crate/three/c.rs names crate::one::a::A",
    ] {
        assert!(told[0].contains(step), "{}", told[0]);
    }
    let line = [("crate::one", "use crate::two::X;"), ("crate::two", "use crate::three::Y;"), ("crate::three", "")];
    assert_eq!(graph(&line).circles(), Vec::<String>::new());
}

#[test]
fn what_is_never_reached_is_not_reached_through_others_either() {
    let far = [
        ("crate::one", "use crate::two::X;"),
        ("crate::two", "use crate::three::Y; pub struct X(Y);"),
        ("crate::three", "pub struct Y(tokio::net::TcpStream);"),
    ];
    let told = broken(&graph(&far), &rule(&["tokio"], &["tokio::sync"], true));
    tells(&told, &["crate/three.rs: crate::one -> crate::two -> crate::three names `tokio::net::TcpStream`; so it is"]);
    tells(&broken(&graph(&far), &rule(&["tokio"], &[], false)), &[]);
    // A folder's front page is not all that it shows.
    let front = [
        ("crate::one", "use crate::two::X;"),
        ("crate::two", "pub use self::loud::Loud; pub(crate) mod loud; pub struct X;"),
        ("crate::two::loud", "pub struct Loud(tokio::net::TcpStream);"),
    ];
    tells(&broken(&graph(&front), &rule(&["tokio"], &[], true)), &[]);
    let named = [("crate::one", "use crate::two::Loud;"), front[1], front[2]];
    tells(&broken(&graph(&named), &rule(&["tokio"], &[], true)), &["crate::one -> crate::two::loud names"]);
    tells(&broken(&graph(&[("crate::two", "")]), &rule(&["tokio"], &[], true)), &["there is no `crate::one` any more"]);
}

#[test]
fn what_is_named_in_some_places_is_named_in_those_alone() {
    let places =
        Places { says: "so it is", what: &["*::TcpListener"], only: &["crate::one", "outrigger_registry::two"] };
    let good = [
        ("crate::one::a", "use tokio::net::TcpListener;"),
        ("outrigger_registry::two", "fn f(x: std::net::TcpListener) {}"),
        ("crate::three", "use crate::one::a;"),
    ];
    tells(&misplaced(&graph(&good), &places), &[]);
    let bad = [good[0], good[1], ("crate::three", "use std::net::{SocketAddr, TcpListener as Stream};")];
    tells(
        &misplaced(&graph(&bad), &places),
        &["crate/three.rs: `crate::three` names `std::net::TcpListener`; so it is"],
    );
    tells(&misplaced(&graph(&good[..1]), &places), &["`outrigger_registry::two` does not do so any more"]);
}

#[test]
fn a_line_that_names_something_is_seen_however_it_is_written() {
    const TREE: &[(&str, &str)] =
        &[("crate", ""), ("crate::two", ""), ("crate::two::deep", ""), ("outrigger_registry", "")];
    let caught = |text: &str, never: &'static [&'static str], but: &'static [&'static str]| {
        let mut sources = TREE.to_vec();
        sources.push(("crate::one", "use self::below::Other;"));
        sources.push(("crate::one::below", text));
        broken(&graph(&sources), &rule(never, but, false)).len()
    };
    for (text, never) in [
        ("use crate::two::X;", &["crate::two"][..]),
        ("fn f() { crate::two::X::new(); }", &["crate::two"]),
        ("use super::super::two;", &["crate::two"]),
        ("use crate::{two::{deep::Y, X as Z}, three::T};", &["crate::two::deep"]),
        ("use crate::two as other; fn f() { other::deep::g() }", &["crate::two::deep"]),
        ("use crate::two::*;", &["crate::two"]),
        ("use outrigger::two::X;", &["crate::two"]),
        ("use outrigger_registry::Registry;", &["outrigger_registry"]),
        ("type X = ::reqwest::Client;", &["reqwest"]),
        ("fn f() { let now = std::time::Instant::now(); }", &["*::Instant::now"]),
        ("use std::time::Instant;\nfn f() -> Instant { Instant::now() }", &["*::Instant::now"]),
        ("fn f(then: Instant) -> Duration { then.elapsed() }", &[".elapsed"]),
        ("use tokio::{sync::mpsc, net::TcpStream};", &["tokio::net"]),
        ("#[cfg(test)]\nmod tests;\nuse crate::two::X;", &["crate::two"]),
        ("#[cfg(test)]\nuse std::fs;\nuse crate::two::X;", &["crate::two"]),
        ("#[cfg(test)]\nfn f() { if x { y(); } }\nfn g() { crate::two::h() }", &["crate::two"]),
        ("/* a */ use /* b */ crate :: // c\n two :: X ;", &["crate::two"]),
        ("pub(crate) use crate::two::X;", &["crate::two"]),
    ] {
        assert_eq!(caught(text, never, &[]), 1, "{text}");
    }
    for (text, never, but) in [
        ("use crate::two::deep::Y;", &["crate::two"][..], &["crate::two::deep"][..]),
        ("// use crate::two::X;\n//! [`crate::two`]", &["crate::two"], &[]),
        ("const S: &str = \"crate::two::X\"; const C: char = '\"';", &["crate::two"], &[]),
        ("#[cfg(test)]\nmod tests { use crate::two::X; }", &["crate::two"], &[]),
        ("#[cfg(test)]\nuse crate::two::X;", &["crate::two"], &[]),
        ("#[cfg(test)]\nfn f() { if x { crate::two::g(); } }", &["crate::two"], &[]),
        ("use super::twos::X;", &["crate::two"], &[]),
        ("fn f(now: std::time::Instant) {}", &["*::Instant::now"], &[]),
        ("fn f(tokio: u8) -> u8 { tokio }", &["tokio"], &[]),
        ("fn f<'a>(x: &'a str) -> &'a str { x } pub(crate) fn g() {}", &["crate::two"], &[]),
        ("fn f(now: u64) { let elapsed = now; g(elapsed) }", &[".elapsed"], &[]),
        ("pub mod below;", &["crate::one::below::below"], &[]),
    ] {
        assert_eq!(caught(text, never, but), 0, "{text}");
    }
}
