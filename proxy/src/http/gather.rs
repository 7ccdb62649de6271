//! Small pieces made into larger ones.
//!
//! A peer may send a body in frames of one byte. What is done for each piece (a look through those before it, a send, a
//! frame of its own) then costs far more than the byte, and for many pieces the square of it. So small pieces are gathered
//! until they are worth it, as far as they are there: nothing waits for another.

use bytes::{Bytes, BytesMut};

/// What is at hand below this is small.
pub const SMALL: usize = 1024;

/// Adds bytes behind those at hand: in place where nobody else holds them; the room for them doubles.
pub fn gather(at_hand: &mut Bytes, more: &[u8]) {
    let mut own = std::mem::take(at_hand).try_into_mut().unwrap_or_else(|shared| {
        let mut own = BytesMut::with_capacity((2 * (shared.len() + more.len())).max(SMALL));
        own.extend_from_slice(&shared);
        own
    });
    own.extend_from_slice(more);
    *at_hand = own.freeze();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_one_by_one_are_moved_a_few_times_only() {
        let mut at_hand = Bytes::from_static(b"a");
        let (mut moved, mut at) = (0, at_hand.as_ptr());
        for n in 1..65_536 {
            gather(&mut at_hand, b"a");
            if at_hand.as_ptr() != at {
                (moved, at) = (moved + n, at_hand.as_ptr());
            }
        }
        assert!(at_hand.len() == 65_536 && at_hand.iter().all(|byte| *byte == b'a'));
        assert!(moved <= 4 * 65_536, "{moved} bytes were moved");
    }

    #[test]
    fn what_somebody_else_holds_stays_as_it_is() {
        let mut at_hand = Bytes::from(b"held".to_vec());
        let held = at_hand.clone();
        gather(&mut at_hand, b", and more");
        assert_eq!((&at_hand[..], &held[..]), (&b"held, and more"[..], &b"held"[..]));
    }
}
