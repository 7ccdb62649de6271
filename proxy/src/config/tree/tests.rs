use proptest::prelude::*;

use super::{Kind, MAX_DEPTH, Node, Tree, join_keys};

fn parse(text: &str) -> Result<Tree, String> {
    let env = |name: &str| match name {
        "HOST" => Some("db-1".to_owned()),
        "EMPTY" => Some(String::new()),
        "NASTY" => Some("a: 1\nb: ${HOST}".to_owned()),
        _ => None,
    };
    Tree::parse(text, &env).map_err(|e| e.to_string())
}

fn text<'t>(tree: &'t Tree, path: &[&str]) -> &'t str {
    match tree.at(path).map(|n| &n.kind) {
        Some(Kind::Scalar { text, .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nodes_know_where_they_stand() {
    let tree = parse("a:\n  b: [x, {c: y}]\n").unwrap();
    let node = tree.at(&["a", "b", "1", "c"]).unwrap();
    assert_eq!((node.mark.line, node.mark.column), (2, 14));
    assert_eq!(tree.locate(node.id), ("a.b[1].c".to_owned(), Some(node.mark)));
    assert!(tree.at(&["a", "z"]).is_none());
    assert_eq!(join_keys(&["services", "a.b", "0"]), "services.\"a.b\"[0]");
}

#[test]
fn an_empty_file_is_nothing_and_json_is_yaml() {
    for empty in ["", "# only a comment\n", "---\n", "\u{feff}"] {
        assert!(matches!(parse(empty).unwrap().root.kind, Kind::Scalar { plain: true, .. }), "{empty:?}");
    }
    let tree = parse("{\"a\": [1, \"two\"],\n\t\"b\": null}").unwrap();
    assert_eq!(text(&tree, &["a", "1"]), "two");
}

#[test]
fn variables_are_put_into_values_and_stay_values() {
    let tree = parse("a: ${HOST}:80\nb: \"${NONE:-x}${EMPTY:-y}\"\nc: $${HOST}\nd: ${NASTY}\ne: ${EMPTY}\n").unwrap();
    assert_eq!(text(&tree, &["a"]), "db-1:80");
    assert_eq!(text(&tree, &["b"]), "xy");
    assert_eq!(text(&tree, &["c"]), "${HOST}");
    assert_eq!(text(&tree, &["d"]), "a: 1\nb: ${HOST}");
    assert_eq!(text(&tree, &["e"]), "");
    assert!(tree.errors.is_empty());
}

#[test]
fn each_bad_variable_is_told() {
    let tree = parse("a: ${NONE}\nb: ${\nc: ${A B}\nd: ok\n").unwrap();
    let told: Vec<_> = tree.errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("1:4: a: the environment variable NONE is not set"), "{told:?}");
    assert!(told[1].starts_with("2:4: b: found `${`, expected a `}`"), "{told:?}");
    assert!(told[2].starts_with("3:4: c: found `${A B}`"), "{told:?}");
}

#[test]
fn what_is_not_one_tree_is_refused() {
    for (bad, why) in [
        ("a: [", "1:"),
        ("a: 1\n---\nb: 2\n", "2:1: found a second document"),
        ("[a]: 1", "expected a key"),
        ("a: !secret x", "found the tag `!secret`"),
        ("a: *b", "1:4:"),
        ("{---", "1:"),
        ("a: {b: ${HOST}}", "stands in quotes"),
    ] {
        let error = parse(bad).unwrap_err();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let twice = parse("a: 1\nb: 2\na: 3\n").unwrap();
    assert_eq!(twice.errors[0].to_string(), "3:1: a: the key stands here again; it is already on line 1");
}

#[test]
fn aliases_repeat_and_do_not_explode() {
    let tree = parse("a: &x {b: 1}\nc: *x\n").unwrap();
    assert_eq!(text(&tree, &["c", "b"]), "1");
    let mut ids = Vec::new();
    collect(&tree.root, &mut ids);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "every node has an id of its own");

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let of = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{of}]\n"));
    }
    assert!(parse(&bomb).unwrap_err().contains("more than 200000 nodes"));
    assert!(parse("a: &x [*x]").is_err());
}

fn collect(node: &Node, ids: &mut Vec<u32>) {
    ids.push(node.id);
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => items.iter().for_each(|item| collect(item, ids)),
        Kind::Map(entries) => entries.iter().for_each(|(key, value)| {
            ids.push(key.id);
            collect(value, ids);
        }),
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().contains("within each other"));
    assert!(parse(&"[".repeat(1 << 20)).is_err());
    assert!(parse(&"- ".repeat(1 << 20)).is_err());
    assert!(parse(&"{a: ".repeat(1 << 18)).is_err());
    assert!(parse(&" ".repeat(super::MAX_BYTES + 1)).unwrap_err().contains("at most"));
    let chain = (1..40).fold("a0: &a0 [x]\n".to_owned(), |t, i| format!("{t}a{i}: &a{i} [*a{}]\n", i - 1));
    assert!(parse(&chain).unwrap_err().contains("within each other"));
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in "[\\[\\]{}:,&*!|>'\"#%@`\\-? \n\ta-c$0-9]{0,60}") {
        let _any = parse(&text);
    }

    #[test]
    fn no_bytes_are_too_odd(text in ".{0,60}") {
        let _any = parse(&text);
    }
}
