//! What goes wrong in the sample fleet, decided by a hash.
//!
//! A comparison of two ways to call the same services is fair only if both meet the same faults. So no instance
//! rolls dice: whether instance *i* of service *s* fails request *k*, and how, is a function of (seed, s, i, k) and
//! of nothing else, neither of the time nor of what was asked before. The request's number travels in the header
//! [`REQUEST`]. To ask the same instance again for the same request gives the same fault again; only another
//! instance may do better. A request without the header (a curl) never fails.
//!
//! One instance of each service is flaky and fails eight times as often as the others. Over all instances of a
//! service one call in a thousand fails: each service is available to 99.9 %.

/// The header that carries the number of the user request, in decimal.
pub(crate) const REQUEST: &str = "x-demo-request";

/// Failing calls per million of a service's flaky instance, and of its other ones.
const FLAKY_PPM: u64 = 2_400;
const ORDINARY_PPM: u64 = 300;

/// Answers per million that are right, but late.
const LATE_PPM: u64 = 500;

/// Of a hundred failing calls, those that are reset and those that are never answered; all others get a 503.
const RESET_PERCENT: u64 = 35;
const STALL_PERCENT: u64 = 1;

/// What the instance does instead of answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Answers 503.
    Unavailable,
    /// Reads the request, then resets the connection.
    Reset,
    /// Never answers.
    Stall,
    /// Answers rightly after a tenth of a second. No failure.
    Late,
}

/// The faults of a whole fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    /// Another seed, other faults.
    pub seed: u64,
    /// Instances of each service.
    pub instances: u32,
}

impl Model {
    /// What happens to a request at an instance, which is counted from 0.
    pub(crate) fn fault(&self, service: &str, instance: u32, request: u64) -> Option<Fault> {
        let drawn = hash(&[self.seed, text(service), u64::from(instance), request]);
        let point = drawn % 1_000_000;
        let failing = if instance == self.flaky(service) { FLAKY_PPM } else { ORDINARY_PPM };
        if point >= failing + LATE_PPM {
            return None;
        }
        if point >= failing {
            return Some(Fault::Late);
        }
        Some(match hash(&[drawn]) % 100 {
            kind if kind < STALL_PERCENT => Fault::Stall,
            kind if kind < STALL_PERCENT + RESET_PERCENT => Fault::Reset,
            _ => Fault::Unavailable,
        })
    }

    /// The instance of the service that fails more often than the others.
    pub(crate) fn flaky(&self, service: &str) -> u32 {
        below(hash(&[self.seed, text(service)]), self.instances)
    }

    /// The instance that a client without a proxy asks: any, by the same kind of chance.
    pub(crate) fn direct_choice(&self, service: &str, request: u64) -> u32 {
        below(hash(&[!self.seed, text(service), request]), self.instances)
    }

    /// The share of calls that do not fail, for a client that spreads them evenly.
    pub(crate) fn availability(&self) -> f64 {
        let others = u64::from(self.instances.saturating_sub(1));
        let failing = FLAKY_PPM + ORDINARY_PPM * others;
        1.0 - failing as f64 / (f64::from(self.instances.max(1)) * 1e6)
    }
}

fn below(hash: u64, bound: u32) -> u32 {
    u32::try_from(hash % u64::from(bound.max(1))).unwrap_or(0)
}

/// FNV-1a.
fn text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// SplitMix64's mixing, over several numbers.
fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, part| {
        let mixed = (hash ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const MODEL: Model = Model { seed: 1, instances: 3 };

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_gives_others() {
        let faults = |model: Model| (0..50_000).map(|k| model.fault("orders", 1, k)).collect::<Vec<_>>();
        assert_eq!(faults(MODEL), faults(MODEL));
        assert_ne!(faults(MODEL), faults(Model { seed: 2, ..MODEL }));
    }

    #[test]
    fn a_direct_call_is_available_to_999_per_mille() {
        assert!((MODEL.availability() - 0.999).abs() < 1e-9);
        let mut kinds: HashMap<Fault, u32> = HashMap::new();
        for service in (0..100).map(|index| format!("service-{index}")) {
            for request in 0..20_000 {
                let instance = MODEL.direct_choice(&service, request);
                if let Some(fault) = MODEL.fault(&service, instance, request) {
                    *kinds.entry(fault).or_default() += 1;
                }
            }
        }
        let of = |fault| kinds.get(&fault).copied().unwrap_or(0);
        let failing = of(Fault::Unavailable) + of(Fault::Reset) + of(Fault::Stall);
        // Of two million calls 2,000 are expected to fail, with a standard deviation of 45.
        assert!((1_800..2_200).contains(&failing), "{kinds:?}");
        assert!((800..1_200).contains(&of(Fault::Late)), "{kinds:?}");
        assert!(of(Fault::Stall) < 50 && of(Fault::Reset) > 500, "{kinds:?}");
    }

    #[test]
    fn what_fails_at_one_instance_is_answered_by_another() {
        let failing: Vec<u64> = (0..200_000)
            .filter(|k| MODEL.fault("orders", MODEL.flaky("orders"), *k).is_some_and(|fault| fault != Fault::Late))
            .collect();
        let other = (MODEL.flaky("orders") + 1) % 3;
        let again = failing.iter().filter(|k| MODEL.fault("orders", other, **k).is_some()).count();
        assert!(failing.len() > 300 && again < 10, "{again} of {} fail twice", failing.len());
    }
}
