//! Numbers what happens in one room and tells it to those who follow.

use base::RoomId;
use base::events::{EventId, Happening, RoomEvent};
use base::model::{LeaveReason, RoomInfo};
use contract::events::RoomEvents;

use crate::door::wall_clock;

pub(crate) struct Teller {
    room: RoomId,
    told: u64,
    events: RoomEvents,
}

impl Teller {
    pub fn new(room: RoomId, events: RoomEvents) -> Self {
        Self { room, told: 0, events }
    }

    /// `false`: nobody follows.
    pub fn tell(&mut self, room: &RoomInfo, what: Happening) -> bool {
        self.told += 1;
        let is_followed = self.events.is_followed();
        if is_followed {
            let id = EventId { source: self.room.0, number: self.told };
            self.events.tell(RoomEvent { id, at: wall_clock(), room: room.clone(), what });
        }
        is_followed
    }

    /// Nothing should begin that would have to be told.
    pub fn is_behind(&self) -> bool {
        self.events.is_behind()
    }
}

/// Tells the end of a room whose task is gone without a word. What it told last, nobody knows: the number is one that no room
/// reaches.
pub(crate) fn tell_lost(events: &RoomEvents, last: &RoomInfo) {
    let id = EventId { source: last.id.0, number: u64::MAX };
    let room = RoomInfo { participants: 0, publishers: 0, recording: false, ..last.clone() };
    let what = Happening::RoomFinished(LeaveReason::StateMismatch);
    events.tell(RoomEvent { id, at: wall_clock(), room, what });
}
