//! What is known of the room, shared between the task behind it and its handle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use livekit_protocol as proto;

use crate::event::{Event, Participant};

/// Senders of reliable messages that are remembered: more than a room has.
const MAX_SENDERS: usize = 10_000;

/// Ourselves and the others.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sid: String,
    room: String,
    /// By identity.
    others: BTreeMap<String, Participant>,
    /// The last reliable message of each sender, by session.
    received: BTreeMap<String, u32>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // It is whole after each of the methods below, none of which panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sid(&self) -> String {
        self.lock().sid.clone()
    }

    pub fn room(&self) -> String {
        self.lock().room.clone()
    }

    pub fn others(&self) -> Vec<Participant> {
        self.lock().others.values().cloned().collect()
    }

    /// We are in. Returns what that changes: those who are here, and before them who of those that we knew is not.
    pub fn joined(&self, join: &proto::JoinResponse) -> Vec<Event> {
        let mut inner = self.lock();
        inner.sid = join.participant.as_ref().map(|me| me.sid.clone()).unwrap_or_default();
        inner.room = join.room.as_ref().map(|room| room.name.clone()).unwrap_or_default();
        let here: BTreeMap<String, Participant> = join
            .other_participants
            .iter()
            .map(|info| (info.identity.clone(), Participant::from_proto(info)))
            .collect();
        let before = std::mem::replace(&mut inner.others, here.clone());
        let gone = before.into_keys().filter(|identity| !here.contains_key(identity));
        let mut events: Vec<Event> = gone.map(|identity| Event::ParticipantLeft { identity }).collect();
        events.extend(here.into_values().map(Event::Participant));
        events
    }

    /// Something about somebody changed. `None`: it is about us.
    pub fn update(&self, info: &proto::ParticipantInfo) -> Option<Event> {
        let mut inner = self.lock();
        if info.sid == inner.sid {
            return None;
        }
        if info.state() == proto::participant_info::State::Disconnected {
            // Who was replaced by a session of the same identity is still here.
            let replaced = inner.others.get(&info.identity).is_some_and(|now| now.sid != info.sid);
            if !replaced {
                inner.others.remove(&info.identity);
            }
            return (!replaced).then(|| Event::ParticipantLeft { identity: info.identity.clone() });
        }
        let participant = Participant::from_proto(info);
        inner.others.insert(info.identity.clone(), participant.clone());
        Some(Event::Participant(participant))
    }

    /// Takes out what was said of tracks that are gone, when it is about more than `most`: what is left goes to the server with every
    /// resume, which reads the first thousand.
    pub fn forget_gone<T>(&self, said: &mut BTreeMap<String, T>, most: usize) {
        if said.len() > most {
            let inner = self.lock();
            let there: BTreeSet<&str> = inner
                .others
                .values()
                .flat_map(|other| &other.tracks)
                .map(|track| track.sid.as_str())
                .collect();
            said.retain(|track, _| there.contains(track.as_str()));
        }
    }

    /// A reliable message with this number of this sender came. `false`: it came before.
    pub fn receive(&self, sender: &str, sequence: u32) -> bool {
        let mut inner = self.lock();
        if let Some(last) = inner.received.get_mut(sender) {
            let new = sequence > *last;
            *last = sequence.max(*last);
            return new;
        }
        if inner.received.len() == MAX_SENDERS {
            inner.received.pop_first();
        }
        inner.received.insert(sender.to_owned(), sequence);
        true
    }

    /// The last reliable message of each sender, for a server that replays what we missed.
    pub fn received(&self) -> Vec<proto::DataChannelReceiveState> {
        let inner = self.lock();
        let state = |(sid, last): (&String, &u32)| proto::DataChannelReceiveState {
            publisher_sid: sid.clone(),
            last_seq: *last,
        };
        inner.received.iter().map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(identity: &str, sid: &str) -> proto::ParticipantInfo {
        proto::ParticipantInfo { identity: identity.to_owned(), sid: sid.to_owned(), ..Default::default() }
    }

    fn told(events: &[Event]) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::Participant(participant) => format!("+{}", participant.identity),
            Event::ParticipantLeft { identity } => format!("-{identity}"),
            other => panic!("{other:?}"),
        };
        events.iter().map(word).collect()
    }

    #[test]
    fn who_left_while_we_were_away_is_told_when_we_are_back() {
        let known = Known::default();
        let join = |others: &[&str]| proto::JoinResponse {
            participant: Some(info("me", "PA_me")),
            other_participants: others.iter().map(|who| info(who, &format!("PA_{who}"))).collect(),
            ..Default::default()
        };
        assert_eq!(told(&known.joined(&join(&["ada", "bob"]))), ["+ada", "+bob"]);
        assert!(known.update(&info("me", "PA_me")).is_none());
        assert_eq!(told(&known.joined(&join(&["bob", "eve"]))), ["-ada", "+bob", "+eve"]);
    }

    #[test]
    fn the_end_of_a_session_that_was_replaced_does_not_take_away_the_new_one() {
        let known = Known::default();
        known.update(&info("ada", "PA_1"));
        known.update(&info("ada", "PA_2"));
        let gone = |sid| proto::ParticipantInfo {
            state: proto::participant_info::State::Disconnected as i32,
            ..info("ada", sid)
        };
        assert!(known.update(&gone("PA_1")).is_none());
        assert_eq!(known.others().len(), 1);
        assert_eq!(told(&[known.update(&gone("PA_2")).expect("she left")]), ["-ada"]);
    }

    #[test]
    fn what_was_said_of_tracks_that_are_gone_is_forgotten_before_it_is_much() {
        let known = Known::default();
        let track = proto::TrackInfo { sid: "TR_there".to_owned(), ..Default::default() };
        known.update(&proto::ParticipantInfo { tracks: vec![track], ..info("ada", "PA_1") });
        let mut said: BTreeMap<String, bool> =
            ["TR_there", "TR_gone"].into_iter().map(|sid| (sid.to_owned(), true)).collect();
        known.forget_gone(&mut said, 2);
        assert_eq!(said.len(), 2, "few are no burden");
        known.forget_gone(&mut said, 1);
        assert_eq!(said.into_keys().collect::<Vec<_>>(), ["TR_there"]);
    }

    #[test]
    fn a_repeated_message_is_new_once_for_each_sender() {
        let known = Known::default();
        let came = [("a", 1), ("a", 2), ("a", 1), ("b", 1), ("a", 2), ("a", 3)];
        let new: Vec<bool> = came.iter().map(|(sender, sequence)| known.receive(sender, *sequence)).collect();
        assert_eq!(new, [true, true, false, true, false, true]);
        assert_eq!(known.received().iter().map(|state| state.last_seq).collect::<Vec<_>>(), [3, 1]);
    }
}
