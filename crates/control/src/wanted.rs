//! What the subscribers of a room's video tracks ask for, over all workers of the room.

use std::collections::BTreeMap;

use base::TrackId;
use contract::session::Event;

use crate::room_task::RoomTask;

/// A layer, as [`contract::media::Event::WantedLayer`] counts them; `None`: nobody wants any.
type Highest = Option<u8>;

/// Of each track: what each worker said last, by its index.
#[derive(Default)]
pub(crate) struct Wanted {
    tracks: BTreeMap<TrackId, BTreeMap<usize, Highest>>,
}

impl Wanted {
    /// A worker says what is wanted on it. What is wanted of the track over all workers, if that is news.
    fn say(&mut self, worker: usize, track: TrackId, highest: Highest) -> Option<Highest> {
        let said = self.tracks.entry(track).or_default();
        let before = merge(said);
        said.insert(worker, highest);
        let after = merge(said);
        (before != after).then_some(after).flatten()
    }

    /// The track does not reach the worker any more. What is wanted over those left, if that is news.
    fn forget(&mut self, worker: usize, track: TrackId) -> Option<Highest> {
        let said = self.tracks.get_mut(&track)?;
        let before = merge(said);
        said.remove(&worker);
        let after = merge(said);
        (before != after).then_some(after).flatten()
    }
}

/// `None`: no worker has said anything.
fn merge(said: &BTreeMap<usize, Highest>) -> Option<Highest> {
    // Nobody is less than the lowest layer.
    said.values().copied().max()
}

impl RoomTask {
    /// A worker says what its subscribers want of a track. Its publisher is told what all want.
    pub(crate) fn layer_wanted(&mut self, worker: usize, track: TrackId, highest: Highest) {
        // A worker that the track does not reach any more may have said so before it knew.
        if self.room.publisher(track.primary()).is_none()
            || !self.workers_of(track).any(|of| of.index() == worker)
        {
            return;
        }
        if !self.wanted.tracks.contains_key(&track) {
            // Bounded by what is published.
            let room = &self.room;
            self.wanted.tracks.retain(|track, _| room.publisher(track.primary()).is_some());
        }
        let news = self.wanted.say(worker, track, highest);
        self.tell_wanted(track, news);
    }

    /// A track is not relayed to a worker any more: nobody there wants anything of it.
    pub(crate) fn unwanted(&mut self, worker: usize, track: TrackId) {
        let news = self.wanted.forget(worker, track);
        self.tell_wanted(track, news);
    }

    fn tell_wanted(&mut self, track: TrackId, news: Option<Highest>) {
        if let (Some(highest), Some(publisher)) = (news, self.room.publisher(track.primary())) {
            self.deliver(publisher, Event::WantedLayer { track, highest });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: TrackId = TrackId(1);

    #[test]
    fn what_is_wanted_is_the_most_that_any_worker_says() {
        let mut wanted = Wanted::default();
        assert_eq!(
            wanted.say(0, TRACK, None),
            Some(None),
            "the first word is news, even that nobody is there"
        );
        assert_eq!(wanted.say(1, TRACK, Some(0)), Some(Some(0)), "the lowest layer is more than none");
        assert_eq!(wanted.say(0, TRACK, Some(2)), Some(Some(2)));
        assert_eq!(wanted.say(1, TRACK, Some(1)), None);
        assert_eq!(wanted.say(0, TRACK, None), Some(Some(1)));
        assert_eq!(wanted.say(0, TrackId(2), Some(0)), Some(Some(0)), "tracks are apart");
    }
}
