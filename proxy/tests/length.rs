//! No file has more code than somebody can hold in their head.
//!
//! What is long is seldom one thing. The bound counts lines of code alone: comments cost nobody anything here, and the tests of
//! a module are a file of their own, or stand last in it.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by ending")]

use std::fs;
use std::path::{Path, PathBuf};

const MOST: usize = 400;

#[test]
fn no_source_file_has_more_than_400_lines_of_code() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&here.join("src"), &mut files);
    sources(&here.join("../registry-client/src"), &mut files);
    assert!(files.len() > 250, "only {} files were found", files.len());
    let lengths = files.iter().map(|file| (lines_of_code(&fs::read_to_string(file).unwrap()), file));
    let long: Vec<String> = lengths
        .filter(|(lines, _)| *lines > MOST)
        .map(|(lines, file)| {
            format!("{}: {lines} lines of code; what stands in it that could stand alone?", file.display())
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn comments_blank_lines_and_tests_are_not_counted() {
    let text = "//! Why.\n\nuse a::b;\n\n/// What.\nfn f() {\n    // Why.\n    g(); // here\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
    assert_eq!(lines_of_code(text), 4);
    assert_eq!(lines_of_code("fn f() {}\n#[cfg(test)]\nmod tests;\n"), 3);
}

/// Every source file below `dir` that is not one of tests.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests" || name == "testing") {
            continue;
        }
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

fn lines_of_code(text: &str) -> usize {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}
