//! What happens in rooms, from control to those who follow it: webhooks, the dispatcher of agents.
//!
//! The seam loses nothing and makes nobody wait inside a room. Each follower has its own queue; telling puts the event into all of
//! them at once. What bounds a queue is admission: while a follower has [`BEHIND_AT`] or more waiting, [`RoomEvents::is_behind`]
//! is true, and control lets no participant in, makes no room and takes no new track. What is there already may still end, which is
//! told too: at most one event per participant and per track beyond the mark. So a follower that is slow (a disk) slows
//! arrivals, one that stands still stops them, and calls that are going on notice nothing.
//!
//! A follower that has dropped its end is told nothing and holds nobody back.

use std::sync::Arc;

use base::events::RoomEvent;

/// With so many events waiting a follower is behind. A hundred arrivals a second make three hundred; a disk that stands still for
/// half a minute is bridged, in some 16 MB.
pub const BEHIND_AT: usize = 8_192;

/// A follower's end: every event of every room, those of one room in their order.
pub type Follower = async_channel::Receiver<Arc<RoomEvent>>;

/// Where events are told. Clones tell the same followers.
#[derive(Clone, Default)]
pub struct RoomEvents {
    followers: Vec<async_channel::Sender<Arc<RoomEvent>>>,
}

impl RoomEvents {
    /// Adds a follower. It hears what is told through this value, and clones that are made of it from now on.
    pub fn follow(&mut self) -> Follower {
        let (sender, follower) = async_channel::unbounded();
        self.followers.push(sender);
        follower
    }

    /// Is anybody there to be told?
    pub fn is_followed(&self) -> bool {
        self.followers.iter().any(|follower| !follower.is_closed())
    }

    /// Tells every follower. Never waits.
    pub fn tell(&self, event: RoomEvent) {
        let event = Arc::new(event);
        for follower in &self.followers {
            // It fails only when nobody follows any more.
            let _ = follower.try_send(Arc::clone(&event));
        }
    }

    /// Some follower has so much waiting that nothing should begin that makes more.
    pub fn is_behind(&self) -> bool {
        self.followers.iter().any(|follower| !follower.is_closed() && follower.len() >= BEHIND_AT)
    }
}

/// An event as it is told to other programs. It never changes afterwards: what is told again is these bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The event's id.
    pub id: String,
    /// What happened, in a word.
    pub event: &'static str,
    /// All of it.
    pub body: Vec<u8>,
}
