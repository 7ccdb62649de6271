use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use serde_json::json;

use super::chain::{Chain, End};
use super::stage::{Left, Next, Piece, Stage};
use super::*;
use crate::clock::Instant;

fn toxic(kind: &str, attributes: Value) -> Toxic {
    Toxic::parse(kind, &attributes).expect("a toxic").expect("its attributes")
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn chain(kind: &str, attributes: Value, now: Instant) -> Chain {
    let mut chain = Chain::default();
    chain.insert(0, 1, &toxic(kind, attributes), now);
    chain
}

/// All that is to be written, as pieces.
fn taken(chain: &mut Chain) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(piece) = chain.front().cloned() {
        chain.written(piece.len());
        all.push(piece);
    }
    all
}

fn bytes(n: usize) -> Bytes {
    Bytes::from((0..n).map(|i| i as u8).collect::<Vec<_>>())
}

#[test]
fn latency_delays_each_piece_by_itself() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 100 }), t);
    chain.push(bytes(3), t);
    chain.push(bytes(5), t + ms(30));
    assert_eq!(chain.pump(t), Some(t + ms(100)));
    assert!(taken(&mut chain).is_empty());
    assert_eq!(chain.pump(t + ms(100)), Some(t + ms(130)));
    assert_eq!(taken(&mut chain), [bytes(3)]);
    chain.end(t + ms(110));
    assert_eq!(chain.ended(), None);
    chain.pump(t + ms(130));
    assert_eq!(taken(&mut chain), [bytes(5)]);
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn latencies_add_up() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 100 }), t);
    chain.insert(1, 2, &toxic("latency", json!({ "latency": 50 })), t);
    chain.push(bytes(1), t);
    // The first one's timer is late; that does not delay the second one's.
    chain.pump(t + ms(120));
    assert!(taken(&mut chain).is_empty());
    assert_eq!(chain.pump(t + ms(120)), Some(t + ms(150)));
    chain.pump(t + ms(150));
    assert_eq!(taken(&mut chain).len(), 1);
}

#[test]
fn jitter_never_changes_the_order_and_stays_in_its_bounds() {
    let t = Instant::now();
    let mut stage = Stage::begin(&toxic("latency", json!({ "latency": 20, "jitter": 20 })), t).unwrap();
    let mut rng = Rng::with_seed(7);
    for n in 0..200_u8 {
        stage.push(Piece { bytes: Bytes::copy_from_slice(&[n]), at: t + ms(u64::from(n)) }, t, &mut rng);
    }
    let mut spread = Vec::new();
    for n in 0..200_u8 {
        let Next::Piece(piece) = stage.next(t + ms(1_000), &mut rng) else { panic!("it is held for too long") };
        assert_eq!(piece.bytes[0], n);
        let delay = piece.at.saturating_duration_since(t + ms(u64::from(n)));
        assert!(delay <= ms(40), "{delay:?}");
        spread.push(delay);
    }
    assert!(spread.iter().min() < Some(&ms(25)) && spread.iter().max() > Some(&ms(35)), "{spread:?}");
}

#[test]
fn a_latency_that_is_removed_lets_go_of_everything_at_once_and_in_order() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 60_000 }), t);
    for n in 1..4 {
        chain.push(bytes(n), t);
    }
    chain.end(t);
    assert_eq!(chain.pump(t), Some(t + ms(60_000)));
    chain.remove(1, t + ms(1));
    assert_eq!(chain.pump(t + ms(1)), None);
    assert_eq!(taken(&mut chain), [bytes(1), bytes(2), bytes(3)]);
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn a_latency_that_is_changed_holds_what_it_has_for_the_new_time() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 60_000 }), t);
    chain.push(bytes(1), t);
    chain.change(1, &toxic("latency", json!({ "latency": 10 })));
    assert_eq!(chain.pump(t), Some(t + ms(10)));
}

