//! What is wrong with a configuration, all of it at once.
//!
//! Fixing a file one error per run is what makes people give up on checking it. So nothing here stops at the
//! first fault: every error is collected with the key it concerns and the place where it stands, and they are
//! told together, in the order of the file.

use std::fmt::{self, Write};

use serde::Serialize;

/// Everything that is wrong with one configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The file's name, or `<stdin>`, or `<arguments>`.
    pub file: String,
    /// In the order of the file. Never empty.
    pub errors: Vec<ConfigError>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The key: `services.orders.timeout`, `routes[2].path`; empty for the file as a whole.
    pub path: String,
    /// Where it stands; none for what stands in no file.
    #[serde(flatten)]
    pub mark: Option<Mark>,
    /// What was found and what was expected.
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Mark {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl ConfigErrors {
    /// Errors of the file with this name, put into the order of the file.
    pub(crate) fn new(file: &str, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|e| e.mark.unwrap_or(Mark { line: usize::MAX, column: 0 }));
        Self { file: file.to_owned(), errors }
    }

    /// The same without what stands in the environment: a log is read by more people than a password is meant for.
    ///
    /// What stands on a line with a `${VARIABLE}` may be one in another form (`2m` for `120s`), so what was found there is left
    /// out altogether. Elsewhere a value that is long enough to be told from a word of the message is replaced by its name.
    pub(crate) fn without(mut self, used: &[(String, String)], text: &str) -> Self {
        for error in &mut self.errors {
            let line = error.mark.and_then(|mark| text.lines().nth(mark.line.saturating_sub(1))).unwrap_or_default();
            let from_there = line.contains("${");
            if from_there
                && error.message.starts_with("found ")
                && let Some(at) = error.message.rfind(", expected ")
                && used.iter().any(|(name, _)| line.contains(name.as_str()))
            {
                error.message.replace_range(..at, "found what the environment says (not shown)");
            }
            let longest = |(_, value): &&(String, String)| std::cmp::Reverse(value.len());
            let mut values: Vec<_> =
                used.iter().filter(|(_, value)| value.len() >= if from_there { 1 } else { 4 }).collect();
            values.sort_by_key(longest);
            for (name, value) in values {
                for hidden in [&mut error.message, &mut error.path] {
                    if hidden.contains(value.as_str()) {
                        *hidden = hidden.replace(value.as_str(), &format!("${{{name}}}"));
                    }
                }
            }
        }
        self
    }

    /// One error that concerns the file as a whole.
    pub(crate) fn whole(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), errors: vec![ConfigError { path: String::new(), mark: None, message }] }
    }
}

impl std::error::Error for ConfigErrors {}

/// One line for each error, in the form that editors jump to: `file:line:column: key: message`.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{error}", self.file)?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mark) = self.mark {
            write!(f, "{mark}:")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        f.write_char(' ')?;
        // What was found is quoted from the file: it must not break the line, nor speak to the terminal.
        self.message.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The candidate that was most likely meant, as the end of a message; empty where none is close.
pub(crate) fn did_you_mean<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let found = found.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&found, &c.to_lowercase()), c))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| format!("; did you mean `{c}`?"))
        .unwrap_or_default()
}
