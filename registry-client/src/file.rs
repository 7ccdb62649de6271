//! A file of services and their instances, followed as it changes.
//!
//! ```yaml
//! services:
//!   orders:
//!     - 127.0.0.1:3001
//!     - { address: "127.0.0.1:3002", weight: 3, zone: a }
//! ```
//!
//! The same in JSON, where the name ends in `.json`.
//!
//! # Why watch the directory?
//!
//! Because files are replaced more often than they are written: editors and `mv` put another file under the name, Kubernetes
//! swaps a symbolic link beside it. A watch on the file itself would go on looking at the one that was
//! replaced. Where the system cannot watch (a network file system, no descriptors left, a directory that is not there yet), the file is read
//! every [`REREAD`] all the same, so a watch is late there and never blind.
//!
//! A file that cannot be read, or is wrong anywhere, fails whole: the last good set stays, and the reason names the line. An
//! empty file is wrong too, and so is a service with nothing behind its colon, since that is how a file looks that is just
//! being written; no instances are `[]`. What has changed is taken once it was the same at two looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecursiveMode, Watcher};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::watch::{Polled, Source, Subject, follow};
use crate::{Health, Instance, InstanceId, InstanceSet, Registry, ServiceName, Skipped, Watch};

/// How often the file is read without a reason.
pub const REREAD: Duration = Duration::from_secs(10);

/// The largest file that is read, in bytes.
pub const MAX_FILE: u64 = 16 << 20;

/// How many values the aliases of a YAML file may stand for, all together.
const MAX_UNFOLDED: usize = 100_000;

/// A file that was just touched may be touched again.
const SETTLE: Duration = Duration::from_millis(30);

/// Looks at a file that is another at each, before it is given up.
const RESTLESS: u32 = 100;

/// After a failure; the file may be put right at any time, and asking costs little.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));

/// The services of a file. Cheap to clone; all watches share one reading of the file.
#[derive(Clone)]
pub struct File {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// Rises when something happened beside the file.
    changes: watch::Sender<u64>,
    read: Mutex<Read>,
}

/// The last reading, and what keeps it up to date.
#[derive(Default)]
struct Read {
    bytes: Vec<u8>,
    parsed: Option<Result<Arc<Parsed>, String>>,
    watching: Option<(Vec<PathBuf>, notify::RecommendedWatcher)>,
}

type Parsed = BTreeMap<ServiceName, InstanceSet>;

impl File {
    /// Follows the file at `path`, which need not exist yet. Nothing is read before the first watch.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let shared = Shared { path: path.into(), changes: watch::Sender::new(0), read: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl Registry for File {
    fn watch(&self, service: &ServiceName) -> Watch {
        let subject = Subject { registry: self.describe(), service: service.clone() };
        let shared = Arc::clone(&self.shared);
        let changes = shared.changes.subscribe();
        let entry = FileEntry { shared, service: service.clone(), changes, wait: false };
        follow(entry, subject, BACKOFF, fastrand::Rng::new())
    }

    fn describe(&self) -> String {
        format!("file {}", self.shared.path.display())
    }
}

/// One service of the file.
struct FileEntry {
    shared: Arc<Shared>,
    service: ServiceName,
    changes: watch::Receiver<u64>,
    wait: bool,
}

impl Source for FileEntry {
    async fn poll(&mut self, _last: Option<&Arc<InstanceSet>>) -> Result<Polled, String> {
        if self.wait && timeout(REREAD, self.changes.changed()).await.is_ok() {
            sleep(SETTLE).await;
        }
        self.changes.mark_unchanged();
        let parsed = self.shared.read().await?;
        self.wait = true;
        Ok(Polled::Set(parsed.get(&self.service).cloned().unwrap_or_default(), Duration::ZERO))
    }

    fn deadline(&self) -> Duration {
        REREAD * 3
    }

    fn failed(&mut self) {
        self.wait = false;
    }
}

impl Shared {
    async fn read(&self) -> Result<Arc<Parsed>, String> {
        let mut read = self.read.lock().await;
        self.keep_watching(&mut read);
        let look = async || bounded(&self.path).await.map_err(|error| format!("cannot read it: {error}"));
        let mut bytes = look().await?;
        if let Some(parsed) = read.parsed.as_ref() {
            if read.bytes == bytes {
                return parsed.clone();
            }
            // It may be half of what it will be.
            let mut rounds = 0;
            loop {
                sleep(SETTLE).await;
                let again = look().await?;
                if again == bytes {
                    break;
                }
                bytes = again;
                rounds += 1;
                if rounds == RESTLESS {
                    return Err("it is changed without an end".to_owned());
                }
            }
        }
        let is_json = self.path.extension().is_some_and(|extension| extension == "json");
        // A large file takes long enough to be felt by whatever else runs on this thread.
        let parsing = tokio::task::spawn_blocking(move || (parse(&bytes, is_json).map(Arc::new), bytes));
        let (parsed, bytes) = parsing.await.map_err(|error| format!("cannot parse it: {error}"))?;
        read.bytes = bytes;
        read.parsed = Some(parsed.clone());
        parsed
    }

