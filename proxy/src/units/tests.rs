use std::time::Duration;

use proptest::prelude::*;

use super::{Interval, Patience, Share, Size};

/// What is read and written again, or the error.
pub(crate) fn through<T: std::str::FromStr<Err = String> + std::fmt::Display>(text: &str) -> String {
    text.parse::<T>().map_or_else(|e| format!("error: {e}"), |value| value.to_string())
}

/// None of these is read, for that reason.
#[track_caller]
pub(crate) fn refused<T: std::str::FromStr<Err = String> + std::fmt::Display>(texts: &[&str], why: &str) {
    for text in texts {
        let told = through::<T>(text);
        assert!(told.starts_with("error: ") && told.contains(why), "{text}: {told}");
    }
}

#[test]
fn durations() {
    for (text, written) in
        [("250ms", "250ms"), ("2s", "2s"), ("90s", "90s"), ("1m30s", "90s"), ("5m", "5m"), ("24h", "24h"), ("0s", "0s")]
    {
        assert_eq!(through::<Interval>(text), written);
    }
    assert_eq!("1h1m1s1ms".parse::<Interval>().unwrap().0, Duration::from_millis(3_661_001));
    refused::<Interval>(&["5", "0"], "a number without a unit");
    refused::<Interval>(
        &["", "s", "5x", "-1s", "1.5s", "5 s", "1s1m", "1s1s", "1s5", "99999999999999999999s"],
        "expected a duration",
    );
    refused::<Interval>(&["9000h", "18446744073709551615h"], "at most 365 days");
}

#[test]
fn sizes() {
    for (text, written) in
        [("512B", "512B"), ("64KiB", "64KiB"), ("2048KiB", "2MiB"), ("0B", "0B"), ("1GiB", "1GiB"), ("4 KiB", "4KiB")]
    {
        assert_eq!(through::<Size>(text), written);
    }
    refused::<Size>(&["64"], "without a unit");
    refused::<Size>(&["64KB", "64kib"], "did you mean `KiB`?");
    refused::<Size>(&["", "KiB", "-1B", "1.5KiB", "99999999999999999999B"], "");
    refused::<Size>(&["18446744073709551615GiB"], "more than can be addressed");
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(ms in 0_u64..31_536_000_000, bytes in 0_usize..1 << 40) {
        let interval = Interval(Duration::from_millis(ms));
        prop_assert_eq!(interval.to_string().parse::<Interval>(), Ok(interval));
        prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
    }

    #[test]
    fn no_text_is_too_odd(text in ".{0,20}") {
        through::<Interval>(&text);
        through::<Patience>(&text);
        through::<Share>(&text);
        through::<Size>(&text);
    }
}
