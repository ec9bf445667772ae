//! The TOML file: every error names key, file, line and what is accepted.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::keys::{KEYS, Key, SECRETS, SECRETS_ACCEPT};

/// A file that is being read.
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

/// Takes over what `text` says; `name` is the file's, for errors.
pub fn apply(config: &mut Config, name: &str, text: &str, errors: &mut Vec<String>) {
    let file = File { name, text };
    match DeTable::parse(text) {
        Ok(document) => {
            for (section, value) in document.get_ref() {
                file.section(config, section, value, errors);
            }
        }
        Err(error) => {
            let at = error.span().unwrap_or_default();
            errors.push(file.at(&at, format!("this is no TOML: {}", error.message())));
        }
    }
}

impl File<'_> {
    fn section(
        &self,
        config: &mut Config,
        section: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        errors: &mut Vec<String>,
    ) {
        let name = section.get_ref().as_ref();
        let known = name == SECRETS || KEYS.iter().any(|key| key.parts().0 == name);
        let DeValue::Table(table) = value.get_ref() else {
            let advice = format!("`{name}` stands outside of the sections, which are {}", sections());
            errors.push(self.at(&section.span(), advice));
            return;
        };
        if !known {
            let advice = format!("there is no section [{name}]; the sections are {}", sections());
            errors.push(self.at(&section.span(), advice));
            return;
        }
        for (key, value) in table {
            let outcome = match name {
                SECRETS => secret(config, key.get_ref(), value.get_ref()),
                _ => known_key(config, name, key.get_ref(), value.get_ref()),
            };
            if let Err(advice) = outcome {
                errors.push(self.at(&key.span(), advice));
            }
        }
    }

    fn at(&self, span: &Range<usize>, advice: String) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        format!("{}:{line}: {advice}", self.name)
    }
}

fn known_key(config: &mut Config, section: &str, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    let mut in_section = KEYS.iter().filter(|key| key.parts().0 == section);
    let Some(key) = in_section.clone().find(|key| key.parts().1 == name) else {
        let names: Vec<_> = in_section.by_ref().map(|key| key.parts().1).collect();
        return Err(format!("there is no key {section}.{name}; [{section}] has {}", names.join(", ")));
    };
    let bad = || format!("{} = {}: expected {}", key.name, shown(key, value), key.accepts);
    let values = values(key, value).ok_or_else(bad)?;
    (key.set)(config, &values).ok_or_else(bad)
}

fn secret(config: &mut Config, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    let secret = value.as_str().filter(|secret| !name.is_empty() && !secret.is_empty());
    // The value may be a secret in the wrong form: it is not quoted.
    let secret = secret.ok_or_else(|| format!("keys.{name}: expected {SECRETS_ACCEPT}"))?;
    config.keys.insert(name.to_owned(), secret.to_owned());
    Ok(())
}

/// The texts of a value: one for a text or number, several for an array where the key takes a list.
fn values(key: &Key, value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(array) if key.is_list => array.iter().map(|item| scalar(item.get_ref())).collect(),
        _ if key.is_list => None,
        value => Some(vec![scalar(value)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        _ => None,
    }
}

/// The value as it is quoted in an error; what may be a secret is not.
fn shown(key: &Key, value: &DeValue<'_>) -> String {
    match value {
        _ if key.is_secret() => "(not shown)".to_owned(),
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        other => format!("(a value of type {})", other.type_str()),
    }
}

fn sections() -> String {
    let mut names: Vec<&str> = KEYS.iter().map(|key| key.parts().0).collect();
    names.dedup();
    names.push(SECRETS);
    names.iter().map(|name| format!("[{name}]")).collect::<Vec<_>>().join(", ")
}
