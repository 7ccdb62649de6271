use proptest::prelude::*;

use super::{glob, normal};

#[test]
fn a_host_in_lower_case_is_not_copied() {
    assert!(matches!(normal("orders.local.:80"), std::borrow::Cow::Borrowed("orders.local")));
    assert_eq!(normal("[FE80::1]:80"), "[fe80::1]");
    assert_eq!(normal("[::1]"), "[::1]");
    assert_eq!(normal(":"), "");
}

fn naive(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        Some((byte, rest)) => text.first() == Some(byte) && naive(rest, &text[1..]),
    }
}

proptest! {
    #[test]
    fn globs_agree_with_trying_everything(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
        prop_assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), naive(pattern.as_bytes(), text.as_bytes()));
    }
}
