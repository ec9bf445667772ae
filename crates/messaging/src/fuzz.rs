//! What the fuzz targets call; see `fuzz/README.md`. A target fails when it panics.

use std::time::{Duration, Instant};

use base::{DeviceId, UnixMillis, UserId};

use crate::command::{Ask, Command, Now, Origin, Send};
use crate::event::{Content, Event, Record, Settings};
use crate::format::{Encoded, decode, encode};
use crate::limits::Limits;
use crate::partition::{Appended, Partition, State};
use crate::place::{Cursor, Lineage, Token, Vector};
use crate::roles::Role;

/// Reads `bytes` as one of the stored values, which the first of them chooses. What is read is written, and read again as the same. A
/// partition's state and its log are worked with as well.
pub fn formats(now: Instant, bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 7 {
        0 => drop(same::<Record>(rest)),
        1 => drop(same::<Event>(rest)),
        2 => drop(same::<Cursor>(rest)),
        3 => drop(same::<Token>(rest)),
        4 => drop(same::<Lineage>(rest)),
        5 => drop(same::<State>(rest)),
        _ => log(now, rest),
    }
}

/// What was read survives its bytes.
fn same<T: Encoded + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = decode(bytes).ok()?;
    assert_eq!(decode::<T>(&encode(&value)).as_ref(), Ok(&value), "it is not what was read");
    Some(value)
}

/// Records, each behind its length (2): an owner reads them as its log, and serves.
fn log(now: Instant, mut bytes: &[u8]) {
    let region = "eu".parse().expect("it is a region's name");
    let mut state = State::new(region, 1);
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let Some((record, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length))) else {
            break;
        };
        if let Ok(record) = Record::read(record) {
            state.replay(&record);
        }
        bytes = rest;
    }
    assert_eq!(State::restore(&state.checkpoint()).as_ref(), Ok(&state), "a checkpoint is not the state");
    serve(now, Partition::new(state, 2, true, Limits::default()));
}

/// Somebody asks for everything that there is to be asked for, in every channel.
fn serve(at: Instant, mut owner: Partition) {
    let mut now = Now { at, wall: UnixMillis(1_700_000_000_000) };
    owner.start();
    settle(&mut owner);
    let channels: Vec<_> = owner.state().channels.keys().take(8).cloned().collect();
    for channel in channels {
        for ask in asks(&owner, &channel) {
            let user = Some(UserId::new("ann"));
            let origin = Origin { connection: 1, request: 1, user, device: DeviceId::new("phone") };
            owner.handle(now, Command { origin, channel: channel.clone(), ask });
            settle(&mut owner);
        }
        now.at += Duration::from_secs(10);
        now.wall.0 += 10_000;
        owner.handle_timeout(now);
        settle(&mut owner);
        let state = owner.channel(&channel);
        for user in state.iter().flat_map(|state| state.members().keys()) {
            let _ = state.map(|state| (state.unread(user), state.unread_mentions(user)));
        }
    }
}

fn asks(owner: &Partition, channel: &base::ChannelId) -> Vec<Ask> {
    let delivered = owner.channel(channel).map(|state| state.causal().cursor()).unwrap_or_default();
    let body = b"hello"[..].into();
    let content =
        Content::Message { body, reply_to: None, thread: None, mentions: Vec::new(), everyone: true };
    let send = Send {
        csn: 1,
        follows: None,
        content,
        seen: Vec::new(),
        delivered: Vector::default(),
        after: Vec::new(),
        original: None,
    };
    vec![
        Ask::Join,
        Ask::Send(Box::new(send)),
        Ask::Read { read: delivered, delivered: Cursor::default() },
        Ask::Update { settings: Settings { frozen: true, ..Settings::default() } },
        Ask::Member { user: UserId::new("bob"), change: crate::event::Change::Joined { role: Role::Guest } },
        Ask::Leave,
    ]
}

fn settle(owner: &mut Partition) {
    while owner.poll_append().is_some() {
        owner.appended(Appended::Committed);
    }
    while owner.poll_output().is_some() {}
}
