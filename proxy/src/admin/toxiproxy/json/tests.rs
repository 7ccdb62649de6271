use proptest::prelude::*;

use super::*;

#[test]
fn what_is_behind_the_first_value_is_left_alone() {
    for (text, first) in
        [("5 x", "5"), (" {\"a\":[1]}]", "{\"a\":[1]}"), ("\"x\"y", "\"x\""), ("nullx", "null"), ("01", "0")]
    {
        assert_eq!(parse(text.as_bytes()).map(Raw::text), Ok(first));
    }
}

#[test]
fn a_mistake_is_told_in_gos_words() {
    for (text, words) in [
        ("", "EOF"),
        (" \n", "EOF"),
        ("{\"a\"", "unexpected EOF"),
        ("tru", "unexpected EOF"),
        ("trux", "invalid character 'x' in literal true (expecting 'e')"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("[\"\u{1}\"]", "invalid character '\\x01' in string literal"),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(words.into()), "{text}");
    }
}

#[test]
fn parts_come_out_as_they_were_put_in() {
    let value = parse(br#"{ "a" : [1, "x,]", {"b": null}], "\u00e9\ud83d\ude00\ud800" : -1.5e3, "c":"\"}" }"#).unwrap();
    let fields = value.fields();
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "é😀\u{fffd}", "c"]);
    let elements: Vec<&str> = fields[0].1.elements().into_iter().map(Raw::text).collect();
    assert_eq!(elements, ["1", "\"x,]\"", "{\"b\": null}"]);
    assert_eq!((fields[1].1.text(), fields[2].1.string().as_str()), ("-1.5e3", "\"}"));
}

#[test]
fn nesting_costs_no_stack_and_has_an_end() {
    let deep = |n: usize| ["[".repeat(n), "]".repeat(n)].concat();
    assert!(parse(deep(10_000).as_bytes()).is_ok());
    assert_eq!(parse(deep(10_001).as_bytes()), Err("invalid character '[' exceeded max depth".into()));
}

proptest! {
    #[test]
    fn it_agrees_with_serde_on_what_is_json(text in r#"[\[\]{}",:\\ tfnulrasex0-9.+-]{0,24}"#) {
        let ours = parse(text.as_bytes());
        let first = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>().next();
        match (ours, first) {
            (Ok(raw), Some(Ok(value))) => {
                let again: serde_json::Value = serde_json::from_str(raw.text()).unwrap();
                prop_assert_eq!(again, value);
            }
            // Serde wants white space behind a number or a literal; Go does not.
            (Ok(_), Some(Err(error))) => prop_assert!(error.to_string().contains("trailing") || error.to_string().contains("number"), "{error}"),
            (Err(_), Some(Ok(value))) => prop_assert!(false, "serde reads {value}"),
            (Err(_), _) => {}
            (Ok(raw), None) => prop_assert!(false, "only we read {}", raw.text()),
        }
    }

    #[test]
    fn a_quoted_text_reads_as_itself(text in any::<String>()) {
        let mut quoted = String::new();
        quote(&text, &mut quoted);
        prop_assert_eq!(parse(quoted.as_bytes()).unwrap().string(), text.clone());
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(raw) = parse(&bytes) {
            let _ = (raw.string(), raw.fields(), raw.elements(), raw.text());
        }
    }
}
