//! Webhook events as LiveKit's servers write them: standard JSON of the protocol's `WebhookEvent`.

use base::UnixMillis;
use base::events::{EventId, Happening, RoomEvent};
use base::model::LeaveReason;
use contract::events::Written;
use livekit_protocol as proto;

use crate::{jobs, translate};

/// Writes an event. Room, participant and track are whole, as the server API shows them.
pub fn write_event(event: &RoomEvent) -> Written {
    let (name, filled) = parts(&event.what);
    let id = id(event.id);
    let message = proto::WebhookEvent {
        event: name.to_owned(),
        room: Some(translate::room(&event.room)),
        id: id.clone(),
        created_at: (event.at.0 / 1_000) as i64,
        ..filled
    };
    let body =
        serde_json::to_vec(&message).expect("the message has text as keys, which JSON can always write");
    Written { id, event: name, body }
}

/// The body of an event with another time.
pub fn restamp_event(body: &[u8], at: UnixMillis) -> Vec<u8> {
    let message: serde_json::Result<proto::WebhookEvent> = serde_json::from_slice(body);
    let stamped = message.and_then(|mut message| {
        message.created_at = (at.0 / 1_000) as i64;
        serde_json::to_vec(&message)
    });
    // What another version wrote is told as it is.
    stamped.unwrap_or_else(|_| body.to_vec())
}

/// `EV_…`
fn id(id: EventId) -> String {
    format!("EV_{id}")
}

fn parts(what: &Happening) -> (&'static str, proto::WebhookEvent) {
    let nothing = proto::WebhookEvent::default();
    let of = |participant| proto::WebhookEvent {
        participant: Some(translate::participant(participant)),
        ..nothing.clone()
    };
    let with =
        |publisher, track| proto::WebhookEvent { track: Some(translate::track(track)), ..of(publisher) };
    let of_job = |job| proto::WebhookEvent { job: Some(jobs::job(job)), ..nothing.clone() };
    match what {
        Happening::RoomStarted { .. } => ("room_started", nothing),
        Happening::RoomFinished(reason) => {
            let room_end_reason = end_reason(*reason) as i32;
            ("room_finished", proto::WebhookEvent { room_end_reason, ..nothing })
        }
        Happening::ParticipantJoined(who) => ("participant_joined", of(who)),
        Happening::ParticipantLeft(who) => ("participant_left", of(who)),
        Happening::ConnectionAborted(who) => ("participant_connection_aborted", of(who)),
        Happening::TrackPublished { publisher, track } => ("track_published", with(publisher, track)),
        Happening::TrackUnpublished { publisher, track } => ("track_unpublished", with(publisher, track)),
        Happening::AgentJobStarted(job) => ("agent_job_started", of_job(job)),
        Happening::AgentJobEnded(job) => ("agent_job_ended", of_job(job)),
    }
}

fn end_reason(reason: LeaveReason) -> proto::RoomEndReason {
    match reason {
        LeaveReason::RoomDeleted => proto::RoomEndReason::RoomEndApiDelete,
        LeaveReason::RoomClosed => proto::RoomEndReason::RoomEndIdleTimeout,
        LeaveReason::ServerShutdown => proto::RoomEndReason::RoomEndServerShutdown,
        _ => proto::RoomEndReason::RoomEndUnknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::model::{Participant, ParticipantState, RoomInfo};
    use base::{Identity, ParticipantId, RoomId, RoomName, UnixMillis};
    use serde_json::{Value, json};

    use super::*;

    fn written(what: Happening) -> Value {
        let room = RoomInfo {
            id: RoomId(1),
            name: RoomName::new("lobby"),
            metadata: String::new(),
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            created_at: UnixMillis(1_700_000_000_123),
            participants: 1,
            publishers: 0,
            recording: false,
        };
        let id = EventId { source: 1, number: 7 };
        let event = RoomEvent { id, at: UnixMillis(1_700_000_001_999), room, what };
        let written = write_event(&event);
        let body: Value = serde_json::from_slice(&written.body).expect("JSON");
        assert_eq!((body["id"].as_str(), body["event"].as_str()), (Some(&*written.id), Some(written.event)));
        body
    }

    fn ann() -> Arc<Participant> {
        Arc::new(Participant {
            name: "Ann".to_owned(),
            state: ParticipantState::Disconnected,
            version: 3,
            left: Some(LeaveReason::ClientInitiated),
            ..Participant::new(ParticipantId(2), Identity::new("ann"))
        })
    }

    #[test]
    fn names_are_in_camel_case_long_numbers_are_text_and_defaults_are_left_out() {
        let body = written(Happening::RoomStarted { agents: Vec::new() });
        let room = json!({
            "sid": "RM_0000000000001", "name": "lobby", "emptyTimeout": 300, "departureTimeout": 20,
            "creationTime": "1700000000", "creationTimeMs": "1700000000123", "numParticipants": 1,
        });
        let expected = json!({
            "event": "room_started", "id": "EV_0000000000001_7", "createdAt": "1700000001", "room": room,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn who_left_says_why() {
        let body = written(Happening::ParticipantLeft(ann()));
        assert_eq!(body["event"], "participant_left");
        assert_eq!(body["participant"]["identity"], "ann");
        assert_eq!(body["participant"]["state"], "DISCONNECTED");
        assert_eq!(body["participant"]["disconnectReason"], "CLIENT_INITIATED");
    }

    #[test]
    fn a_body_with_another_time_is_the_same_but_for_it() {
        let body = written(Happening::ParticipantLeft(ann()));
        let stamped = restamp_event(body.to_string().as_bytes(), UnixMillis(1_800_000_000_000));
        let mut stamped: Value = serde_json::from_slice(&stamped).expect("JSON");
        assert_eq!(stamped["createdAt"], "1800000000");
        stamped["createdAt"] = body["createdAt"].clone();
        assert_eq!(stamped, body);
        assert_eq!(restamp_event(b"of another version", UnixMillis(0)), b"of another version");
    }

    #[test]
    fn a_room_that_is_over_says_why() {
        let body = written(Happening::RoomFinished(LeaveReason::RoomDeleted));
        assert_eq!(body["roomEndReason"], "ROOM_END_API_DELETE");
    }
}
