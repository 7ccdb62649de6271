//! The rules, as data: which folder may name which, what nobody may reach by any way, and who alone may name what.

/// A folder, or a file of its own, at the top of `proxy/src`.
pub struct Folder {
    /// Its name.
    pub name: &'static str,
    /// All that it may name something of.
    pub names: &'static [&'static str],
}

/// What some modules never name.
pub struct Rule {
    /// The rule, for whoever breaks it.
    pub says: &'static str,
    /// Modules, with all below them.
    pub of: &'static [&'static str],
    /// Paths, with all below them. `*::X` is an `X` anywhere, `.x` a method.
    pub never: &'static [&'static str],
    /// Paths of those that are theirs to name.
    pub but: &'static [&'static str],
    /// Whether it holds for all that they need, too, and for what that needs.
    pub by_any_way: bool,
}

/// What is named in some places alone.
pub struct Places {
    /// The rule, for whoever breaks it.
    pub says: &'static str,
    /// As in [`Rule::never`].
    pub what: &'static [&'static str],
    /// The modules, with all below them. Each of them does.
    pub only: &'static [&'static str],
}

/// The order, from the top: whoever stands here names some of those that stand below it, and nobody above.
pub const FOLDERS: &[Folder] = &[
    Folder { name: "main", names: &["cli"] },
    Folder {
        name: "cli",
        names: &[
            "outrigger_registry",
            "app",
            "admin",
            "drill",
            "fault_manager",
            "telemetry",
            "route",
            "config",
            "fault",
            "http",
            "units",
        ],
    },
    Folder {
        name: "app",
        names: &[
            "outrigger_registry",
            "admin",
            "control",
            "serve",
            "tcp",
            "worker",
            "request",
            "fault_manager",
            "telemetry",
            "snapshot",
            "drain",
            "config",
            "tls",
            "fault",
            "net",
            "http",
            "clock",
        ],
    },
    Folder {
        name: "admin",
        names: &[
            "tcp",
            "fault_manager",
            "telemetry",
            "snapshot",
            "counts",
            "balance",
            "resilience",
            "config",
            "fault",
            "http",
            "units",
            "clock",
            "error",
        ],
    },
    Folder {
        name: "control",
        names: &[
            "outrigger_registry",
            "telemetry",
            "snapshot",
            "counts",
            "route",
            "config",
            "tls",
            "net",
            "http",
            "clock",
        ],
    },
    Folder {
        name: "serve",
        names: &["tcp", "downstream", "worker", "request", "drain", "fault", "tls", "net", "timer", "http2", "http"],
    },
    Folder {
        name: "tcp",
        names: &[
            "worker",
            "upstream",
            "relay",
            "fault_manager",
            "telemetry",
            "snapshot",
            "counts",
            "resilience",
            "drain",
            "config",
            "fault",
            "tls",
            "net",
            "timer",
            "error",
        ],
    },
    Folder {
        name: "downstream",
        names: &[
            "forward",
            "worker",
            "upstream",
            "relay",
            "request",
            "telemetry",
            "resilience",
            "drain",
            "tls",
            "net",
            "timer",
            "http2",
            "http",
            "clock",
            "error",
        ],
    },
    Folder {
        name: "forward",
        names: &[
            "worker",
            "upstream",
            "request",
            "telemetry",
            "snapshot",
            "counts",
            "route",
            "resilience",
            "config",
            "fault",
            "tls",
            "net",
            "timer",
            "http",
            "clock",
            "error",
        ],
    },
    Folder {
        name: "worker",
        names: &[
            "upstream",
            "relay",
            "request",
            "telemetry",
            "snapshot",
            "counts",
            "route",
            "balance",
            "resilience",
            "drain",
            "config",
            "tls",
            "net",
            "timer",
            "http",
            "clock",
            "error",
        ],
    },
    Folder {
        name: "upstream",
        names: &[
            "relay",
            "request",
            "snapshot",
            "counts",
            "balance",
            "resilience",
            "config",
            "tls",
            "net",
            "timer",
            "http2",
            "http",
            "clock",
            "error",
        ],
    },
    Folder { name: "relay", names: &["fault", "net", "timer", "http", "clock"] },
    Folder {
        name: "request",
        names: &[
            "telemetry",
            "route",
            "resilience",
            "config",
            "tls",
            "net",
            "timer",
            "http2",
            "http",
            "clock",
            "error",
        ],
    },
    Folder { name: "drill", names: &["telemetry", "resilience", "config", "fault", "units", "clock"] },
    Folder { name: "fault_manager", names: &["telemetry", "snapshot", "counts", "config", "fault", "units", "clock"] },
    Folder { name: "telemetry", names: &["snapshot", "counts", "fault", "clock", "error"] },
    Folder { name: "snapshot", names: &["counts", "route", "resilience", "config", "tls", "fault", "clock"] },
    Folder { name: "counts", names: &["resilience", "error"] },
    Folder { name: "route", names: &["resilience", "config", "http"] },
    Folder { name: "balance", names: &["config", "clock"] },
    Folder { name: "resilience", names: &["config", "http", "clock", "error"] },
    Folder { name: "drain", names: &["config"] },
    Folder { name: "tls", names: &["config"] },
    Folder { name: "config", names: &["fault", "reference", "http", "units"] },
    Folder { name: "fault", names: &["reference", "units", "clock"] },
    Folder { name: "reference", names: &[] },
    Folder { name: "net", names: &["http", "clock"] },
    Folder { name: "timer", names: &["clock"] },
    Folder { name: "http2", names: &["http"] },
    Folder { name: "http", names: &[] },
    Folder { name: "units", names: &[] },
    Folder { name: "clock", names: &[] },
    Folder { name: "error", names: &[] },
];

