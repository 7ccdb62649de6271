//! A list that the operator wrote: no registry at all, behind the same contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;

use crate::consul::wire;
use crate::{Health, Instance, InstanceId, InstanceSet, Registry, ServiceName, Update, Watch};

/// How often a list is confirmed, so that the age of its data stays small.
const CONFIRM: Duration = Duration::from_secs(60);

/// Services whose instances never change. A service that is not in the list has no instances.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    services: BTreeMap<ServiceName, Arc<InstanceSet>>,
}

impl Fixed {
    /// Serves these sets.
    pub fn new(services: impl IntoIterator<Item = (ServiceName, InstanceSet)>) -> Self {
        Self { services: services.into_iter().map(|(name, set)| (name, Arc::new(set))).collect() }
    }
}

impl Registry for Fixed {
    fn watch(&self, service: &ServiceName) -> Watch {
        let set = self.services.get(service).cloned().unwrap_or_default();
        Box::pin(stream::unfold((set, false), |(set, sent)| async move {
            if sent {
                tokio::time::sleep(CONFIRM).await;
            }
            Some((Update::Set(Arc::clone(&set)), (set, true)))
        }))
    }

    fn describe(&self) -> String {
        "the configuration".to_owned()
    }
}

impl Instance {
    /// A passing instance of weight 1 at `host:port` or `[ipv6]:port`, which is also its id.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn at(address: &str) -> Result<Self, String> {
        let (host, port) =
            address.rsplit_once(':').ok_or_else(|| format!("{address:?} has no port: host:port is needed"))?;
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(format!("{address:?}: an IPv6 address needs brackets: [::1]:80"));
        }
        let host = wire::host(host)?;
        // `u16::parse` would take "+80".
        let digits = port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        let port = port.ok_or_else(|| format!("{address:?}: a port is a number from 1 to 65535"))?;
        Ok(Self {
            id: InstanceId(address.into()),
            host,
            port,
            weight: 1,
            health: Health::Passing,
            tags: Vec::new(),
            meta: BTreeMap::new(),
            datacenter: None,
            zone: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, host, port) in
            [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:65535", "::1", 65535), ("db.internal:1", "db.internal", 1)]
        {
            let instance = Instance::at(address).unwrap();
            assert_eq!((&*instance.host, instance.port, &*instance.id.0), (host, port, address));
        }
        for bad in ["", "h", "h:", "h:0", "h:65536", "h:+80", ":80", "::1:80", "a b:80", "http://h:80", "[::1]"] {
            assert!(Instance::at(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_there_at_once_and_stays_and_what_is_not_in_it_is_empty() {
        let set = InstanceSet::new(vec![Instance::at("127.0.0.1:80").unwrap()], Vec::new());
        let fixed = Fixed::new([("a".into(), set.clone())]);
        let mut watch = fixed.watch(&"a".into());
        for _ in 0..3 {
            assert!(matches!(watch.next().await, Some(Update::Set(got)) if *got == set));
        }
        assert!(matches!(fixed.watch(&"b".into()).next().await, Some(Update::Set(got)) if got.instances().is_empty()));
    }
}
