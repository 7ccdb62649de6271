//! The committed corpora, run once through their checks without libFuzzer: `cargo test` here is quick and needs no
//! more than a toolchain.

use std::path::Path;

use outrigger_fuzz::checks;

/// Runs a check over every file of a corpus; at least one has to be there.
fn run(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        check(&input);
        // Cut anywhere, it has to hold as well: this meets every kind of message that is not whole yet.
        for end in (0..input.len()).step_by(7) {
            check(&input[..end]);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", directory.display());
}

#[test]
fn request_heads_hold() {
    run("request_head", checks::request_head);
}

#[test]
fn response_heads_hold() {
    run("response_head", checks::response_head);
}

#[test]
fn framing_holds() {
    run("framing", checks::framing);
}

#[test]
fn chunks_hold() {
    run("chunks", checks::chunks);
}

#[test]
fn strict_output_holds() {
    run("strict_output", checks::strict_output);
}
