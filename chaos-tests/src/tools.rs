//! Programs that tests talk to, found or built once.
//!
//! A test that talks to the real thing is worth a build of some minutes, once. A program is taken from
//! `$OUTRIGGER_<NAME>` (`-` as `_`), else from PATH, else built with Go from its module under `tools/`, into the workspace's
//! `target/tools/`, under a name that carries a hash of the module's `go.mod`, `go.sum` and `main.go` and of the linker's
//! flags. A file lock sees to it that two test processes do not build at once.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program and how to build it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name on PATH.
    pub name: &'static str,
    /// Its module's folder under `tools/`.
    pub module: &'static str,
    /// The Go package of its `main`.
    pub package: &'static str,
    /// What its linker is told beyond `-s -w`: a version, mostly.
    pub link: &'static str,
    /// About how long a build from nothing takes on two cores, in words.
    pub build_time: &'static str,
}

impl Tool {
    /// Where the program is; builds it where it is nowhere.
    ///
    /// # Errors
    /// Why it is not to be had, as a sentence.
    pub fn path(&self) -> Result<PathBuf, String> {
        let variable = self.variable();
        if let Some(path) = std::env::var_os(&variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return match path.is_file() {
                true => Ok(path),
                false => Err(format!("{variable} names {}, which is no file", path.display())),
            };
        }
        match on_path(self.name) {
            Some(path) => Ok(path),
            None => self.build(),
        }
    }

    /// [`Tool::path`], where a test may go without: says so loudly, and is an error where `CI=true`.
    ///
    /// # Errors
    /// The program is not to be had, and this is CI.
    pub fn path_or_skip(&self) -> Result<Option<PathBuf>, String> {
        match self.path() {
            Ok(path) => Ok(Some(path)),
            Err(why) if std::env::var("CI").is_ok_and(|ci| ci == "true") => Err(why),
            Err(why) => {
                say(&format!("SKIPPED, NOT TESTED: {}: {why}", self.name));
                Ok(None)
            }
        }
    }

    fn variable(&self) -> String {
        format!("OUTRIGGER_{}", self.name.to_uppercase().replace('-', "_"))
    }

    fn build(&self) -> Result<PathBuf, String> {
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(self.module);
        let cache = target().join("tools");
        let built = cache.join(format!("{}-{:016x}", self.name, self.key(&module)?));
        if built.is_file() {
            return Ok(built);
        }
        let go = on_path("go")
            .ok_or_else(|| format!("${} is not set, and neither {} nor go is on PATH", self.variable(), self.name))?;
        std::fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
        let lock = cache.join(format!("{}.lock", self.name));
        let lock = File::create(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
        lock.lock().map_err(|error| format!("cannot wait for another build: {error}"))?;
        if built.is_file() {
            return Ok(built);
        }
        say(&format!("building {} with Go, once; it takes {}", self.name, self.build_time));
        let part = built.with_extension("part");
        let build = Command::new(go)
            .args(["build", "-buildvcs=false", "-ldflags", &format!("-s -w {}", self.link), "-o"])
            .arg(&part)
            .arg(self.package)
            .current_dir(&module)
            .output()
            .map_err(|error| format!("go build: {error}"))?;
        if !build.status.success() {
            let said = String::from_utf8_lossy(&build.stderr);
            let end: Vec<_> = said.lines().rev().take(5).collect();
            return Err(format!(
                "go build: {}: {}",
                build.status,
                end.into_iter().rev().collect::<Vec<_>>().join(" | ")
            ));
        }
        std::fs::rename(&part, &built).map_err(|error| format!("{}: {error}", built.display()))?;
        Ok(built)
    }

    /// FNV-1a over what decides which program comes out.
    fn key(&self, module: &Path) -> Result<u64, String> {
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for file in ["go.mod", "go.sum", "main.go"] {
            let path = module.join(file);
            // A module that only names other people's programs has none of its own.
            if file == "main.go" && !path.is_file() {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            hash = bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        }
        Ok(self.link.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }
}

/// A line that the test runner does not capture.
pub fn say(line: &str) {
    // Where nobody listens there is nothing to be done.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

fn target() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}