#[test]
fn a_latency_holds_a_bounded_number_of_bytes() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 60_000 }), t);
    let mut held = 0;
    while chain.has_room() {
        chain.push(bytes(1000), t);
        held += 1000;
    }
    assert!((10 << 20..=16 << 20).contains(&held), "{held}");
    // Small pieces cost more than their bytes.
    let mut chain = super::tests::chain("latency", json!({ "latency": 60_000 }), t);
    let mut pieces = 0;
    while chain.has_room() {
        chain.push(bytes(1), t);
        pieces += 1;
    }
    assert!(pieces < 200_000, "{pieces}");
}

#[test]
fn bandwidth_keeps_its_rate_however_late_its_timer_is() {
    let t = Instant::now();
    for rate in [1, 10, 100, 1_000, 100_000] {
        let mut chain = chain("bandwidth", json!({ "rate": rate }), t);
        let (mut now, mut sent) = (t, 0);
        let end = t + ms(2_000);
        while now < end {
            while chain.has_room() {
                chain.push(bytes(8192), now);
            }
            let due = loop {
                let due = chain.pump(now);
                let written: usize = taken(&mut chain).iter().map(Bytes::len).sum();
                sent += written;
                if written == 0 {
                    break due.expect("a time");
                }
            };
            // Up to two milliseconds late.
            now = due.max(now) + Duration::from_micros(1_700);
        }
        let expected = (rate * 1_000) as f64 * now.saturating_duration_since(t).as_secs_f64();
        let off = (sent as f64 - expected) / expected;
        assert!((-0.03..=0.01).contains(&off), "{rate} KB/s: {sent} bytes instead of {expected}");
    }
}

#[test]
fn bandwidth_owes_nothing_to_a_stream_that_rested() {
    let t = Instant::now();
    let mut chain = chain("bandwidth", json!({ "rate": 1 }), t);
    chain.push(bytes(10), t + ms(5_000));
    chain.pump(t + ms(5_000));
    assert!(taken(&mut chain).is_empty());
}

