use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"<".to_vec();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn start_lines_have_three_parts() {
    assert_eq!(written(|out| request_line(out, b"GET", b"/cart?x=1")), "<GET /cart?x=1 HTTP/1.1\r\n");
    assert_eq!(written(|out| status_line(out, 200, b"OK")), "<HTTP/1.1 200 OK\r\n");
    // The blank after the status stays where there is no reason (RFC 9112 section 4).
    assert_eq!(written(|out| status_line(out, 599, b"")), "<HTTP/1.1 599 \r\n");
    for status in 100..=999 {
        assert_eq!(written(|out| status_line(out, status, b"x")), format!("<HTTP/1.1 {status} x\r\n"));
    }
}

#[test]
fn a_field_is_a_name_a_blank_and_a_value() {
    assert_eq!(written(|out| field(out, b"X-Id", b"a b")), "<X-Id: a b\r\n");
    assert_eq!(written(|out| field(out, b"X-Id", b"")), "<X-Id: \r\n");
    assert_eq!(written(end), "<\r\n");
}

#[test]
fn reasons_are_the_standard_ones() {
    assert_eq!(reason(200), "OK");
    assert_eq!(reason(431), "Request Header Fields Too Large");
    assert_eq!(reason(599), "");
    assert_eq!(reason(0), "");
}

#[test]
fn the_longest_chunk_line_fits_what_is_set_aside_for_it() {
    assert_eq!(written(|out| chunk_line(out, usize::MAX, false)).len() - 1, CHUNK_LINE);
}

proptest! {
    #[test]
    fn a_chunk_line_is_the_length_in_hexadecimal(len in 1..usize::MAX, shift in 0u32..64) {
        let len = (len >> shift).max(1);
        prop_assert_eq!(written(|out| chunk_line(out, len, true)), format!("<{len:x}\r\n"));
        prop_assert_eq!(written(|out| chunk_line(out, len, false)), format!("<\r\n{len:x}\r\n"));
    }

    #[test]
    fn a_number_is_written_in_decimal(value in any::<u64>(), shift in 0u32..64) {
        let value = value >> shift;
        prop_assert_eq!(written(|out| number(out, b"content-length", value)), format!("<content-length: {value}\r\n"));
    }
}
