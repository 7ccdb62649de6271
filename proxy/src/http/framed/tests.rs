use super::*;

/// Writes pieces of a body behind a head that says `body`, at most `at_once` bytes at a time. What came out, and whether the
/// message is whole.
fn written(body: Length, pieces: &[&[u8]], at_once: usize) -> (String, bool) {
    let mut out = Vec::new();
    let mut framed = Framed::new(b"head|".to_vec(), body);
    let drive = |framed: &mut Framed, out: &mut Vec<u8>, mut piece: &[u8]| {
        while !framed.is_written() {
            let of_body = framed.poll_write(|room| {
                let both = [room.lead(), room.of(piece)].concat();
                let n = both.len().min(at_once);
                out.extend_from_slice(&both[..n]);
                Poll::Ready(Ok(n))
            });
            let Poll::Ready(Ok(n)) = of_body else { panic!("{of_body:?}") };
            piece = &piece[n..];
        }
    };
    for piece in pieces {
        if framed.offer(piece.len()).is_err() {
            drive(&mut framed, &mut out, b"");
            return (String::from_utf8(out).unwrap(), false);
        }
        // There may be more than was offered: what follows in the same buffer.
        drive(&mut framed, &mut out, &[piece, &b"next"[..]].concat());
    }
    let whole = framed.end(|out, first| out.extend_from_slice(if first { b"0||" } else { b"|0||" })).is_ok();
    drive(&mut framed, &mut out, b"next");
    assert_eq!(framed.is_over(), whole);
    (String::from_utf8(out).unwrap().replace("\r\n", "|"), whole)
}

#[test]
fn a_body_that_is_not_as_long_as_its_head_says_is_refused_before_a_byte_too_many_is_written() {
    for at_once in [1, 2, 3, 100] {
        for stated in 0..6_u64 {
            for pieces in [&[][..], &[&b"a"[..]], &[b"abc"], &[b"ab", b"c"], &[b"a", b"b", b"c", b"d"], &[b"abcdefgh"]]
            {
                let all = pieces.concat();
                let (out, whole) = written(Length::Exact(stated), pieces, at_once);
                assert_eq!(whole, all.len() as u64 == stated, "{pieces:?} of {stated}");
                let body = out.strip_prefix("head|").unwrap();
                assert!(body.len() as u64 <= stated, "{body:?} of {stated}");
                assert!(all.starts_with(body.as_bytes()), "{body:?} of {all:?}");
            }
        }
    }
}

#[test]
fn a_body_without_a_stated_length_is_written_in_chunks_or_as_it_is() {
    for at_once in [1, 3, 100] {
        let pieces: [&[u8]; 2] = [b"abc", b"0123456789abcdef"];
        let chunks = ("head|3|abc|10|0123456789abcdef|0||".into(), true);
        assert_eq!(written(Length::Chunked, &pieces, at_once), chunks);
        assert_eq!(written(Length::Chunked, &[], at_once), ("head|0||".into(), true));
        assert_eq!(written(Length::UntilClose, &pieces, at_once), ("head|abc0123456789abcdef".into(), true));
    }
}

#[test]
fn nothing_is_offered_twice_nor_after_the_end() {
    let mut framed = Framed::new(Vec::new(), Length::Exact(5));
    assert!(framed.wants() && framed.offer(3).is_ok());
    // The first three are not written yet.
    assert!(!framed.wants() && framed.offer(2).is_err() && framed.end(|_, _| ()).is_err());
    assert!(matches!(framed.poll_write(|room| Poll::Ready(Ok(room.len()))), Poll::Ready(Ok(3))));
    assert!(framed.offer(2).is_ok());
    // Whoever says that it has written more than there was room for has broken the stream.
    assert!(matches!(framed.poll_write(|room| Poll::Ready(Ok(room.len() + 1))), Poll::Ready(Err(_))));
    assert!(matches!(framed.poll_write(|room| Poll::Ready(Ok(room.len()))), Poll::Ready(Ok(2))));
    assert!(framed.end(|_, _| ()).is_ok() && framed.is_over());
    assert!(!framed.wants() && framed.offer(1).is_err() && framed.end(|_, _| ()).is_err());
}
