//! Who may publish or play, from the token: the grants are those of LiveKit's tokens.

use auth::{ApiKeys, Denied};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap};
use base::{Identity, RoomName, UnixMillis};
use contract::session::{Join, RoomOptions};

use crate::Protocol;
use crate::config::{Config, State};
use crate::refusal::Refusal;

/// Whose session it is: what a later request must show to touch it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    token: String,
    identity: Identity,
    room: RoomName,
}

/// The join that the token of a POST asks for, and its owner. `room`: the one named in the path, if any.
///
/// # Errors
/// 401 without a valid token; 403 when it does not allow this.
pub(crate) fn admit(
    state: &State,
    protocol: Protocol,
    headers: &HeaderMap,
    room: Option<&str>,
) -> Result<(Join, Owner), Refusal> {
    let token = bearer(headers)?;
    let verified = auth::verify(&state.keys, token, state.now()).map_err(unauthorized)?;
    let claims = verified.claims;
    let (identity, granted) = claims.check_join().map_err(denied)?;
    if room.is_some_and(|room| room != granted.as_str()) {
        return Err(denied(Denied::OtherRoom));
    }
    let permissions = claims.permissions();
    match protocol {
        Protocol::Whip if !permissions.publish => {
            return Err(forbidden("the token does not allow publishing (grant canPublish is false)"));
        }
        Protocol::Whep if !permissions.subscribe => {
            return Err(forbidden("the token does not allow playing (grant canSubscribe is false)"));
        }
        _ => {}
    }
    let options = room_options(&claims)?;
    let owner = Owner { token: token.to_owned(), identity: identity.clone(), room: granted.clone() };
    let join = Join {
        room: granted,
        create: creates(&state.config, &claims),
        options,
        identity,
        name: claims.name.clone(),
        metadata: claims.metadata.clone(),
        attributes: claims.attributes.clone(),
        kind: claims.participant_kind(),
        kind_details: claims.kind_details(),
        issued_s: claims.nbf.unwrap_or_default(),
        permissions,
        auto_subscribe: protocol == Protocol::Whep,
        auto_subscribe_data: false,
        abilities: base::model::Abilities::default(),
        client: client(protocol, headers),
    };
    Ok((join, owner))
}

impl Owner {
    /// May the sender of these headers touch the session? The token that began it may as long as the session lives, expired or
    /// not: else nobody could end it properly. So may any valid one for the same participant.
    ///
    /// # Errors
    /// 401 without a valid token; 403 with somebody else's.
    pub fn check(&self, keys: &ApiKeys, now: UnixMillis, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = bearer(headers)?;
        if token == self.token {
            return Ok(());
        }
        let claims = auth::verify(keys, token, now).map_err(unauthorized)?.claims;
        let (identity, room) = claims.check_join().map_err(denied)?;
        if (&identity, &room) == (&self.identity, &self.room) {
            Ok(())
        } else {
            Err(forbidden("the session is another participant's"))
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(auth::bearer).filter(|token| !token.is_empty()).ok_or_else(|| {
        Refusal::new(StatusCode::UNAUTHORIZED, "no token: send one as Authorization: Bearer TOKEN")
    })
}

fn creates(config: &Config, claims: &auth::Claims) -> bool {
    config.auto_create || claims.check_create().is_ok()
}

/// What the room is made with if this join makes it.
fn room_options(claims: &auth::Claims) -> Result<RoomOptions, Refusal> {
    let bad = |bad: auth::BadRoomConfig| Refusal::new(StatusCode::BAD_REQUEST, bad.to_string());
    let config = claims.room_config().map_err(bad)?;
    let set = |value: u32| (value > 0).then_some(value);
    Ok(RoomOptions {
        empty_timeout_s: set(config.empty_timeout),
        departure_timeout_s: set(config.departure_timeout),
        max_participants: set(config.max_participants),
        metadata: config.metadata,
        agents: config.agents,
    })
}

/// For the log line of the join.
fn client(protocol: Protocol, headers: &HeaderMap) -> String {
    /// Enough to tell programs apart.
    const MAX_AGENT: usize = 120;
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    // Header values that convert to text are ASCII, so that any length is a boundary.
    format!("{} {}", protocol.name(), agent.get(..MAX_AGENT).unwrap_or(agent))
}

fn unauthorized(error: auth::TokenError) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, error.to_string())
}

fn denied(denied: Denied) -> Refusal {
    forbidden(&denied.to_string())
}

fn forbidden(text: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, text)
}
