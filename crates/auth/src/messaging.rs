//! The grant `messaging`: which channels a token opens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::claims::null_as_default;

/// What a token allows with channels. Lists hold patterns of channel ids, in which `*` stands for any characters, also none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagingGrants {
    /// Channels to send into; default: all.
    #[serde(default = "all", deserialize_with = "null_as_all")]
    pub publish: Vec<String>,
    /// Channels to read; default: all.
    #[serde(default = "all", deserialize_with = "null_as_all")]
    pub subscribe: Vec<String>,
    /// Channels to create, direct ones apart, which everybody may create; default: all.
    #[serde(default = "all", deserialize_with = "null_as_all")]
    pub manage: Vec<String>,
    /// It is the application's server, which acts for anybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", deserialize_with = "null_as_default")]
    pub server: bool,
    /// Grants that Stoa does not read.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn null_as_all<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(all))
}

impl Default for MessagingGrants {
    fn default() -> Self {
        Self { publish: all(), subscribe: all(), manage: all(), server: false, extra: Map::new() }
    }
}

impl MessagingGrants {
    /// May one send into this channel? Whether one is in it is another question.
    pub fn may_publish(&self, channel: &str) -> bool {
        any(&self.publish, channel)
    }

    /// May one read this channel?
    pub fn may_subscribe(&self, channel: &str) -> bool {
        any(&self.subscribe, channel)
    }

    /// May one create this channel? Asked of all kinds but direct ones.
    pub fn may_manage(&self, channel: &str) -> bool {
        any(&self.manage, channel)
    }
}

fn any(patterns: &[String], channel: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), channel.as_bytes()))
}

/// Goes back to the last `*` alone, so that time is at most the product of the lengths, whatever the pattern.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, t) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Claims;

    fn grants(json: &str) -> Option<MessagingGrants> {
        let claims: Claims = serde_json::from_str(json).expect("these are claims");
        claims.messaging
    }

    #[test]
    fn a_token_without_the_grant_opens_nothing() {
        assert_eq!(grants(r#"{"sub":"ann","video":{"roomJoin":true}}"#), None);
        assert_eq!(grants(r#"{"sub":"ann","messaging":null}"#), None);
    }

    #[test]
    fn what_is_not_said_is_everything_and_an_empty_list_is_nothing() {
        let grants = grants(r#"{"messaging":{"subscribe":["team-*","all"],"manage":[],"publish":null}}"#);
        let grants = grants.expect("it is there");
        assert!(grants.may_publish("anything") && !grants.may_manage("anything") && !grants.server);
        assert!(
            grants.may_subscribe("team-1") && grants.may_subscribe("team-") && grants.may_subscribe("all")
        );
        assert!(!grants.may_subscribe("a-team-1") && !grants.may_subscribe("allx"));
    }

    #[test]
    fn a_star_stands_for_any_characters_at_any_place() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("*x", "xxxxy", false),
            ("*a*a*a*", "baba", false),
            ("**", "ü", true),
            ("direct:*", "direct:ann:bob", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let (pattern, text) = ("*a".repeat(2_000) + "b", "a".repeat(20_000));
        assert!(!matches(pattern.as_bytes(), text.as_bytes()), "and it takes no time");
    }

    #[test]
    fn the_grant_is_written_as_it_is_read() {
        let json = r#"{"messaging":{"publish":["a"],"subscribe":["*"],"manage":[],"server":true,"later":1}}"#;
        let claims: Claims = serde_json::from_str(json).expect("these are claims");
        let again = serde_json::to_value(&claims).expect("claims are JSON");
        let golden: Value = serde_json::from_str(json).expect("it is JSON");
        assert_eq!(again["messaging"], golden["messaging"]);
    }
}
