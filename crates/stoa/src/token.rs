//! `stoa token`: what an application's server does with a LiveKit server SDK, for people and scripts.

use auth::{Claims, VideoGrants};
use serde_json::{Map, Value};

use crate::cli::{Signer, Token};
use crate::config::Config;
use crate::time;

/// The grants that are true or false, as tokens spell them.
const GRANTS: [&str; 13] = [
    "roomJoin",
    "roomAdmin",
    "roomCreate",
    "roomList",
    "roomRecord",
    "canPublish",
    "canSubscribe",
    "canPublishData",
    "canUpdateOwnMetadata",
    "canSubscribeMetrics",
    "hidden",
    "recorder",
    "agent",
];

/// The token that the options describe, or a sentence on what is wrong with them.
pub fn mint(options: &Token) -> Result<String, String> {
    let claims = claims(options)?.valid_for(time::unix_millis(), options.valid_for);
    let (key, secret) = signer(&options.signer)?;
    Ok(auth::mint(&key, &secret, &claims))
}

fn claims(options: &Token) -> Result<Claims, String> {
    let mut grants = Map::new();
    grants.insert("room".into(), options.room.clone().into());
    grants.insert("roomJoin".into(), (!options.identity.is_empty()).into());
    for grant in &options.grants {
        let (name, value) = match grant.split_once('=') {
            None => (grant.as_str(), true),
            Some((name, "true")) => (name, true),
            Some((name, "false")) => (name, false),
            Some(_) => {
                return Err(format!(
                    "--grant {grant}: a grant is given, or has \"=true\" or \"=false\" after it"
                ));
            }
        };
        if !GRANTS.contains(&name) {
            return Err(format!("--grant {name}: there is no such grant; there are {}", GRANTS.join(", ")));
        }
        grants.insert(name.to_owned(), value.into());
    }
    let video: VideoGrants =
        serde_json::from_value(Value::Object(grants)).map_err(|error| error.to_string())?;
    if video.room_join && options.identity.is_empty() {
        return Err("--grant roomJoin needs --identity: who joins?".into());
    }
    if (video.room_join || video.room_admin) && options.room.is_empty() {
        return Err("--room is needed: a token is for one room".into());
    }
    if !(video.room_join || video.room_admin || video.room_create || video.room_list || video.room_record) {
        return Err("this token would allow nothing: give --identity and --room to join, or a --grant".into());
    }
    Ok(Claims {
        sub: options.identity.clone(),
        name: options.name.clone(),
        video: Some(video),
        ..Claims::default()
    })
}

/// Key and secret: from the options, else from the configuration, else those of development.
pub fn signer(options: &Signer) -> Result<(String, String), String> {
    if let Some(secret) = &options.api_secret {
        return Ok((options.api_key.clone(), secret.clone()));
    }
    let by_environment = std::env::var_os(crate::config::SECRETS_VARIABLE).is_some();
    if options.config.is_none() && !by_environment {
        return match options.api_key.as_str() {
            auth::DEVELOPMENT_KEY => Ok((auth::DEVELOPMENT_KEY.into(), auth::DEVELOPMENT_SECRET.into())),
            key => {
                Err(format!("the secret of \"{key}\" is needed: --config FILE, STOA_KEYS or --api-secret"))
            }
        };
    }
    let config = Config::load(options.config.as_deref()).map_err(|error| error.to_string())?;
    let mut keys = config.keys.into_iter();
    match (keys.len(), options.api_key.as_str()) {
        (1, auth::DEVELOPMENT_KEY) => keys.next(),
        (_, wanted) => keys.find(|(key, _)| key == wanted),
    }
    .ok_or_else(|| {
        format!("the configuration has no API key \"{}\": choose one with --api-key", options.api_key)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth::ApiKeys;

    use super::*;

    fn options(identity: &str, room: &str, grants: &[&str]) -> Token {
        Token {
            identity: identity.to_owned(),
            room: room.to_owned(),
            name: "Ann".to_owned(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            valid_for: Duration::from_secs(60),
            signer: Signer {
                api_key: "key".to_owned(),
                api_secret: Some("a secret of at least thirty-two bytes".to_owned()),
                config: None,
            },
        }
    }

    #[test]
    fn a_token_lets_in_and_allows_what_was_asked() {
        let options = options("ann", "lobby", &["canPublish=false", "roomAdmin", "hidden=true"]);
        let token = mint(&options).expect("good options");
        let keys = ApiKeys::new([("key".to_owned(), "a secret of at least thirty-two bytes".to_owned())]);
        let claims = auth::verify(&keys, &token, time::unix_millis()).expect("a good token").claims;
        assert_eq!(claims.check_join().expect("it lets in").0.as_str(), "ann");
        assert_eq!(claims.check_admin("lobby"), Ok(()));
        let permissions = claims.permissions();
        assert!(!permissions.publish && permissions.subscribe && permissions.hidden);
        assert_eq!(claims.name, "Ann");
    }

    #[test]
    fn an_administrator_needs_no_identity() {
        let claims = claims(&options("", "lobby", &["roomAdmin"])).expect("good options");
        assert!(claims.check_join().is_err());
        assert_eq!(claims.check_admin("lobby"), Ok(()));
    }

    #[test]
    fn options_that_make_no_sense_are_refused_with_a_sentence() {
        for (options, wanted) in [
            (options("ann", "", &[]), "--room is needed"),
            (options("", "lobby", &[]), "would allow nothing"),
            (options("", "lobby", &["roomJoin"]), "needs --identity"),
            (options("ann", "lobby", &["canFly"]), "there is no such grant"),
            (options("ann", "lobby", &["hidden=maybe"]), "\"=true\" or \"=false\""),
        ] {
            let error = mint(&options).expect_err(wanted);
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_grant() {
        use clap::CommandFactory as _;
        let mut command = crate::cli::Cli::command();
        let token = command.find_subcommand_mut("token").expect("it exists");
        let help = token.render_long_help().to_string();
        assert!(GRANTS.iter().all(|grant| help.contains(grant)), "{help}");
    }
}
