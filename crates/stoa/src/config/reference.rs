//! The reference file, made from the list of keys.

use super::keys::{KEYS, SECRETS, SECRETS_VARIABLE};

const PREFACE: &str = "\
# The configuration of `stoa serve --config FILE`: every key with its meaning, its accepted range and its default.
# `stoa check-config FILE` tells whether a file is good. Each key is also an environment variable, which wins.
#
# Made from the list of keys in crates/stoa/src/config/keys.rs by
#     UPDATE_REFERENCE=1 cargo test -p stoa the_reference_file
";

/// The text of `docs/reference.toml`.
pub fn render() -> String {
    let mut text = PREFACE.to_owned();
    text.push_str(&format!(
        "\n# API keys: names and secrets with which applications sign tokens. At least one is needed.\n\
         # Make a secret with: openssl rand -base64 32\n\
         # Accepts: NAME = \"SECRET\", a secret of 32 characters or more. Environment: {SECRETS_VARIABLE}=NAME:SECRET,…\n\
         [{SECRETS}]\n\
         # myapp = \"…\"\n"
    ));
    let mut section = SECRETS;
    for key in KEYS {
        let (of, name) = key.parts();
        if of != section {
            section = of;
            text.push_str(&format!("\n[{section}]\n"));
        } else {
            text.push('\n');
        }
        key.about.iter().for_each(|line| text.push_str(&format!("# {line}\n")));
        text.push_str(&format!("# Accepts: {}. Environment: {}\n", key.accepts, key.variable()));
        match key.default {
            Ok(value) => text.push_str(&format!("{name} = {value}\n")),
            Err(example) => text.push_str(&format!("# {name} = {example}\n")),
        }
    }
    text
}
