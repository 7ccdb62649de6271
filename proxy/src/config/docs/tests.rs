use std::path::Path;

/// The page is what the types say. `UPDATE_DOCS=1` writes it anew.
#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = super::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == page, "docs/configuration.md is stale; run this test with UPDATE_DOCS=1");
}

#[test]
fn every_key_has_a_meaning_and_every_type_a_section() {
    let schema = super::schema();
    let sections: Vec<_> = super::SECTIONS.iter().map(|(_, name)| *name).collect();
    let mut keys = 0;
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions.iter().map(|(n, d)| (n.as_str(), d)).chain([("Config", &schema)]) {
        let Some(properties) = definition["properties"].as_object() else { continue };
        assert!(name == "Config" || sections.contains(&name), "{name} is in no section");
        assert_eq!(definition["additionalProperties"], false, "{name}");
        for (key, property) in properties {
            keys += 1;
            assert!(property["description"].as_str().is_some_and(|d| d.len() > 10), "{name}.{key}");
        }
    }
    assert!(keys > 60, "{keys}");
    assert_eq!(definitions["Defaults"]["properties"]["timeout"]["default"], "15s");
}