/// What carries requests and connections.
const DATA: &[&str] = &[
    "crate::serve",
    "crate::downstream",
    "crate::forward",
    "crate::worker",
    "crate::upstream",
    "crate::request",
    "crate::relay",
    "crate::tcp",
];

/// What is true by any way, and what is more than a matter of folders.
pub const RULES: &[Rule] = &[
    Rule {
        says: "the control plane reaches nothing of what carries requests, nor who wires the two together",
        of: &["crate::control"],
        never: &[
            "crate::serve",
            "crate::downstream",
            "crate::forward",
            "crate::worker",
            "crate::upstream",
            "crate::request",
            "crate::relay",
            "crate::tcp",
            "crate::app",
            "crate::admin",
            "crate::cli",
        ],
        but: &[],
        by_any_way: true,
    },
    Rule {
        says: "what carries requests reaches neither the control plane nor the registries, and of the configuration only \
            what it means, `config::settings`",
        of: DATA,
        never: &[
            "crate::control",
            "outrigger_registry",
            "reqwest",
            "crate::config",
            "crate::app",
            "crate::admin",
            "crate::cli",
            "crate::drill",
        ],
        but: &["crate::config::settings"],
        by_any_way: true,
    },
    Rule {
        says: "policies, routes, the snapshot, the counts, the table of errors and the codec reach no socket, no file, no thread, \
            no HTTP library and no clock: `Instant` is an argument. Channels need no runtime, so the joint may have them",
        of: &[
            "crate::balance",
            "crate::resilience",
            "crate::route",
            "crate::snapshot",
            "crate::counts",
            "crate::error",
            "crate::http",
            "crate::units",
        ],
        never: &[
            "tokio",
            "hyper",
            "hyper_util",
            "h2",
            "reqwest",
            "outrigger_registry",
            "std::fs",
            "std::thread",
            "*::Instant::now",
            "*::SystemTime::now",
            ".elapsed",
            "crate::clock::system",
            "crate::net",
        ],
        but: &["tokio::sync"],
        by_any_way: true,
    },
    Rule {
        says: "of the configuration, whoever is not there to read it names only what it means, `config::settings`",
        of: &[
            "crate::admin",
            "crate::control",
            "crate::fault_manager",
            "crate::drain",
            "crate::snapshot",
            "crate::route",
            "crate::balance",
            "crate::resilience",
        ],
        never: &["crate::config"],
        but: &["crate::config::settings"],
        by_any_way: false,
    },
    Rule {
        says: "the crate of the registries names nothing of the proxy",
        of: &["outrigger_registry"],
        never: &["crate"],
        but: &[],
        by_any_way: false,
    },
];

/// Who alone names what.
pub const PLACES: &[Places] = &[
    Places {
        says: "sockets are named by `net`, by the admin API's own server, by the clients and servers of drills and of the demo, and \
            by the embedded registry's server",
        what: &["*::TcpStream", "*::TcpListener", "*::TcpSocket", "*::UnixStream", "*::UnixListener"],
        only: &["crate::net", "crate::admin", "crate::drill", "crate::cli", "outrigger_registry::embedded"],
    },
    Places {
        says: "a library's HTTP client is the registries' alone",
        what: &["reqwest"],
        only: &["outrigger_registry"],
    },
    Places {
        says: "the registries' contract is named by the control plane, which follows it, by `app` and by commands, which make one",
        what: &["outrigger_registry"],
        only: &["outrigger_registry", "crate::control", "crate::app", "crate::cli"],
    },
];
