//! The peers' configurations are files that one can read; this fills in what only a run knows.
//!
//! `{{name}}` is a value; `{{#name}} … {{/name}}` repeats what is between for every service or instance, or leaves it out
//! where there is none. That is the part of Mustache that is needed.

use std::collections::BTreeMap;

/// What a template may ask for.
#[derive(Debug, Clone, Default)]
pub struct Values {
    texts: BTreeMap<&'static str, String>,
    lists: BTreeMap<&'static str, Vec<Values>>,
}

impl Values {
    /// One value.
    pub fn text(mut self, name: &'static str, value: impl ToString) -> Self {
        self.texts.insert(name, value.to_string());
        self
    }

    /// What a section is repeated for.
    pub fn list(mut self, name: &'static str, values: Vec<Self>) -> Self {
        self.lists.insert(name, values);
        self
    }

    /// A section that is there, or not.
    pub fn when(self, name: &'static str, there: bool) -> Self {
        self.list(name, if there { vec![Self::default()] } else { Vec::new() })
    }
}

/// The template with its values in it.
///
/// # Errors
/// What it names is not there, or a section does not end.
pub fn fill(template: &str, values: &Values) -> Result<String, String> {
    let mut out = String::new();
    section(template, &[values], &mut out)?;
    Ok(out)
}

fn section(mut rest: &str, scopes: &[&Values], out: &mut String) -> Result<(), String> {
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, after) = after.split_once("}}").ok_or("a {{ without its }}")?;
        let Some(name) = name.strip_prefix('#') else {
            let text = scopes.iter().rev().find_map(|s| s.texts.get(name));
            out.push_str(text.ok_or_else(|| format!("no value: {name}"))?);
            rest = after;
            continue;
        };
        let end = format!("{{{{/{name}}}}}");
        let (inner, after) = after.split_once(&end).ok_or_else(|| format!("{name} does not end"))?;
        let list = scopes.iter().rev().find_map(|s| s.lists.get(name)).ok_or_else(|| format!("no list: {name}"))?;
        // A tag that has its line for itself leaves no empty one behind.
        let alone = out.is_empty() || out.ends_with('\n');
        let inner = if alone { inner.strip_prefix('\n').unwrap_or(inner) } else { inner };
        for values in list {
            section(inner, &[scopes, &[values]].concat(), out)?;
        }
        rest = if alone { after.strip_prefix('\n').unwrap_or(after) } else { after };
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_sections_are_filled_in() {
        let instance = |n: u32| Values::default().text("instance", n);
        let service = |n: u32| Values::default().text("service", n).list("instances", vec![instance(1), instance(2)]);
        let values = Values::default().text("port", 80).list("services", vec![service(7), service(8)]);
        let values = values.when("told", false).when("yes", true);
        let template = "listen {{port}}\n{{#services}}\ns{{service}}:{{#instances}} {{service}}.{{instance}}{{/instances}};\n\
                        {{/services}}\none{{#told}} never{{/told}}\n{{#told}}\nnever\n{{/told}}\n{{#yes}}\nalways\n{{/yes}}\nend\n";
        let filled = fill(template, &values).unwrap();
        assert_eq!(filled, "listen 80\ns7: 7.1 7.2;\ns8: 8.1 8.2;\none\nalways\nend\n");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(fill("{{port}}", &Values::default()).is_err());
        assert!(fill("{{#services}}", &Values::default().list("services", Vec::new())).is_err());
        assert!(fill("{{#services}}{{/services}}", &Values::default()).is_err());
    }
}
