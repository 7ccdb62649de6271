use proptest::prelude::*;

use super::has_dot_segment;

#[test]
fn dot_segments_are_found_however_they_are_written() {
    for bad in [
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/a//../b",
        "/%2e",
        "/%2E%2e/x",
        "/.%2e/x",
        "/%2e./x",
        "%2f..",
        "/a/..;x=1/b",
        "/a/..%2fb",
        "/a/..%5Cb",
        "/a/..\\b",
        "/a%2f../b",
        "/a\\..\\b",
        "/..;",
        "/a/%2e%2e%2fb",
    ] {
        assert!(has_dot_segment(bad.as_bytes()), "{bad}");
    }
    for good in [
        "",
        "*",
        "/",
        "//",
        "/a",
        "/.a",
        "/..a",
        "/a.",
        "/a..",
        "/...",
        "/%2e%2e%2e",
        "/.well-known/x",
        "/a%2fb",
        "/a%2",
        "/%",
        "/%2",
        "/a.b/..c/d..",
        "/%252e%252e/",
        "/a;b/c",
        "/;.",
    ] {
        assert!(!has_dot_segment(good.as_bytes()), "{good}");
    }
}

fn reference(path: &str) -> bool {
    let mut plain = path.replace('\\', "/");
    for (code, stands_for) in [("%2e", "."), ("%2E", "."), ("%2f", "/"), ("%2F", "/"), ("%5c", "/"), ("%5C", "/")] {
        plain = plain.replace(code, stands_for);
    }
    plain.split('/').skip(1).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

proptest! {
    #[test]
    fn the_scan_agrees_with_decoding_and_splitting(path in "/(\\.|/|%2e|%2E|%2f|%5C|%|2|e|;|a|\\\\){0,12}") {
        // Decoding may make a new code of what stands around an old one (`%%2e2e`), which the scan rightly leaves.
        prop_assume!(!path.contains("%%"));
        prop_assert_eq!(has_dot_segment(path.as_bytes()), reference(&path));
    }
}
