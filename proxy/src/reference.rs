//! A type's JSON schema as a section of a reference page, for people.
//!
//! The pages of the configuration and of the faults are both written from the types, so that neither can say what is not so.

use serde_json::{Map, Value};

/// What a page's sections know of each other.
pub struct Reference<'a> {
    /// Types that have a section of their own: its title, and the definition's name.
    pub sections: &'a [(&'static str, &'static str)],
    /// All definitions, by name.
    pub definitions: &'a Map<String, Value>,
}

impl Reference<'_> {
    /// A table of a type's keys, without those that are told elsewhere.
    pub fn section(&self, page: &mut String, title: &str, schema: &Value, is_elsewhere: &dyn Fn(&str) -> bool) {
        page.push_str(&format!("\n## {title}\n\n"));
        if let Some(text) = schema["description"].as_str() {
            page.push_str(&format!("{}\n\n", one_line(text)));
        }
        let object = if schema["oneOf"].is_array() { &schema["oneOf"][1] } else { schema };
        page.push_str("| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for (key, property) in object["properties"].as_object().into_iter().flatten() {
            if is_elsewhere(key) {
                continue;
            }
            let required = object["required"].as_array().is_some_and(|r| r.iter().any(|k| k == key));
            let default = match &property["default"] {
                _ if required => "(required)".to_owned(),
                Value::Null => String::new(),
                Value::Object(o) if o.is_empty() => "none".to_owned(),
                Value::Object(_) => "see below".to_owned(),
                Value::String(text) => format!("`{text}`"),
                other => format!("`{other}`"),
            };
            let meaning = property["description"].as_str().map(one_line).unwrap_or_default();
            page.push_str(&format!("| `{key}` | {} | {default} | {meaning} |\n", self.kind(property)));
        }
    }

    /// A key's kind of value, in words.
    fn kind(&self, schema: &Value) -> String {
        let Self { sections, definitions } = self;
        if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
            let section = sections.iter().find(|(_, n)| *n == name);
            return match (section, definitions.get(name)) {
                (Some((title, _)), _) => title.to_string(),
                (None, Some(definition)) => self.kind(definition),
                (None, None) => name.to_owned(),
            };
        }
        if let Some(title) = schema["title"].as_str() {
            return match schema["examples"][0].as_str() {
                Some(example) => format!("{title} (`{example}`)"),
                None => title.to_owned(),
            };
        }
        let choices: Vec<&Value> = ["oneOf", "anyOf"].iter().filter_map(|k| schema[k].as_array()).flatten().collect();
        if !choices.is_empty() {
            let mut kinds: Vec<_> = choices.iter().filter(|c| c["type"] != "null").map(|c| self.kind(c)).collect();
            kinds.dedup();
            return kinds.join(" or ");
        }
        if let Some(word) = schema["const"].as_str() {
            return format!("`{word}`");
        }
        if let Some(words) = schema["enum"].as_array() {
            return words.iter().filter_map(Value::as_str).map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" or ");
        }
        let name = match &schema["type"] {
            Value::String(name) => name.as_str(),
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|n| *n != "null").unwrap_or_default(),
            _ => "",
        };
        match name {
            "array" => {
                let item = self.kind(&schema["items"]);
                format!("list of: {}", item.trim_start_matches("an ").trim_start_matches("a "))
            }
            "object" if schema["additionalProperties"].is_object() => {
                format!("map of names to {}", self.kind(&schema["additionalProperties"]))
            }
            "object" => match schema["properties"].as_object().and_then(|p| p.iter().next()) {
                Some((key, value)) => format!("`{{ {key}: … }}` with {}", self.kind(value)),
                None => "map".to_owned(),
            },
            "integer" => "number".to_owned(),
            "string" => "text".to_owned(),
            other => other.to_owned(),
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