#[test]
fn a_bandwidth_of_0_lets_nothing_through_until_it_is_removed() {
    let t = Instant::now();
    let mut chain = chain("bandwidth", json!({ "rate": 0 }), t);
    chain.push(bytes(10), t);
    chain.end(t);
    assert_eq!(chain.pump(t + ms(100_000)), None);
    assert!(chain.front().is_none() && chain.ended().is_none());
    chain.remove(1, t);
    assert_eq!(taken(&mut chain), [bytes(10)]);
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn slow_close_delays_the_end_alone() {
    let t = Instant::now();
    let mut chain = chain("slow_close", json!({ "delay": 500 }), t);
    chain.push(bytes(4), t);
    chain.end(t + ms(10));
    assert_eq!(chain.pump(t + ms(10)), Some(t + ms(510)));
    assert_eq!(taken(&mut chain), [bytes(4)]);
    assert_eq!(chain.ended(), None);
    chain.pump(t + ms(510));
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn a_slow_close_that_is_removed_closes_at_once() {
    let t = Instant::now();
    let mut chain = chain("slow_close", json!({ "delay": 500_000 }), t);
    chain.end(t);
    chain.pump(t);
    chain.remove(1, t);
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn timeout_drops_what_comes_and_closes_when_it_is_over() {
    let t = Instant::now();
    let mut chain = chain("timeout", json!({ "timeout": 100 }), t);
    chain.push(bytes(4), t + ms(60));
    assert_eq!(chain.pump(t + ms(60)), Some(t + ms(100)));
    chain.pump(t + ms(100));
    assert!(taken(&mut chain).is_empty());
    assert_eq!(chain.ended(), Some(End::Closed));
}

#[test]
fn a_timeout_of_0_stays_until_it_is_removed_and_closes_then() {
    let t = Instant::now();
    let mut chain = chain("timeout", json!({}), t);
    chain.push(bytes(4), t);
    assert_eq!(chain.pump(t + ms(1_000_000)), None);
    assert!(chain.has_room(), "what comes is dropped, not held up");
    chain.remove(1, t);
    assert_eq!(chain.ended(), Some(End::Closed));
    assert!(taken(&mut chain).is_empty());
}

#[test]
fn reset_peer_waits_for_the_first_data_and_then_its_time() {
    let t = Instant::now();
    let mut chain = chain("reset_peer", json!({ "timeout": 50 }), t);
    assert_eq!(chain.pump(t + ms(10_000)), None);
    assert!(!chain.is_reset());
    chain.push(bytes(1), t + ms(10_000));
    assert_eq!(chain.pump(t + ms(10_000)), Some(t + ms(10_050)));
    chain.pump(t + ms(10_050));
    assert!(chain.is_reset() && chain.front().is_none());
}

#[test]
fn slicer_cuts_into_pieces_of_about_the_size_asked_for() {
    let t = Instant::now();
    let mut chain = chain("slicer", json!({ "average_size": 100, "size_variation": 20, "delay": 0 }), t);
    chain.push(bytes(10_000), t);
    chain.pump(t);
    let pieces = taken(&mut chain);
    assert_eq!(pieces.concat(), bytes(10_000));
    assert!(pieces.iter().all(|piece| (1..=120).contains(&piece.len())), "{:?}", pieces[0].len());
    assert!((84..=125).contains(&pieces.len()), "{}", pieces.len());
}

#[test]
fn slicer_waits_between_pieces_and_keeps_its_pace() {
    let t = Instant::now();
    let mut chain = chain("slicer", json!({ "average_size": 10, "delay": 10_000 }), t);
    chain.push(bytes(30), t);
    assert_eq!(chain.pump(t), Some(t + ms(10)));
    assert_eq!(taken(&mut chain).len(), 1);
    // One millisecond late: the next one is not.
    assert_eq!(chain.pump(t + ms(11)), Some(t + ms(20)));
    assert_eq!(taken(&mut chain).len(), 1);
    chain.end(t + ms(11));
    chain.pump(t + ms(20));
    assert_eq!(taken(&mut chain).len(), 1);
    assert_eq!(chain.ended(), Some(End::Passed));
}

#[test]
fn a_slicer_of_nothing_cuts_into_single_bytes() {
    let t = Instant::now();
    let mut chain = chain("slicer", json!({}), t);
    chain.push(bytes(5), t);
    chain.pump(t);
    assert_eq!(taken(&mut chain).len(), 5);
}

#[test]
fn limit_data_closes_after_its_last_byte() {
    let t = Instant::now();
    for (limit, parts) in [(10, vec![4, 4, 4]), (8, vec![4, 4]), (3, vec![100]), (0, vec![1])] {
        let mut chain = chain("limit_data", json!({ "bytes": limit }), t);
        assert_eq!((chain.pump(t), chain.ended()), (None, None));
        for part in parts {
            chain.push(bytes(part), t);
        }
        chain.pump(t);
        assert_eq!(taken(&mut chain).concat().len(), limit);
        assert_eq!(chain.ended(), Some(End::Closed));
    }
}

#[test]
fn limit_data_remembers_what_has_passed_when_it_is_changed() {
    let t = Instant::now();
    let mut chain = chain("limit_data", json!({ "bytes": 10 }), t);
    chain.push(bytes(8), t);
    chain.pump(t);
    assert_eq!(taken(&mut chain).concat().len(), 8);
    chain.change(1, &toxic("limit_data", json!({ "bytes": 12 })));
    chain.push(bytes(8), t);
    chain.pump(t);
    assert_eq!(taken(&mut chain).concat().len(), 4);
    assert_eq!(chain.ended(), Some(End::Closed));
}

#[test]
fn what_closes_passes_through_the_stages_behind_it() {
    let t = Instant::now();
    let mut chain = chain("limit_data", json!({ "bytes": 2 }), t);
    chain.insert(1, 2, &toxic("latency", json!({ "latency": 100 })), t);
    chain.insert(2, 3, &toxic("slow_close", json!({ "delay": 100 })), t);
    chain.push(bytes(5), t);
    assert!(!chain.has_room() || chain.pump(t).is_some());
    chain.pump(t + ms(100));
    assert_eq!(taken(&mut chain), [bytes(2)]);
    assert_eq!(chain.ended(), None);
    chain.pump(t + ms(200));
    assert_eq!(chain.ended(), Some(End::Closed));
    assert!(!chain.has_room());
}

#[test]
fn what_a_removed_stage_held_goes_on_before_anything_else() {
    let t = Instant::now();
    let mut chain = chain("latency", json!({ "latency": 10 }), t);
    chain.insert(1, 2, &toxic("latency", json!({ "latency": 60_000 })), t);
    chain.insert(2, 3, &toxic("slicer", json!({ "average_size": 1, "delay": 1_000 })), t);
    chain.push(Bytes::from_static(b"ab"), t);
    chain.pump(t + ms(10));
    chain.push(Bytes::from_static(b"cd"), t + ms(10));
    chain.remove(2, t + ms(10));
    let mut all = Vec::new();
    let mut now = t + ms(10);
    while let Some(due) = chain.pump(now) {
        all.extend(taken(&mut chain).concat());
        now = due;
    }
    all.extend(taken(&mut chain).concat());
    assert_eq!(all, b"abcd");
}

#[test]
fn what_goes_through_comes_out_whole_whatever_is_added_and_removed_on_the_way() {
    // Ways to be slow, in any order, at any time: no byte is lost, none is doubled, none overtakes another.
    for seed in 0..200 {
        let mut rng = Rng::with_seed(seed);
        let mut chain = Chain::default();
        let mut now = Instant::now();
        let (mut sent, mut seen, mut next) = (Vec::<u8>::new(), Vec::<u8>::new(), 1);
        for _ in 0..100 {
            now += ms(rng.u64(0..20));
            match rng.u8(0..6) {
                0 => {
                    let (kind, attributes) = match rng.u8(0..4) {
                        0 => ("latency", json!({ "latency": rng.u64(0..50), "jitter": rng.u64(0..50) })),
                        1 => ("bandwidth", json!({ "rate": rng.u64(0..3) })),
                        2 => ("slicer", json!({ "average_size": rng.u64(0..30), "size_variation": 9, "delay": 900 })),
                        _ => ("slow_close", json!({ "delay": 10 })),
                    };
                    let at = chain.ids().count();
                    chain.insert(rng.usize(0..=at), next, &toxic(kind, attributes), now);
                    next += 1;
                }
                1 => {
                    let ids: Vec<u64> = chain.ids().collect();
                    if let Some(id) = rng.choice(ids) {
                        chain.remove(id, now);
                    }
                }
                _ if chain.has_room() => {
                    let piece: Vec<u8> = (0..rng.usize(1..60)).map(|_| rng.u8(..)).collect();
                    sent.extend(&piece);
                    chain.push(piece.into(), now);
                }
                _ => {}
            }
            chain.pump(now);
            seen.extend(taken(&mut chain).concat());
        }
        chain.end(now);
        let ids: Vec<u64> = chain.ids().collect();
        for id in ids {
            chain.remove(id, now);
        }
        chain.pump(now);
        seen.extend(taken(&mut chain).concat());
        assert_eq!(seen, sent, "seed {seed}");
        assert_eq!(chain.ended(), Some(End::Passed), "seed {seed}");
    }
}

#[test]
fn only_a_timeout_closes_what_it_was_on_when_it_is_removed() {
    let t = Instant::now();
    for kind in Toxic::TYPES.into_iter().filter(|kind| !["noop", "down"].contains(kind)) {
        let stage = Stage::begin(&toxic(kind, json!({})), t).unwrap();
        assert_eq!(stage.release(), Left { close: kind == "timeout", ..Left::default() }, "{kind}");
    }
}
