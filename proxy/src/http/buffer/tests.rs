use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A buffer that is small enough for its ends to be met often.
fn small() -> Buffer {
    Buffer::new(vec![0; FRONT + 32].into_boxed_slice())
}

fn fill(buffer: &mut Buffer, data: &[u8]) -> usize {
    let spare = buffer.spare();
    let n = data.len().min(spare.len());
    spare[..n].copy_from_slice(&data[..n]);
    buffer.filled(n);
    n
}

#[derive(Debug, Clone)]
enum Act {
    Fill(Vec<u8>),
    Consume(usize),
    Truncate(usize),
    Compact,
    Head(Vec<u8>, usize, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let amount = prop_oneof![8 => 0usize..40, 1 => Just(usize::MAX)];
    prop_oneof![
        4 => vec(any::<u8>(), 0..20).prop_map(Act::Fill),
        3 => amount.clone().prop_map(Act::Consume),
        1 => amount.clone().prop_map(Act::Truncate),
        1 => Just(Act::Compact),
        2 => (vec(any::<u8>(), 0..60), 0usize..40, amount).prop_map(|(head, at, to)| Act::Head(head, at, to)),
    ]
}

proptest! {
    #[test]
    fn a_buffer_holds_what_a_vector_would(acts in vec(act(), 0..60)) {
        let mut buffer = small();
        let mut model: Vec<u8> = Vec::new();
        for act in acts {
            match act {
                Act::Fill(data) => {
                    let n = fill(&mut buffer, &data);
                    prop_assert!(n == data.len() || !buffer.has_room());
                    model.extend_from_slice(&data[..n]);
                }
                Act::Consume(n) => {
                    model.drain(..n.min(model.len()));
                    buffer.consume(n);
                    if model.is_empty() {
                        prop_assert_eq!(buffer.spare().len(), 32, "an empty buffer has all its room");
                    }
                }
                Act::Truncate(n) => {
                    model.truncate(n);
                    buffer.truncate(n);
                    if model.is_empty() {
                        prop_assert_eq!(buffer.spare().len(), 32, "an empty buffer has all its room");
                    }
                }
                Act::Compact => {
                    buffer.compact();
                    prop_assert_eq!(buffer.spare().len(), 32 - model.len());
                }
                Act::Head(head, at, to) => {
                    let written = buffer.write_before(at, &head);
                    // Room in front is far more than any head here, so only an offset outside is refused.
                    prop_assert_eq!(written, at <= model.len());
                    if written {
                        let over = head.len().min(at);
                        model[at - over..at].copy_from_slice(&head[head.len() - over..]);
                        let to = to.clamp(at, model.len().max(at));
                        let expected = [&head[..], &model[at..to]].concat();
                        prop_assert_eq!(buffer.from_front(head.len(), at, to), expected);
                    }
                }
            }
            prop_assert_eq!(buffer.bytes(), &model[..]);
            prop_assert_eq!(buffer.len(), model.len());
            prop_assert_eq!(buffer.is_empty(), model.is_empty());
            prop_assert_eq!(buffer.has_room(), !buffer.spare().is_empty());
            prop_assert_eq!(buffer.bytes_mut().to_vec(), &model[..]);
        }
    }
}

#[test]
fn a_head_that_does_not_fit_in_front_is_not_written() {
    let mut buffer = small();
    fill(&mut buffer, b"body");
    assert!(!buffer.write_before(0, &vec![b'h'; FRONT + 1]));
    assert!(!buffer.write_before(5, b"h"));
    assert_eq!(buffer.bytes(), b"body");
    assert!(buffer.write_before(0, &vec![b'h'; FRONT]));
    assert_eq!(buffer.from_front(FRONT, 0, 4).len(), FRONT + 4);
    assert!(buffer.write_before(4, &vec![b'h'; FRONT + 4]));
}

#[test]
fn what_is_asked_of_the_front_stays_within_the_buffer() {
    let mut buffer = small();
    fill(&mut buffer, b"body");
    assert_eq!(buffer.from_front(0, 0, usize::MAX), b"body");
    assert_eq!(buffer.from_front(usize::MAX, 0, 4).len(), FRONT + 4);
    assert_eq!(buffer.from_front(0, 4, 1), b"");
    assert_eq!(buffer.from_front(0, 9, 9), b"");
    buffer.filled(usize::MAX);
    assert_eq!(buffer.len(), 32);
}

#[test]
fn a_pool_keeps_as_many_as_it_was_told() {
    let pool = BufferPool::new(1);
    let (mut one, other) = (pool.take(), pool.take());
    assert_eq!(one.spare().len(), ROOM);
    fill(&mut one, b"left over");
    pool.give(one);
    pool.give(other);
    assert_eq!(pool.free(), 1);
    let again = pool.take();
    assert!(again.is_empty());
    assert_eq!(pool.free(), 0);
}
