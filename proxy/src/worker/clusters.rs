//! A worker's clusters by the name of their service.
//!
//! A view is never changed, because requests hold it, and a new one is made whenever a service has changed. Of thousands of services
//! few change at a time. So the names are spread over `SHARDS` small tables, and a new view shares those in which nothing has changed
//! with the one before: what a change costs a worker does not grow with the number of services.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use crate::worker::cluster::WorkerCluster;

/// Small enough to be copied, as pointers, for each view.
const SHARDS: usize = 64;

type Shard = HashMap<Arc<str>, Rc<WorkerCluster>>;

/// Clusters by name.
#[derive(Debug)]
pub struct Clusters {
    shards: Box<[Rc<Shard>]>,
    /// Names come from the network: which shard one is in is nobody's to choose.
    spread: RandomState,
}

impl Clusters {
    /// These.
    pub fn of(clusters: impl Iterator<Item = Rc<WorkerCluster>>) -> Self {
        let spread = RandomState::new();
        let mut shards: Vec<Shard> = vec![Shard::new(); SHARDS];
        for cluster in clusters {
            let name = Arc::clone(&cluster.cluster.name);
            if let Some(shard) = shards.get_mut(at(&spread, &name)) {
                shard.insert(name, cluster);
            }
        }
        Self { shards: shards.into_iter().map(Rc::new).collect(), spread }
    }

    /// The same, but for those of these names: what each is now, or none where it is gone.
    pub fn changed(&self, names: &[Arc<str>], now: impl Fn(&Arc<str>) -> Option<Rc<WorkerCluster>>) -> Self {
        let mut shards = self.shards.clone();
        for name in names {
            let Some(shard) = shards.get_mut(at(&self.spread, name)) else { continue };
            // The first change copies the shard, which the view before still has.
            let shard = Rc::make_mut(shard);
            match now(name) {
                Some(cluster) => shard.insert(Arc::clone(name), cluster),
                None => shard.remove(name),
            };
        }
        Self { shards, spread: self.spread.clone() }
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Rc<WorkerCluster>> {
        self.shards.get(at(&self.spread, name))?.get(name)
    }

    /// All, in no order.
    pub fn values(&self) -> impl Iterator<Item = &Rc<WorkerCluster>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }
}

fn at(spread: &RandomState, name: &str) -> usize {
    // The remainder is below `SHARDS`.
    (spread.hash_one(name) % SHARDS as u64) as usize
}
