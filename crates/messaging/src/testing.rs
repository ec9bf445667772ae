//! Values that tests are written with.

use std::sync::Arc;

use base::{ChannelId, DeviceId, UserId};

use crate::clock::Hlc;
use crate::event::{Content, Event, Sender};
use crate::place::{EventId, Mark, Place, Region, Vector};

pub fn region(name: &str) -> Region {
    name.parse().expect("a test names regions as they are")
}

pub fn at(epoch: u32, n: u64) -> Place {
    Place { epoch, n }
}

pub fn id(text: &str) -> EventId {
    text.parse().expect("a test names events as they are")
}

pub fn user(name: &str) -> UserId {
    UserId::new(name)
}

pub fn device(name: &str) -> DeviceId {
    DeviceId::new(name)
}

pub fn channel(name: &str) -> ChannelId {
    ChannelId::new(name)
}

pub fn text(body: &str) -> Content {
    Content::Message {
        body: Arc::from(body.as_bytes()),
        reply_to: None,
        thread: None,
        mentions: Vec::new(),
        everyone: false,
    }
}

/// Places by `region.epoch.n`.
pub fn vector(places: &[&str]) -> Vector {
    let mark = |text: &&str| (id(text).region, Mark { place: id(text).place, count: id(text).place.n });
    places.iter().map(mark).collect()
}

/// The `n`th event of a log that holds one channel's messages alone.
pub fn message(region_name: &str, epoch: u32, n: u64) -> Event {
    Event {
        id: EventId { region: region(region_name), place: at(epoch, n) },
        channel: channel("room"),
        prev: (n > 1).then(|| at(epoch, n - 1)),
        depends: Vector::default(),
        clock: Hlc(n),
        count: n,
        from: Some(Sender { user: user("ann"), device: device("phone"), csn: n }),
        read: Vector::default(),
        after: Vec::new(),
        content: text("hello"),
    }
}

/// The same, after what it depends on.
pub fn dependent(region_name: &str, n: u64, depends: &[&str]) -> Event {
    Event { depends: vector(depends), ..message(region_name, 1, n) }
}
