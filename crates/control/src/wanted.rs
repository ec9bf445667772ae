//! What the subscribers of a room's video tracks ask for, over all workers of the room.

use std::collections::BTreeMap;

use base::TrackId;
use contract::session::Event;

use crate::forwarding::ForwardId;
use crate::room_task::RoomTask;

/// A layer, as [`contract::media::Event::WantedLayer`] counts them; `None`: nobody wants any.
type Highest = Option<u8>;

/// Who says what is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Asker {
    /// A worker, by its index.
    Worker(usize),
    /// Another room in which the publisher is shown.
    Forward(ForwardId),
}

/// Of each track: what each said last.
#[derive(Default)]
pub(crate) struct Wanted {
    tracks: BTreeMap<TrackId, BTreeMap<Asker, Highest>>,
}

impl Wanted {
    /// One says what is wanted of it. What is wanted of the track over all, if that is news.
    fn say(&mut self, asker: Asker, track: TrackId, highest: Highest) -> Option<Highest> {
        let said = self.tracks.entry(track).or_default();
        let before = merge(said);
        said.insert(asker, highest);
        let after = merge(said);
        (before != after).then_some(after).flatten()
    }

    /// The track does not reach it any more. What is wanted over those left, if that is news.
    fn forget(&mut self, asker: Asker, track: TrackId) -> Option<Highest> {
        let said = self.tracks.get_mut(&track)?;
        let before = merge(said);
        said.remove(&asker);
        let after = merge(said);
        (before != after).then_some(after).flatten()
    }
}

/// `None`: nobody has said anything.
fn merge(said: &BTreeMap<Asker, Highest>) -> Option<Highest> {
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
        self.layer_wanted_by(Asker::Worker(worker), track, highest);
    }

    /// Somebody says so of a track that reaches it.
    pub(crate) fn layer_wanted_by(&mut self, asker: Asker, track: TrackId, highest: Highest) {
        if !self.wanted.tracks.contains_key(&track) {
            // Bounded by what is published.
            let room = &self.room;
            self.wanted.tracks.retain(|track, _| room.publisher(track.primary()).is_some());
        }
        let news = self.wanted.say(asker, track, highest);
        self.tell_wanted(track, news);
    }

    /// A track is not relayed to a worker any more: nobody there wants anything of it.
    pub(crate) fn unwanted(&mut self, worker: usize, track: TrackId) {
        let news = self.wanted.forget(Asker::Worker(worker), track);
        self.tell_wanted(track, news);
    }

    /// No track reaches it any more.
    pub(crate) fn unwanted_by(&mut self, asker: Asker) {
        let tracks: Vec<TrackId> = self.wanted.tracks.keys().copied().collect();
        for track in tracks {
            let news = self.wanted.forget(asker, track);
            self.tell_wanted(track, news);
        }
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
            wanted.say(Asker::Worker(0), TRACK, None),
            Some(None),
            "the first word is news, even that nobody is there"
        );
        assert_eq!(
            wanted.say(Asker::Worker(1), TRACK, Some(0)),
            Some(Some(0)),
            "the lowest layer is more than none"
        );
        assert_eq!(wanted.say(Asker::Worker(0), TRACK, Some(2)), Some(Some(2)));
        assert_eq!(wanted.say(Asker::Worker(1), TRACK, Some(1)), None);
        assert_eq!(wanted.say(Asker::Worker(0), TRACK, None), Some(Some(1)));
        assert_eq!(wanted.say(Asker::Worker(0), TrackId(2), Some(0)), Some(Some(0)), "tracks are apart");
    }
}
