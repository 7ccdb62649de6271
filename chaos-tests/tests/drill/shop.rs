//! The shop of `examples/`, as its README has it: its matrix is the committed one, and a shop that was made worse is found out.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chaos_tests::foreign::program;
use chaos_tests::proxy::{binary, free_address};
use chaos_tests::raw::get;
use chaos_tests::{SOON, wait_for};
use serde_json::Value;

use crate::stage::assert_ended;

/// Everything that listens.
const NAMES: [&str; 15] = [
    "PROXY",
    "CACHE_PROXY",
    "CACHE",
    "ADMIN_API",
    "CHECKOUT",
    "STOREFRONT",
    "ADMIN",
    "PAYMENTS_1",
    "PAYMENTS_2",
    "INVENTORY_1",
    "INVENTORY_2",
    "CATALOGUE_1",
    "CATALOGUE_2",
    "RECOMMENDATIONS_1",
    "RECOMMENDATIONS_2",
];

/// The shop and its sidecar. Both are killed when it is dropped.
struct Shop {
    addresses: BTreeMap<String, String>,
    children: Vec<Child>,
}

impl Shop {
    /// With a configuration; none where there is no Python.
    fn open(config: &Path) -> Option<Self> {
        let python = program("python3")?;
        let addresses: BTreeMap<String, String> =
            NAMES.iter().map(|name| (format!("SHOP_{name}"), free_address().to_string())).collect();
        let mut apps = Command::new(python)
            .arg(example("shop.py"))
            .arg("--end-with-stdin")
            .envs(&addresses)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut line = String::new();
        BufReader::new(apps.stdout.take().expect("its stdout")).read_line(&mut line).expect("a line");
        assert!(line.starts_with("the shop is open"), "{line}");
        let sidecar = Command::new(binary())
            .args(["run", "--config"])
            .arg(config)
            .envs(&addresses)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("outrigger runs");
        let shop = Self { addresses, children: vec![apps, sidecar] };
        let admin = shop.address("ADMIN_API");
        wait_for("the sidecar", SOON, || {
            std::net::TcpStream::connect(admin).is_ok() && get(admin, "localhost", "/readyz").status() == 200
        });
        Some(shop)
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.addresses[&format!("SHOP_{name}")].parse().expect("an address")
    }

    fn drill(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(["drill", "run"])
            .arg(example("drill.yaml"))
            .args(arguments)
            .envs(&self.addresses)
            .output()
            .expect("outrigger runs")
    }

    fn faults(&self) -> String {
        get(self.address("ADMIN_API"), "localhost", "/api/v1/faults").text()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop").join(name)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("JSON")
}

#[test]
fn the_shops_matrix_is_the_committed_one() {
    let Some(shop) = Shop::open(&example("outrigger.yaml")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("matrix.json");
    let began = Instant::now();
    let output =
        shop.drill(&["--baseline", example("matrix.json").to_str().unwrap(), "--json", made.to_str().unwrap()]);
    assert_ended(&output, 0);
    assert!(began.elapsed() < Duration::from_secs(300), "it took {:?}", began.elapsed());
    let without_date = |path: &Path| {
        let mut matrix = json(path);
        matrix["date"] = Value::Null;
        matrix
    };
    let made = without_date(&made);
    assert_eq!(made, without_date(&example("matrix.json")), "write it anew where the shop is meant to be another");
    let cells: String = made["rows"].to_string();
    for kind in ["\"available\"", "\"degraded\"", "\"unavailable\""] {
        assert!(cells.contains(kind), "no cell is {kind}");
    }
    assert!(shop.faults().contains("\"faults\":[]") || shop.faults().contains("\"faults\": []"), "{}", shop.faults());
}

#[test]
fn the_shops_page_has_the_committed_matrix() {
    let matrix = example("matrix.json");
    let output =
        Command::new(binary()).args(["drill", "matrix"]).arg(matrix).args(["--markdown", "-"]).output().unwrap();
    let page = std::fs::read_to_string(example("README.md")).unwrap();
    let tables = String::from_utf8(output.stdout).unwrap();
    let (_, tables) = tables.split_once("### When it is down").expect("a table");
    assert!(page.contains(tables), "put this into examples/shop/README.md:\n### When it is down{tables}");
}

#[test]
fn a_shop_that_was_made_worse_is_found_out_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("outrigger.yaml");
    let text = std::fs::read_to_string(example("outrigger.yaml")).unwrap();
    let worse = text.replace("    fallback: { stale: 10m }\n", "");
    assert_ne!(text, worse, "the shop has no stale copies to take away");
    std::fs::write(&config, worse).unwrap();
    let Some(shop) = Shop::open(&config) else { return };
    let output = shop.drill(&["--only", "catalogue", "--baseline", example("matrix.json").to_str().unwrap()]);
    let said = assert_ended(&output, 5);
    for part in [
        "2 cells are worse than the baseline",
        "storefront under catalogue down (upstream): was degraded, is unavailable\n  injected  connections are refused and broken; struck ",
        "storefront under catalogue slow (upstream): was degraded, is unavailable",
        "x status 503",
        "absorbed  raw 0 % -> seen 0 %",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert!(shop.faults().contains("[]"), "{}", shop.faults());
}
