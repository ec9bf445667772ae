//! Going on in another room, on the same connections.

use std::time::Instant;

use base::RoomName;
use base::model::LeaveReason;
use contract::session::{Moved, Request};
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;

use crate::translate;

use super::away::Departures;
use super::{End, Session, action, leave};

/// From this protocol number on clients know RoomMoved.
const KNOWS_MOVES: i32 = 16;
/// Requests that wait between two rooms, which takes milliseconds. More are no client's that can be served.
const MAX_WAITING: usize = 1_000;

impl Session {
    /// The participant is to go on in `room`. A client that does not know how to is given the token for it, and told to join anew.
    pub(super) fn moving(&mut self, room: &RoomName) {
        if self.params.client.protocol >= KNOWS_MOVES {
            self.request(Request::MoveOn);
            self.moving = Some(Vec::new());
            return;
        }
        self.be_for(room);
        self.refresh_token();
        let reason = LeaveReason::Moved;
        let leave = leave(reason, action(reason), self.params.client.protocol);
        self.finish(End { leave: Some(leave), reason: Some(reason) });
    }

    /// It is there.
    pub(super) fn moved(&mut self, moved: Moved, now: Instant) {
        let Moved { participant, room, others, session } = moved;
        self.be_for(&room.name);
        (self.me, self.room) = (participant, room);
        self.others = others.into_iter().map(|other| (other.id, other)).collect();
        self.departures = Departures::default();
        self.data_told.clear();
        self.effects.room = Some((self.room.name.clone(), session));
        let waiting = self.moving.take().unwrap_or_default();
        self.effects.requests.extend(waiting);
        self.uploads.begin_anew(now);
        let told = self.room_moved();
        self.frame(told);
    }

    /// Where the client is now, with everybody who is there and a token for it.
    pub(super) fn room_moved(&self) -> Message {
        Message::RoomMoved(proto::RoomMovedResponse {
            room: Some(translate::room(&self.room)),
            token: self.fresh_token().unwrap_or_default(),
            participant: Some(translate::participant(&self.me)),
            other_participants: self.others.values().map(|other| translate::participant(other)).collect(),
        })
    }

    /// A request that is for the room to come.
    pub(super) fn wait_to_arrive(&mut self, request: Request) {
        let Some(waiting) = &mut self.moving else { return };
        if waiting.len() < MAX_WAITING {
            waiting.push(request);
        } else {
            self.expel(LeaveReason::StateMismatch, "too many requests between two rooms");
        }
    }

    /// Its tokens are for this room from now on.
    pub(super) fn be_for(&mut self, room: &RoomName) {
        let claims = &mut self.token.claims;
        let grants = claims.video.get_or_insert_default();
        if grants.room != room.as_str() {
            room.as_str().clone_into(&mut grants.room);
            // How the first room was to be made.
            claims.room_config = None;
        }
    }
}
