//! How numbers are told.

use std::collections::BTreeMap;

/// `71 %`, `99.9 %`. Cut, not rounded, so that 100 % is said of nothing less.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    match (tenths / 10, tenths % 10) {
        (percent, 0) => format!("{percent} %"),
        (percent, tenth) => format!("{percent}.{tenth} %"),
    }
}

/// `retry 12, other endpoint 3`, the most first.
pub fn kinds(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let counts = counts.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " ")));
    counts.collect::<Vec<_>>().join(", ")
}

/// `12 x status 503, 3 x no answer within 700ms`, the most first.
pub fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    counts.iter().map(|(name, count)| format!("{count} x {name}")).collect::<Vec<_>>().join(", ")
}

/// Text as it stands in XML and HTML, also within quotes. What XML cannot say is left out.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// `1 row`, `2 rows`.
pub fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_up() {
        assert_eq!(percent(71, 100), "71 %");
        assert_eq!(percent(9_999, 10_000), "99.9 %");
        assert_eq!(percent(7, 7), "100 %");
        assert_eq!(percent(0, 7), "0 %");
        assert_eq!(percent(0, 0), "-");
    }

    #[test]
    fn what_is_most_comes_first() {
        let counts = [("hedge".to_owned(), 3), ("other_endpoint".to_owned(), 12)].into();
        assert_eq!(kinds(&counts), "other endpoint 12, hedge 3");
        assert_eq!(reasons(&counts), "12 x other_endpoint, 3 x hedge");
    }

    #[test]
    fn nothing_in_a_name_ends_an_attribute_or_begins_an_element() {
        assert_eq!(escaped("<a href='x'>\u{1b}&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
    }
}
