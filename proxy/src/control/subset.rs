//! A part of a service, by what its registry says of the instances.
//!
//! A subset is a service of its own: its own circuit breaker, its own budget, its own peers that an instance is compared with. So a
//! new version that fails is ejected among its own, and does not open the breaker of the old one. What it has in common with the
//! others is the name in the registry.
//!
//! Who carries a subset is the registry's to say, and it may say so later: that nobody does is no error of the configuration. It is
//! logged when it becomes so, told in `/api/v1/services`, and a request then goes to the fallback subset or gets an error of its
//! own. An instance counts as a carrier for as long as the registry would send it traffic: whether it answers is for health checks,
//! ejections and retries to find out, which work within the subset.

use outrigger_registry::{Health, Instance, InstanceSet};

use crate::config::settings::{Label, Labels, Subset};

/// Which instances of a set make up a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chosen {
    /// Those that it asks for, or all.
    #[default]
    Own,
    /// Those of the fallback subset: nobody carries its own.
    Fallback,
    /// None: nobody carries either.
    Nobody,
}

/// The labels that instances have to carry, and whose those are. None for nobody.
pub fn choose<'s>(subset: Option<&'s Subset>, set: &InstanceSet) -> (Chosen, Option<&'s [Label]>) {
    let Some(subset) = subset else { return (Chosen::Own, Some(&[])) };
    let somebody =
        |labels: &Labels| set.instances().iter().any(|instance| is_sent_traffic(instance) && carries(labels, instance));
    if somebody(&subset.wanted) {
        return (Chosen::Own, Some(&subset.wanted));
    }
    match subset.fallback.as_ref().filter(|labels| somebody(labels)) {
        Some(labels) => (Chosen::Fallback, Some(labels)),
        // A set without instances says nothing of a subset.
        None if !set.instances().iter().any(is_sent_traffic) => (Chosen::Own, Some(&subset.wanted)),
        None => (Chosen::Nobody, None),
    }
}

/// Whether the registry would send an instance traffic.
pub fn is_sent_traffic(instance: &Instance) -> bool {
    instance.health != Health::Critical && instance.weight > 0
}

/// Whether an instance carries all of the labels.
pub fn carries(labels: &[Label], instance: &Instance) -> bool {
    labels.iter().all(|label| match label {
        Label::Tag(tag) => instance.tags.contains(tag),
        Label::Meta(name, value) => instance.meta.get(name) == Some(value),
        Label::Zone(zone) => instance.zone.as_ref() == Some(zone),
        Label::Datacenter(datacenter) => instance.datacenter.as_ref() == Some(datacenter),
    })
}

/// What is told of it; nothing while it is as it was asked for.
pub fn told(subset: Option<&Subset>, chosen: Chosen) -> Option<String> {
    let subset = subset?;
    let wanted = written(&subset.wanted);
    match (chosen, &subset.fallback) {
        (Chosen::Own, _) => Some(wanted),
        (Chosen::Fallback, Some(fallback)) => {
            Some(format!("nobody carries {wanted}: those of {} instead", written(fallback)))
        }
        (Chosen::Fallback | Chosen::Nobody, None) => Some(format!("nobody carries {wanted}")),
        (Chosen::Nobody, Some(fallback)) => Some(format!("nobody carries {wanted}, nor {}", written(fallback))),
    }
}

fn written(labels: &[Label]) -> String {
    if labels.is_empty() {
        "any".to_owned()
    } else {
        labels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use outrigger_registry::{InstanceId, InstanceSet};

    use super::*;

    fn instance(id: &str, tag: &str, health: Health, weight: u32) -> Instance {
        Instance {
            id: InstanceId(id.into()),
            host: "10.0.0.1".into(),
            port: 80,
            weight,
            health,
            tags: vec!["web".into(), tag.into()],
            meta: [("zone".into(), "a".into())].into(),
            datacenter: Some("dc1".into()),
            zone: Some("z".into()),
        }
    }

    #[test]
    fn a_fallback_is_for_when_nobody_who_takes_traffic_carries_the_subset() {
        let subset = |fallback: Option<Labels>| Subset { wanted: vec![Label::Tag("v2".into())], fallback };
        let v1 = || Some(vec![Label::Tag("v1".into())]);
        let set =
            |second: Instance| InstanceSet::new(vec![instance("a", "v1", Health::Passing, 1), second], Vec::new());
        let (good, critical) = (instance("b", "v2", Health::Warning, 1), instance("b", "v2", Health::Critical, 1));
        let idle = instance("b", "v2", Health::Passing, 0);
        let chosen = |fallback, second: &Instance| choose(Some(&subset(fallback)), &set(second.clone())).0;
        assert_eq!(chosen(v1(), &good), Chosen::Own);
        for second in [&critical, &idle] {
            assert_eq!(chosen(v1(), second), Chosen::Fallback);
            assert_eq!(chosen(Some(Labels::new()), second), Chosen::Fallback, "any");
            assert_eq!(chosen(None, second), Chosen::Nobody);
            assert_eq!(chosen(Some(vec![Label::Tag("v3".into())]), second), Chosen::Nobody);
        }
        // Without any instance it is not the subset that is missing.
        assert_eq!(choose(Some(&subset(None)), &InstanceSet::default()).0, Chosen::Own);
        assert_eq!(choose(None, &set(good)), (Chosen::Own, Some(&[][..])));
    }

    #[test]
    fn an_instance_carries_what_the_registry_says_of_it_all_of_it() {
        let instance = instance("a", "v1", Health::Passing, 1);
        let zone = || Label::Meta("zone".into(), "a".into());
        let all = [Label::Tag("v1".into()), zone(), Label::Zone("z".into()), Label::Datacenter("dc1".into())];
        assert!(carries(&all, &instance) && carries(&[], &instance));
        for other in [
            Label::Tag("v".into()),
            Label::Meta("zone".into(), "b".into()),
            Label::Meta("other".into(), "a".into()),
            Label::Zone("a".into()),
            Label::Datacenter("dc2".into()),
        ] {
            assert!(!carries(&[zone(), other.clone()], &instance), "{other}");
        }
    }
}
