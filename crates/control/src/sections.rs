//! Adapters negotiate media sections; what a participant may send and receive is the room's to say. Here the one is held
//! against the other.

use base::{ParticipantId, TrackId};
use contract::media::{ReceiveSection, Sections};
use room::Room;

/// The part of `wanted` that the participant may have: sections for tracks that it receives, and its own tracks. A section
/// whose track is not its own stays, without track: what arrives in it goes nowhere.
pub(crate) fn grant(room: &Room, participant: ParticipantId, wanted: &Sections) -> Sections {
    let own = |track: Option<TrackId>| track.filter(|track| room.owns(participant, track.primary()));
    let receive = wanted.receive.iter();
    let send = wanted.send.iter().filter(|section| room.is_subscribed(participant, section.track.primary()));
    Sections {
        receive: receive
            .map(|section| ReceiveSection { track: own(section.track), ..section.clone() })
            .collect(),
        send: send.cloned().collect(),
    }
}

/// How many sections or tracks of `wanted` were not granted.
pub(crate) fn refused(wanted: &Sections, granted: &Sections) -> usize {
    let tracks =
        |sections: &Sections| sections.receive.iter().filter(|section| section.track.is_some()).count();
    (wanted.send.len() - granted.send.len()) + (tracks(wanted) - tracks(granted))
}

/// Does the connection send this track, in whichever encoding, to its participant?
pub(crate) fn sends(sections: &Sections, track: TrackId) -> bool {
    sections.send.iter().any(|section| section.track.primary() == track.primary())
}

/// Does the connection's participant send this track, in whichever encoding, to us?
pub(crate) fn receives(sections: &Sections, track: TrackId) -> bool {
    sections.receive.iter().any(|section| section.track.map(TrackId::primary) == Some(track.primary()))
}

/// Does the connection send exactly this encoding?
pub(crate) fn carries(sections: &Sections, encoding: TrackId) -> bool {
    sections.send.iter().any(|section| section.track == encoding)
}

/// Does exactly this encoding come from the connection's participant?
pub(crate) fn brings(sections: &Sections, encoding: TrackId) -> bool {
    sections.receive.iter().any(|section| section.track == Some(encoding))
}