    /// Watches the directories of every name that leads to the file, the links' included, where they are not watched yet.
    fn keep_watching(&self, read: &mut Read) {
        let directories = directories(&self.path);
        if read.watching.as_ref().is_some_and(|(watched, _)| *watched == directories) {
            return;
        }
        let changes = self.changes.clone();
        let on_event = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| changes_something(event.kind)) {
                changes.send_modify(|generation| *generation += 1);
            }
        };
        // Without a watcher the file is read now and then: late, and never blind.
        read.watching = notify::recommended_watcher(on_event).ok().and_then(|mut watcher| {
            let mut watched = directories.iter().map(|at| watcher.watch(at, RecursiveMode::NonRecursive));
            let all = watched.all(|outcome| outcome.is_ok());
            all.then_some((directories, watcher))
        });
    }
}

/// Reading is an event, too; to react to it would be to read for ever.
fn changes_something(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut directories = vec![parent(path)];
    if let Ok(target) = path.canonicalize() {
        directories.push(parent(&target));
    }
    directories.dedup();
    directories
}

/// Reads a file, and only a file: a pipe that nobody writes to, or a device, could keep the thread that reads it for ever, and
/// each further try another one.
async fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let only_a_file = |found: std::fs::Metadata| match found.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::other("it is not a file")),
    };
    // Before it is opened: to open a device can do something. And after it, since the name may lead elsewhere by then.
    only_a_file(tokio::fs::metadata(path).await?)?;
    let file =
        tokio::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).await?;
    only_a_file(file.metadata().await?)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(std::io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

/// Reads a whole file of services.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(bytes: &[u8], is_json: bool) -> Result<BTreeMap<ServiceName, InstanceSet>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: not UTF-8")
    })?;
    if text.trim().is_empty() {
        return Err("the file is empty".to_owned());
    }
    let written: Written = match is_json {
        true => serde_json::from_str(text).map_err(|error| error.to_string())?,
        false => {
            let options = serde_saphyr::options! {
                alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_UNFOLDED },
            };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| error.without_snippet().to_string())?
        }
    };
    let sets = written.services.into_iter().map(|(name, instances)| {
        let instances: Vec<_> = instances.into_iter().map(|WrittenInstance(instance)| instance).collect();
        let mut seen = std::collections::BTreeSet::new();
        let twice: Vec<_> = instances
            .iter()
            .filter(|instance| !seen.insert(instance.id.clone()))
            .map(|instance| Skipped { id: instance.id.clone(), reason: "is listed twice".to_owned() })
            .collect();
        (name, InstanceSet::new(instances, twice))
    });
    Ok(sets.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    services: BTreeMap<ServiceName, Vec<WrittenInstance>>,
}

/// `host:port`, or a map with `address` and more.
struct WrittenInstance(Instance);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    address: String,
    id: Option<Arc<str>>,
    weight: Option<u32>,
    health: Option<Health>,
    #[serde(default)]
    tags: Vec<Arc<str>>,
    #[serde(default)]
    meta: BTreeMap<Arc<str>, Arc<str>>,
    datacenter: Option<Arc<str>>,
    zone: Option<Arc<str>>,
}

impl<'de> Deserialize<'de> for WrittenInstance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = WrittenInstance;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("host:port, or a map with an address")
            }

            fn visit_str<E: de::Error>(self, address: &str) -> Result<Self::Value, E> {
                Instance::at(address).map(WrittenInstance).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                fields.into_instance().map(WrittenInstance).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl Fields {
    fn into_instance(self) -> Result<Instance, String> {
        let Self { address, id, weight, health, tags, meta, datacenter, zone } = self;
        let mut instance = Instance::at(&address)?;
        if let Some(id) = id {
            instance.id = InstanceId(id);
        }
        let health = health.unwrap_or(Health::Passing);
        let weight = if health == Health::Critical { 0 } else { weight.unwrap_or(1) };
        Ok(Instance { weight, health, tags, meta, datacenter, zone, ..instance })
    }
}

#[cfg(test)]
mod tests;
