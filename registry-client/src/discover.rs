//! A watch as [`tower::discover::Discover`], for whoever balances with tower.
//!
//! Tower follows changes, and a watch gives whole sets, so the difference is taken here. Only instances that take traffic
//! (weight above 0) are discovered; one whose address or weight changes is inserted anew, and replaces. Failures are not passed on: tower
//! ends a balancer whose discovery fails, and the last good set is just what it should go on with.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use tower::discover::Change;

use crate::{Instance, InstanceId, InstanceSet, Update, Watch};

/// The changes of a watch, each new instance as the service that `make` makes of it.
pub fn discover<S, M>(watch: Watch, make: M) -> impl Stream<Item = Result<Change<InstanceId, S>, Infallible>>
where
    M: FnMut(&Instance) -> S,
{
    let state = (watch, make, BTreeMap::new(), VecDeque::new());
    stream::unfold(state, |(mut watch, mut make, mut known, mut changes)| async move {
        loop {
            if let Some(change) = changes.pop_front() {
                let change = match change {
                    Change::Insert(id, instance) => Change::Insert(id, make(&instance)),
                    Change::Remove(id) => Change::Remove(id),
                };
                return Some((Ok(change), (watch, make, known, changes)));
            }
            if let Update::Set(set) = watch.next().await? {
                changes = differences(&mut known, &set);
            }
        }
    })
}

/// From `known` to `set`, insertions first: a pool that is replaced whole is never empty in between.
fn differences(
    known: &mut BTreeMap<InstanceId, Instance>,
    set: &InstanceSet,
) -> VecDeque<Change<InstanceId, Instance>> {
    let live = set.instances().iter().filter(|instance| instance.weight > 0);
    let now: BTreeMap<_, _> = live.map(|instance| (instance.id.clone(), instance.clone())).collect();
    let new = |(id, instance): &(&InstanceId, &Instance)| {
        known
            .get(id)
            .is_none_or(|old| (&old.host, old.port, old.weight) != (&instance.host, instance.port, instance.weight))
    };
    let mut changes: VecDeque<_> =
        now.iter().filter(new).map(|(id, instance)| Change::Insert(id.clone(), instance.clone())).collect();
    changes.extend(known.keys().filter(|id| !now.contains_key(id)).cloned().map(Change::Remove));
    *known = now;
    changes
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::Registry;
    use crate::scripted::{Scripted, Step};

    fn set(addresses: &[(&str, u32)]) -> Step {
        let instance = |(address, weight): &(&str, u32)| Instance { weight: *weight, ..Instance::at(address).unwrap() };
        Step::Answer(InstanceSet::new(addresses.iter().map(instance).collect(), Vec::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn whole_sets_become_changes_and_a_failure_becomes_nothing() {
        let steps = [
            set(&[("h:1", 1), ("h:2", 1), ("h:3", 0)]),
            Step::Fail("gone".to_owned()),
            set(&[("h:2", 5), ("h:3", 1)]),
            set(&[]),
        ];
        let watch = Scripted::new().with("a", steps).watch(&"a".into());
        let mut changes = pin!(discover(watch, |instance| instance.port));
        for expected in ["+1", "+2", "+2", "+3", "-h:1", "-h:2", "-h:3"] {
            let Ok(change) = changes.next().await.unwrap();
            let change = match change {
                Change::Insert(_, port) => format!("+{port}"),
                Change::Remove(id) => format!("-{}", id.0),
            };
            assert_eq!(change, expected);
        }
    }

    #[test]
    fn tower_takes_it_for_discovery() {
        fn takes(_: impl tower::discover::Discover<Key = InstanceId, Service = u16>) {}
        takes(Box::pin(discover(Scripted::new().watch(&"a".into()), |instance| instance.port)));
    }
}
