use std::path::Path;

use super::*;
use crate::fault::http::HttpFault;
use crate::fault::spec::Kind;
use crate::fault::stream::Toxic;

/// The page is what the types say. `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_page_of_faults_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/faults.md is stale; run this test with UPDATE_DOCS=1");
}

#[test]
fn every_fault_has_its_section_and_every_example_is_one() {
    let [http, stream] = pages();
    let names = |pages: &[Page]| pages.iter().map(|page| page.name).collect::<Vec<_>>();
    assert_eq!((names(&http), names(&stream)), (HttpFault::TYPES.to_vec(), Toxic::TYPES.to_vec()));
    for page in http.iter().chain(&stream) {
        assert!(page.schema["description"].as_str().is_some_and(|text| text.len() > 20), "{}", page.name);
        for example in page.examples {
            let rest = example.strip_prefix(&format!("outrigger fault add {}", page.name)).expect(example);
            let attributes = rest.split(' ').take_while(|word| !word.starts_with("--")).filter(|word| !word.is_empty());
            let attributes: serde_json::Map<String, Value> = attributes
                .map(|pair| {
                    let (key, value) = pair.split_once('=').expect(example);
                    (key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()))
                })
                .collect();
            let parsed = Kind::parse(page.name, Default::default(), &Value::Object(attributes));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
}
