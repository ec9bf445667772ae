//! Which tracks cross between the workers of a room: from where a connection brings them to where connections of other
//! workers send them.

use std::collections::{BTreeMap, BTreeSet};

use base::{ParticipantId, PeerId, RoomId, TrackId};
use contract::media::{Command, ReceiveSection, RelayedTrack, Sections};

/// What is granted on the connections of a room, by track, and what of it the workers were told.
#[derive(Default)]
pub(crate) struct Relays {
    /// The connections that bring a track, the newest last.
    sources: BTreeMap<TrackId, Vec<(PeerId, RelayedTrack)>>,
    /// How many connections it is sent on, by worker.
    receivers: BTreeMap<TrackId, BTreeMap<usize, usize>>,
    told: BTreeMap<TrackId, Told>,
    /// Tracks of which something changed since the workers were last told.
    changed: BTreeSet<TrackId>,
    /// Counts changes of `sources`.
    revision: u64,
}

#[derive(Clone, PartialEq, Debug)]
struct Told {
    source: RelayedTrack,
    to: BTreeSet<usize>,
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of {
    pub peer: PeerId,
    pub participant: ParticipantId,
    /// Index of its worker.
    pub worker: usize,
}

impl Relays {
    /// A connection has other sections than before. One that is gone has none.
    pub fn change(&mut self, of: Of, before: &Sections, after: &Sections) {
        self.revision += u64::from(before.receive != after.receive);
        let gone = before.receive.iter().filter_map(|section| section.track);
        gone.for_each(|track| self.remove_source(of.peer, track));
        for section in &after.receive {
            let Some(track) = section.track else { continue };
            self.changed.insert(track);
            self.sources.entry(track).or_default().push((of.peer, relayed(of, section)));
        }
        for section in &before.send {
            self.count(section.track, of.worker, |count| count.saturating_sub(1));
        }
        for section in &after.send {
            self.count(section.track, of.worker, |count| count + 1);
        }
    }

    /// The same of somebody who is in another room: `peer` stands for all its connections.
    pub fn set_sources(
        &mut self,
        peer: PeerId,
        before: &BTreeMap<TrackId, RelayedTrack>,
        after: &BTreeMap<TrackId, RelayedTrack>,
    ) {
        before.keys().for_each(|track| self.remove_source(peer, *track));
        for (track, source) in after {
            self.changed.insert(*track);
            self.sources.entry(*track).or_default().push((peer, source.clone()));
        }
    }

    fn remove_source(&mut self, peer: PeerId, track: TrackId) {
        self.changed.insert(track);
        if let Some(sources) = self.sources.get_mut(&track) {
            sources.retain(|(of, _)| *of != peer);
            self.sources.retain(|_, sources| !sources.is_empty());
        }
    }

    /// What a participant sends, and from where.
    pub fn sources_of(&self, participant: ParticipantId) -> BTreeMap<TrackId, RelayedTrack> {
        let newest = self.sources.iter().filter_map(|(track, sources)| Some((track, &sources.last()?.1)));
        let own = newest.filter(|(_, source)| source.participant == participant);
        own.map(|(track, source)| (*track, source.clone())).collect()
    }

    /// As long as it is the same, so is what [`Self::sources_of`] says.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn count(&mut self, track: TrackId, worker: usize, change: impl FnOnce(usize) -> usize) {
        self.changed.insert(track);
        let workers = self.receivers.entry(track).or_default();
        let count = workers.entry(worker).or_default();
        *count = change(*count);
        workers.retain(|_, count| *count > 0);
        if workers.is_empty() {
            self.receivers.remove(&track);
        }
    }

    /// What the workers are to be told, by index. Whole states, each to whom it is news.
    pub fn settle(&mut self, room: RoomId) -> Vec<(usize, Command)> {
        let mut commands = Vec::new();
        for track in std::mem::take(&mut self.changed) {
            let wanted = self.wanted(track);
            let told = self.told.remove(&track);
            if wanted != told {
                tell(room, track, told.as_ref(), wanted.as_ref(), &mut commands);
            }
            self.told.extend(wanted.map(|wanted| (track, wanted)));
        }
        commands
    }

    /// `None`: it does not cross.
    fn wanted(&self, track: TrackId) -> Option<Told> {
        let (_, source) = self.sources.get(&track)?.last()?;
        let workers = self.receivers.get(&track)?.keys().copied();
        let to: BTreeSet<usize> = workers.filter(|worker| *worker != source.from).collect();
        (!to.is_empty()).then(|| Told { source: source.clone(), to })
    }

    /// Indexes of the workers that were told to expect the track.
    pub fn reaches(&self, track: TrackId) -> impl Iterator<Item = usize> {
        self.told.get(&track).into_iter().flat_map(|told| told.to.iter().copied())
    }

    /// What crosses: from where, and where to.
    pub fn iter(&self) -> impl Iterator<Item = (TrackId, usize, &BTreeSet<usize>)> {
        self.told.iter().map(|(track, told)| (*track, told.source.from, &told.to))
    }
}

fn tell(
    room: RoomId,
    track: TrackId,
    told: Option<&Told>,
    wanted: Option<&Told>,
    commands: &mut Vec<(usize, Command)>,
) {
    let from = |state: Option<&Told>| state.map(|state| state.source.from);
    let source = |state: Option<&Told>, worker| {
        state.filter(|state| state.to.contains(worker)).map(|state| state.source.clone())
    };
    let known = |state: Option<&Told>| state.map(|state| state.to.clone()).unwrap_or_default();
    for worker in known(told).union(&known(wanted)) {
        let (before, after) = (source(told, worker), source(wanted, worker));
        if before != after {
            commands.push((*worker, Command::SetRelayed { room, track, source: after }));
        }
    }
    if let Some(old) = from(told).filter(|_| from(told) != from(wanted)) {
        commands.push((old, Command::SetRelay { room, track, to: Vec::new() }));
    }
    if let Some(wanted) = wanted
        && told.is_none_or(|told| (told.source.from, &told.to) != (wanted.source.from, &wanted.to))
    {
        let to = wanted.to.iter().copied().collect();
        commands.push((wanted.source.from, Command::SetRelay { room, track, to }));
    }
}

fn relayed(of: Of, section: &ReceiveSection) -> RelayedTrack {
    RelayedTrack {
        from: of.worker,
        participant: of.participant,
        media: section.media,
        source: section.source,
        layers: section.layers(),
        sizes: section.sizes.clone(),
    }
}
