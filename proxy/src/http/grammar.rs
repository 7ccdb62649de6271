//! The smallest parts of the grammar, to the byte: how far a token, a target, a text goes.
//!
//! Every byte of every head comes by here. Names and targets are short, and a table says of each byte whether it belongs
//! to them. Texts (the value of a field, a reason) are looked at eight bytes at a time.

/// Where the token ends that begins at `at` (RFC 9110 section 5.6.2); `at` itself where there is none.
pub(super) fn token(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, &TOKEN)
}

/// Where the target ends that begins at `at`: printable ASCII without a fragment.
pub(super) fn target(bytes: &[u8], at: usize) -> usize {
    run(bytes, at, &TARGET)
}

fn run(bytes: &[u8], at: usize, class: &[bool; 256]) -> usize {
    let Some(rest) = bytes.get(at..) else { return at };
    at + rest.iter().position(|byte| !class[usize::from(*byte)]).unwrap_or(rest.len())
}

/// Where the text ends that begins at `at`: tabs, spaces, printable ASCII, and bytes beyond it (RFC 9110 section 5.5).
pub(super) fn text(bytes: &[u8], at: usize) -> usize {
    let Some(mut rest) = bytes.get(at..) else { return at };
    while let Some((eight, tail)) = rest.split_first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let stops = (below(eight, b' ') | zeros(eight ^ each(0x7f))) & HIGHS;
        if stops == 0 {
            rest = tail;
            continue;
        }
        match &rest[(stops.trailing_zeros() / 8) as usize..] {
            [b'\t', tail @ ..] => rest = tail,
            rest => return bytes.len() - rest.len(),
        }
    }
    let at = bytes.len() - rest.len();
    let ends = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    at + rest.iter().position(ends).unwrap_or(rest.len())
}

// Eight bytes at once. Each is looked at where it lies, and its highest bit says what was found.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

/// That byte eight times.
const fn each(byte: u8) -> u64 {
    ONES * byte as u64
}

// The highest bit of the first byte, counted from the lowest, says that it was found; bits above it mean nothing.

/// Bytes of which each is less than `least`.
fn below(eight: u64, least: u8) -> u64 {
    eight.wrapping_sub(each(least)) & !eight
}

/// Bytes of which each is 0.
fn zeros(eight: u64) -> u64 {
    below(eight, 1)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < table.len() {
        table[i] = matches!(i as u8, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
            | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        i += 1;
    }
    table
};

const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < table.len() {
        table[i] = matches!(i as u8, b'!'..=b'~') && i as u8 != b'#';
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What may stand in a text, one byte after the other.
    fn is_text(byte: u8) -> bool {
        matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
    }

    #[test]
    fn a_text_ends_at_its_first_control_character_wherever_that_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                for fill in [b'a', b'\t', 0x80, 0xff, b' ', b'~'] {
                    let mut bytes = vec![fill; 20];
                    bytes[at] = byte;
                    let end = if is_text(byte) { 20 } else { at };
                    assert_eq!(text(&bytes, 0), end, "{byte:#x} at {at} among {fill:#x}");
                    assert_eq!(text(&bytes, at + 1), 20);
                    // What follows a control character changes nothing.
                    bytes[at + 1..].fill(0);
                    assert_eq!(text(&bytes, 0), end.min(at + 1), "{byte:#x} at {at} among {fill:#x}");
                }
            }
        }
        assert_eq!((text(b"", 0), text(b"a", 1), text(b"a", 2)), (0, 1, 2));
    }

    #[test]
    fn tokens_and_targets_have_the_bytes_that_the_rfcs_give_them() {
        for byte in 0..=u8::MAX {
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(token(&[b'a', byte], 0), 1 + usize::from(is_token), "{byte:#x}");
            let is_target = byte.is_ascii_graphic() && byte != b'#';
            assert_eq!(target(&[b'/', byte], 0), 1 + usize::from(is_target), "{byte:#x}");
        }
        assert_eq!((token(b"", 0), token(b"a", 1), token(b"a", 2), token(b":", 0)), (0, 1, 2, 0));
    }
}
