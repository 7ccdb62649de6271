//! What tests of the control plane and of the admin API begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use outrigger_registry::{Health, Instance, InstanceId, InstanceSet, Skipped};

use crate::config::settings::{
    HttpLimits, NameSettings, Policy, RegistrySettings, ServiceSettings, Settings, Shutdown, Source, StaticInstance,
    UnknownHost,
};

/// Policies, told apart by their timeout.
pub fn policy(timeout: u64) -> Policy {
    Policy {
        timeout: Duration::from_secs(timeout),
        connect_timeout: Duration::from_secs(1),
        max_connections: 100,
        max_idle: 10,
        idle_timeout: Duration::from_secs(30),
        ..Policy::default()
    }
}

/// One registry, `main`, and these services in it.
pub fn settings(declared: &[&str]) -> Settings {
    let service = |name: &&str| {
        let source = Source::Registry { registry: "main".into(), name: (*name).into() };
        (
            Arc::from(*name),
            ServiceSettings { source, subset: None, listen: None, tls: Default::default(), policy: policy(5) },
        )
    };
    Settings {
        workers: 1,
        tcp: Vec::new(),
        listeners: Vec::new(),
        http: HttpLimits {
            max_head_bytes: 60 << 10,
            max_headers: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            stream_idle_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(60),
            max_connections: 1000,
            trusted: Vec::new(),
            half_close: false,
            deadline_header: "x-request-deadline".into(),
            priority_header: "x-outrigger-priority".into(),
            caller_header: "x-outrigger-caller".into(),
            max_held_bytes: 32 << 20,
            max_stale_bytes: 32 << 20,
            max_buffered: None,
            min_rate: 1 << 10,
        },
        registries: BTreeMap::from([("main".into(), RegistrySettings::File { path: "main.yaml".into() })]),
        services: declared.iter().map(service).collect(),
        defaults: policy(5),
        routes: Vec::new(),
        names: Some(NameSettings {
            registry: Some("main".into()),
            suffixes: Vec::new(),
            allow: vec!["*".into()],
            max_watches: 4,
            unused_after: Duration::from_secs(600),
            unknown: UnknownHost::Direct,
        }),
        faults: Default::default(),
        admin: None,
        admin_access: Default::default(),
        endpoint_metrics: true,
        shutdown: Shutdown { lame_duck: Duration::ZERO, deadline: Duration::ZERO },
        access_log: false,
        query_values: false,
        ready_grace: Duration::from_secs(10),
    }
}

/// Declares a service whose instances stand in the configuration.
pub fn declare_static(settings: &mut Settings, name: &str, instances: &[(&str, u16)]) {
    let written =
        |(host, port): &(&str, u16)| StaticInstance { host: (*host).into(), port: *port, weight: 1, https: false };
    let source = Source::Static(instances.iter().map(written).collect());
    settings.services.insert(
        name.into(),
        ServiceSettings { source, subset: None, listen: None, tls: Default::default(), policy: policy(5) },
    );
}

/// A passing instance of weight 1.
pub fn instance(id: &str, host: &str, port: u16) -> Instance {
    Instance {
        id: InstanceId(id.into()),
        host: host.into(),
        port,
        weight: 1,
        health: Health::Passing,
        tags: Vec::new(),
        meta: BTreeMap::new(),
        datacenter: None,
        zone: None,
    }
}

/// A set without skipped entries.
pub fn set(instances: Vec<Instance>) -> Arc<InstanceSet> {
    Arc::new(InstanceSet::new(instances, Vec::new()))
}

/// A set of which nothing can be used.
pub fn skipped_only(id: &str, reason: &str) -> Arc<InstanceSet> {
    Arc::new(InstanceSet::new(Vec::new(), vec![Skipped { id: InstanceId(id.into()), reason: reason.into() }]))
}
