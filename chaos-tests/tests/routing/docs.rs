//! Every configuration of the page on routing is a good one.

use std::path::Path;

use chaos_tests::proxy::outrigger;

#[test]
fn every_configuration_of_the_page_passes_the_check() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/routing.md")).unwrap();
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outrigger.yaml");
        std::fs::write(&file, block).unwrap();
        let output = outrigger(&["check", file.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{told}");
    }
}
