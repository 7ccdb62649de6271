use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A buffer that is small enough for its ends to be met often.
fn small() -> Buffer {
    Buffer::new(Budget::new(usize::MAX / 2).block(FRONT + 32, usize::MAX).unwrap())
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
    let (mut one, other) = (pool.take().unwrap(), pool.take().unwrap());
    assert_eq!(one.spare().len(), ROOM);
    fill(&mut one, b"left over");
    pool.give(one);
    pool.give(other);
    assert_eq!(pool.free(), 1);
    let again = pool.take().unwrap();
    assert!(again.is_empty());
    assert_eq!(pool.free(), 0);
}

#[test]
fn a_small_buffer_grows_with_what_is_in_it_and_once() {
    let pool = BufferPool::new(2);
    let mut buffer = pool.take_small().unwrap();
    assert_eq!((buffer.spare().len(), buffer.is_small()), (LITTLE, true));
    fill(&mut buffer, b"head and more");
    buffer.consume(5);
    assert_eq!(pool.grow(&mut buffer), Ok(true));
    assert_eq!(buffer.bytes(), b"and more");
    assert_eq!(buffer.spare().len(), ROOM - 8);
    assert_eq!(pool.grow(&mut buffer), Ok(false));
    pool.give(buffer);
    assert_eq!(pool.free(), 1);
}

#[test]
fn no_buffer_is_made_beyond_the_budget_and_all_of_it_comes_back() {
    const LARGE: usize = FRONT + ROOM;
    let budget = Budget::new(4 * LARGE);
    let pool = BufferPool::within(&budget, 2);
    let mut held: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    assert_eq!((budget.excess(), budget.is_spent()), (0, false));
    let mut small: Vec<_> = std::iter::from_fn(|| pool.take_small().ok()).collect();
    assert_eq!(small.len(), LARGE / Buffer::SMALL);
    assert_eq!(pool.grow(&mut small[0]), Err(Spent));
    assert!(budget.excess() > 0 && budget.used() <= 4 * LARGE);
    // What is under way may have a quarter more.
    held.push(pool.take().unwrap());
    assert!(budget.is_spent() && pool.take().is_err());
    held.drain(..).chain(small.drain(..)).for_each(|buffer| pool.give(buffer));
    assert_eq!(budget.used(), 2 * LARGE + 8 * Buffer::SMALL);
    drop(pool);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_nobody_needs_goes_back_to_the_system() {
    let budget = Budget::new(usize::MAX / 2);
    let pool = BufferPool::within(&budget, 64);
    let held: Vec<_> = (0..64).map(|_| pool.take().unwrap()).collect();
    held.into_iter().for_each(|buffer| pool.give(buffer));
    // What was needed since the last look is kept, and after that less and less.
    pool.trim();
    assert_eq!(pool.free(), 64);
    for _ in 0..10 {
        pool.trim();
    }
    assert_eq!(pool.free(), KEPT);
}

#[test]
fn whoever_may_hold_one_for_long_gets_a_small_one_once_more_than_half_is_taken() {
    const LARGE: usize = FRONT + ROOM;
    let budget = Budget::new(4 * LARGE);
    let pool = BufferPool::within(&budget, 8);
    let mut held: Vec<_> = (0..3).map(|_| pool.take_lean().unwrap()).collect();
    assert!(held.iter().all(|buffer| !buffer.is_small()), "half of it was not taken yet");
    held.extend(std::iter::from_fn(|| pool.take_lean().ok().filter(Buffer::is_small)));
    // What is under way may have a quarter more, and not a byte beyond.
    assert!((5 * LARGE - Buffer::SMALL..=5 * LARGE).contains(&budget.used()), "{}", budget.used());
    assert_eq!(pool.take_lean().map(|_| ()), Err(Spent));
    let large = held.swap_remove(0);
    pool.give(large);
    assert!(!pool.take_lean().unwrap().is_small(), "where there is no small one a free large one does");
}

#[test]
fn a_large_buffer_is_given_for_a_small_one_where_what_is_in_it_fits() {
    let pool = BufferPool::new(2);
    let mut buffer = pool.take().unwrap();
    fill(&mut buffer, &[b'x'; LITTLE + 1]);
    pool.shrink(&mut buffer);
    assert!(!buffer.is_small());
    buffer.consume(1);
    pool.shrink(&mut buffer);
    assert_eq!((buffer.is_small(), buffer.bytes()), (true, &[b'x'; LITTLE][..]));
    assert_eq!(pool.grow_on(&mut buffer), Ok(true));
    assert_eq!(buffer.bytes(), [b'x'; LITTLE]);
}
