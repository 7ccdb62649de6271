//! What the operator writes, and how it becomes what the program uses.
//!
//! A file goes through four steps, each in a module of its own: its text becomes a tree that knows where everything
//! stands (`tree`); the tree becomes the types as written (`read`, `written`), every value parsed where it stands
//! (`text`); these are checked against each other and given their meaning (`build`); and what comes out is
//! [`settings::Settings`], in which nothing is missing and nothing is wrong. A fault in one step does not hide those
//! of the next: all are told at once, as [`ConfigErrors`].

mod build;
mod defaults;
pub mod docs;
mod error;
mod explain;
pub(crate) mod read;
pub mod settings;
pub mod text;
pub(crate) mod tree;
mod warnings;
pub mod written;

use std::cell::RefCell;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Mark};
pub use explain::{ExplainedKey, ExplainedRoute, ExplainedService};
use settings::Settings;
pub use warnings::warnings;
pub use written::Config;

use tree::Tree;

/// A configuration that was found to be good.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// As it was written.
    pub config: Config,
    /// As it is used.
    pub settings: Settings,
    tree: Tree,
    told: Told,
}

/// What messages are told with.
#[derive(Debug, Clone, Default)]
struct Told {
    /// What they call the file.
    file: String,
    /// The variables of the environment that were used, which no message shows.
    used: Vec<(String, String)>,
    /// The file's text, where any were.
    text: String,
}

/// Makes settings of a configuration's text.
pub type Load = Box<dyn Fn(&str) -> Result<Settings, ConfigErrors> + Send>;

/// How a running proxy reads its configuration again.
pub struct Reload {
    /// The file, to be watched.
    pub path: PathBuf,
    /// Its text as it was read last. None if that was from a pipe, where it is not found a second time.
    pub text: Option<String>,
    /// Makes settings of another text of it, with what was said on the command line on top.
    pub load: Load,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").field("path", &self.path).finish_non_exhaustive()
    }
}

/// As [`parse`], of a file that takes the place of one that is in use: one with nothing in it is refused, since it was
/// hardly meant. Whoever means it writes `{}`.
pub fn parse_again(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    adjust: impl FnOnce(&mut Config),
) -> Result<Loaded, ConfigErrors> {
    let loaded = parse(file, text, env, adjust)?;
    match &loaded.tree.root.kind {
        tree::Kind::Scalar { .. } => {
            Err(ConfigErrors::whole(file, "there is nothing in it; one that is to be empty is written `{}`".into()))
        }
        _ => Ok(loaded),
    }
}

/// The text of a file, refused when it is too large or not UTF-8.
pub fn read_file(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|e| ConfigErrors::whole(&name, format!("cannot be opened: {e}")))?;
    read_text(&name, file)
}

/// As [`read_file`], of a name that a running proxy reads again: only of a file, since a pipe that nobody writes to, or a
/// device, could keep whoever reads it for ever, and with it every later configuration.
pub fn read_file_again(path: &Path) -> Result<String, ConfigErrors> {
    let name = path.display().to_string();
    let wrong = |e: std::io::Error| ConfigErrors::whole(&name, format!("cannot be opened: {e}"));
    // Before it is opened: to open a device can do something. And after it, since the name may lead elsewhere by then.
    only_a_file(&name, &std::fs::metadata(path).map_err(wrong)?)?;
    let without_waiting = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(without_waiting).open(path).map_err(wrong)?;
    only_a_file(&name, &file.metadata().map_err(wrong)?)?;
    read_text(&name, file)
}

fn only_a_file(name: &str, found: &Metadata) -> Result<(), ConfigErrors> {
    let kind = match found.file_type() {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(ConfigErrors::whole(name, format!("is {kind}, and only a file is read again")))
}

/// The text of an open file or of standard input, refused when it is too large or not UTF-8.
pub fn read_text(name: &str, input: impl Read) -> Result<String, ConfigErrors> {
    let mut bytes = Vec::new();
    let limit = tree::MAX_BYTES as u64 + 1;
    input.take(limit).read_to_end(&mut bytes).map_err(|e| ConfigErrors::whole(name, format!("cannot be read: {e}")))?;
    if bytes.len() as u64 == limit {
        return Err(ConfigErrors::whole(name, format!("is larger than {} bytes", tree::MAX_BYTES)));
    }
    String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to();
        ConfigErrors::whole(name, format!("is not UTF-8, from byte {byte} on"))
    })
}

/// Checks a file's text. `file` is its name in messages, `env` the environment.
pub fn parse(
    file: &str,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    adjust: impl FnOnce(&mut Config),
) -> Result<Loaded, ConfigErrors> {
    let used = RefCell::new(Vec::new());
    let noted = |name: &str| {
        let value = env(name)?;
        used.borrow_mut().push((name.to_owned(), value.clone()));
        Some(value)
    };
    let loaded = Tree::parse(text, &noted).map_err(|e| ConfigErrors::new(file, vec![e])).and_then(|mut tree| {
        let mut config: Config = read::read(&mut tree);
        adjust(&mut config);
        finish(file, config, tree)
    });
    let used = used.into_inner();
    match loaded {
        Ok(loaded) if used.is_empty() => Ok(loaded),
        Ok(loaded) => Ok(Loaded { told: Told { used, text: text.to_owned(), ..loaded.told }, ..loaded }),
        Err(errors) => Err(errors.without(&used, text)),
    }
}

/// Checks a configuration that stands in no file. `origin` is what messages call it: `<arguments>`.
pub fn from_parts(origin: &str, config: Config) -> Result<Loaded, ConfigErrors> {
    finish(origin, config, Tree::empty())
}

fn finish(file: &str, config: Config, mut tree: Tree) -> Result<Loaded, ConfigErrors> {
    let mut errors = std::mem::take(&mut tree.errors);
    let settings = build::settings(&config, &tree, &mut errors);
    let told = Told { file: file.to_owned(), ..Told::default() };
    if errors.is_empty() { Ok(Loaded { config, settings, tree, told }) } else { Err(ConfigErrors::new(file, errors)) }
}

impl Loaded {
    /// The same, unless whoever knows more than a file can say has found something wrong: keys, and what is wrong under each.
    ///
    /// # Errors
    ///
    /// What was found, each where its key stands.
    pub fn unless(self, found: Vec<(Vec<String>, String)>) -> Result<Self, ConfigErrors> {
        if found.is_empty() {
            return Ok(self);
        }
        let error = |(path, message): (Vec<String>, String)| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            self.tree.error_at(&path, message)
        };
        let errors = ConfigErrors::new(&self.told.file, found.into_iter().map(error).collect());
        Err(errors.without(&self.told.used, &self.told.text))
    }

    /// What each service, or one, ends up with, and where each value came from. None for a service that is not
    /// declared.
    pub fn explain(&self, service: Option<&str>) -> Option<Vec<ExplainedService>> {
        explain::explain(&self.settings, &self.tree, service)
    }
}

#[cfg(test)]
mod tests;
