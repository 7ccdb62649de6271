//! The release builds of this project's own two proxies, made from inside a test or a benchmark.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Proxy;

/// Where cargo puts what it builds, for a test or a benchmark that asks: `target`, if its program is
/// `target/release/deps/name-...`.
///
/// # Errors
/// The program lies elsewhere.
pub fn target_directory() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).map(Path::to_path_buf);
    target.ok_or_else(|| io::Error::other("not where cargo puts programs"))
}

/// Builds those of `proxies` that are ours, as a user would have them, unless an environment variable names others.
///
/// # Errors
/// The build fails.
pub fn build(proxies: &[Proxy]) -> io::Result<()> {
    build_into(&target_directory()?, proxies)
}

/// As [`build`], for a program that knows where cargo puts things.
///
/// # Errors
/// The build fails.
pub fn build_into(target: &Path, proxies: &[Proxy]) -> io::Result<()> {
    let ours = |proxy, variable: &str| proxies.contains(&proxy) && std::env::var_os(variable).is_none();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    cargo.arg("--target-dir").arg(target);
    // What the outer cargo says of its own run is not for the inner one: build scripts would run anew for it.
    for (name, _) in std::env::vars_os() {
        let own = |n: &str| ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|p| n.starts_with(p));
        if name.to_str().is_some_and(own) {
            cargo.env_remove(name);
        }
    }
    let outrigger = [Proxy::Outrigger, Proxy::OutriggerTwo].into_iter().any(|p| ours(p, "OUTRIGGER_BIN"));
    let floor = ours(Proxy::Floor, "FLOOR_BIN");
    if outrigger {
        cargo.args(["-p", "outrigger", "--bin", "outrigger"]);
    }
    if floor {
        cargo.args(["-p", "chaos-tests", "--example", "floor"]);
    }
    if (outrigger || floor) && !cargo.status()?.success() {
        return Err(io::Error::other("the release build failed"));
    }
    Ok(())
}
