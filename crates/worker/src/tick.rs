//! The thread's loop. One tick: commands, a batch of datagrams, timers, then everything that follows from them, then
//! sleep. The data path is marked with the five hops that a packet takes; none of them locks or allocates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{MediaKind, TrackId};
use contract::media::{Command, Event};
use udp::{Datagram, Slab};
use wire::media::{Decision, Received};

use crate::demux::{Lost, Routes};
use crate::early::EarlyChecks;
use crate::events::Outgoing;
use crate::flush::{self, Scratch};
use crate::guard::guard;
use crate::metrics::{Counts, Metrics};
use crate::outbox::Entry;
use crate::pacer::Pacer;
use crate::peers::Peers;
use crate::question;
use crate::relay::{Mesh, Relays};
use crate::rooms::{Rooms, Sink};
use crate::slots::{PeerKey, RingsKey, RoomKey};
use crate::socket::Io;
use crate::timers::{Owner, Timers};

/// What follows from what, in one tick: a peer's event changes a room, whose event changes a peer, which then has
/// something to send. What is still left after this many rounds goes on in the next tick.
const ROUNDS: usize = 4;
/// Timers that fire in one tick; more only after a stall, and they are due in the next tick at once.
const MAX_TIMERS: usize = 10_000;
/// Picture waits this long for its turn at most before no more is read: a core that is asked for more than it can do lets
/// the kernel drop what it cannot take, and what it takes is not stale.
const MAX_TURN: Duration = Duration::from_millis(20);
/// While events wait for room in control's queue, it is tried again this often.
const RETRY_EVENTS: Duration = Duration::from_millis(5);
/// Totals over all peers are published this often, while anything happens.
const PUBLISH: Duration = Duration::from_secs(1);

/// A worker's whole state. Owned by its thread.
pub(crate) struct Worker {
    /// In the process.
    pub(crate) index: usize,
    pub(crate) commands: async_channel::Receiver<Command>,
    pub(crate) events: Outgoing,
    pub(crate) io: Io,
    pub(crate) config: Arc<rtc::Config>,
    pub(crate) wall: rtc::WallClock,
    pub(crate) candidate: SocketAddr,
    pub(crate) peers: Peers,
    pub(crate) rooms: Rooms,
    pub(crate) routes: Routes,
    early: EarlyChecks,
    pub(crate) timers: Timers,
    pub(crate) relays: Relays,
    /// Microphones of a room that are forwarded.
    pub(crate) loudest: usize,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) counts: Counts,
    /// Counters of peers that are gone.
    pub(crate) gone: rtc::Counters,
    /// Peers whose messages are left in SCTP because control does not keep up.
    pub(crate) paused: Vec<PeerKey>,
    random: u64,
    publish_at: Option<Instant>,
    decisions: Vec<Decision<Sink>>,
    scratch: Scratch,
    peers_in_hand: Vec<PeerKey>,
    rooms_in_hand: Vec<RoomKey>,
}

/// Which publication a packet belongs to.
pub(crate) struct Origin {
    pub(crate) room: RoomKey,
    pub(crate) track: TrackId,
    pub(crate) key: sfu::TrackKey,
    pub(crate) rings: RingsKey,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) commands: async_channel::Receiver<Command>,
    pub(crate) events: async_channel::Sender<Event>,
    pub(crate) io: Io,
    pub(crate) config: Arc<rtc::Config>,
    pub(crate) wall: rtc::WallClock,
    pub(crate) candidate: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) mesh: Mesh,
    pub(crate) loudest: usize,
    pub(crate) seed: u64,
}

impl Worker {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            index: parts.index,
            commands: parts.commands,
            events: Outgoing::new(parts.events),
            io: parts.io,
            config: parts.config,
            wall: parts.wall,
            candidate: parts.candidate,
            peers: Peers::default(),
            rooms: Rooms::default(),
            routes: Routes::default(),
            early: EarlyChecks::default(),
            timers: Timers::default(),
            relays: Relays::new(parts.mesh),
            loudest: parts.loudest,
            metrics: parts.metrics,
            counts: Counts::default(),
            gone: rtc::Counters::default(),
            paused: Vec::new(),
            random: parts.seed,
            publish_at: None,
            decisions: Vec::new(),
            scratch: Scratch::default(),
            peers_in_hand: Vec::new(),
            rooms_in_hand: Vec::new(),
        }
    }

    /// Runs until control says stop or is gone.
    pub(crate) fn run(mut self) {
        if let Ok(clock) = udp::CpuClock::current_thread() {
            self.metrics.set_clock(clock);
        }
        let mut slab = Slab::new();
        loop {
            let now = Instant::now();
            if !self.tick(now, &mut slab) {
                break;
            }
            self.observe(now);
            if let Some(timeout) = self.sleep() {
                self.io.wait(timeout);
            }
        }
        self.stop();
    }

    /// One tick. `false`: the worker is to stop.
    pub(crate) fn tick(&mut self, now: Instant, slab: &mut Slab) -> bool {
        if !self.take_commands(now) {
            return false;
        }
        // Hop 1: a batch is read.
        self.io.receive(slab, &mut self.counts);
        for index in 0..slab.len() {
            self.take_datagram(now, slab, index);
        }
        // Others begin with what crosses while we seal.
        self.relays.wake();
        self.take_relayed(now);
        self.take_timers(now);
        self.settle(now);
        // Sound does not wait until picture is sealed.
        self.io.flush();
        self.send_pictures(now);
        self.io.flush();
        self.tend_relays(now);
        self.events.flush();
        self.resume_data(now);
        true
    }

    fn is_unsettled(&self) -> bool {
        self.peers.has_touched() || self.rooms.has_touched()
    }

    /// There is something for the next tick, whatever the time is.
    fn has_work(&self) -> bool {
        self.is_unsettled() || self.peers.waits_since().is_some()
    }

    /// Hops 2 and 3 of one datagram.
    fn take_datagram(&mut self, now: Instant, slab: &mut Slab, index: usize) {
        let Some(datagram) = slab.get(index) else { return };
        self.counts.bytes_in += datagram.bytes.len() as u64;
        // Hop 2: its peer is found.
        match self.routes.find(datagram.source, datagram.bytes) {
            Ok(key) => self.deliver(now, key, datagram),
            Err(Lost::Question) => {
                self.counts.questions += 1;
                let answer = question::answer(datagram.bytes, datagram.source);
                self.io.push(datagram.source, datagram.local, &answer);
                self.io.flush_if_full();
            }
            Err(Lost::User) => {
                self.counts.dropped_user += 1;
                self.early.keep(now, &datagram);
            }
            Err(Lost::Class) => self.counts.dropped_class += 1,
            Err(Lost::Source) => self.counts.dropped_source += 1,
        }
    }

    fn deliver(&mut self, now: Instant, key: PeerKey, datagram: Datagram<'_>) {
        let Some(peer) = self.peers.touch_and_get(key) else { return };
        if let Some(local) = datagram.local {
            peer.note_path(datagram.source, local);
        }
        // Hop 3: it is authenticated and decrypted in place.
        let outcome = guard(|| {
            #[cfg(test)]
            crate::guard::trap::spring(peer.id.0);
            peer.rtc.receive(now, datagram.source, datagram.bytes)
        });
        match outcome {
            Some(Some(received)) => self.forward(now, key, &received, datagram.bytes),
            Some(None) => {}
            None => self.peer_panicked(now, key),
        }
    }

    /// This user fragment is known from now on: checks that came for it already are taken.
    pub(crate) fn take_early(&mut self, now: Instant, key: PeerKey, user: &str) {
        for mut check in self.early.take(now, user) {
            self.counts.early_checks += 1;
            let datagram = Datagram { source: check.source, local: check.local, bytes: &mut check.bytes };
            self.deliver(now, key, datagram);
        }
    }

    fn forward(&mut self, now: Instant, publisher: PeerKey, received: &Received, datagram: &[u8]) {
        let Some(peer) = self.peers.get(publisher) else { return };
        let Some(published) = peer.published(received.mid) else {
            self.counts.dropped_unpublished += 1;
            return;
        };
        let (room, track) = (peer.room, published.track);
        let origin = Origin { room, track, key: published.key, rings: published.rings };
        if received.media == MediaKind::Audio {
            self.make_good(now, publisher, &origin, received, datagram);
        }
        self.distribute(now, &origin, received, datagram);
    }

    /// What was lost right before a redundant packet is passed on from the copy in it. So the redundancy that receivers get is
    /// left to the losses of their own lines. Should it come after all, it is dropped as a duplicate.
    fn make_good(
        &mut self,
        now: Instant,
        publisher: PeerKey,
        origin: &Origin,
        received: &Received,
        datagram: &[u8],
    ) {
        let missing = self.peers.get_mut(publisher).is_some_and(|peer| peer.note_sound(received));
        if missing && let Some(previous) = received.previous(datagram) {
            self.counts.made_good += 1;
            self.distribute(now, origin, &previous, datagram);
        }
    }

    /// Hop 4: the payload is stored once, and it is decided who gets it, changed how; and which other workers as it is.
    pub(crate) fn distribute(&mut self, now: Instant, origin: &Origin, received: &Received, datagram: &[u8]) {
        let Some(room) = self.rooms.get_mut(origin.room) else { return };
        let rings = room.rings.get_mut(origin.rings);
        let (descriptor, payload) = received.stored(datagram);
        let slot = rings.and_then(|rings| rings.push(received.layer, (descriptor, payload)));
        let (Some(slot), Some(media)) = (slot, &mut room.media) else {
            self.counts.dropped_unpublished += 1;
            return;
        };
        self.counts.forwarded_in += 1;
        let is_copied = !room.copies.to.is_empty();
        self.decisions.clear();
        let (decisions, id) = (&mut self.decisions, room.id);
        #[cfg(test)]
        let trap = id.0 + ((self.index as u64) << 32);
        let outcome = guard(|| {
            #[cfg(test)]
            crate::guard::trap::spring(trap);
            let relays = media.forward(now, origin.key, received, (descriptor, payload), slot, decisions);
            // Of what is withheld of a microphone because others are louder, nothing crosses.
            let interruptions = if relays.is_empty() { 0 } else { media.interruptions(origin.key) };
            (relays, interruptions)
        });
        let Some((relays, interruptions)) = outcome else {
            self.decisions.clear();
            return self.room_panicked(origin.room);
        };
        self.rooms.touch(origin.room);
        self.hand_out(now, received, origin.rings, descriptor.len() + payload.len());
        if !relays.is_empty() {
            self.relay(relays, (id, origin.track), received, (descriptor, payload), interruptions);
        }
        if is_copied {
            self.distribute_copies(now, origin, received, datagram);
        }
    }

    /// From the decision to the receivers: handles only, no bytes. They are sealed when the tick ends (hop 5).
    fn hand_out(&mut self, now: Instant, received: &Received, rings: RingsKey, len: usize) {
        for decision in &self.decisions {
            let peer = match received.media {
                MediaKind::Audio => self.peers.hand_sound(decision.sink.peer),
                MediaKind::Video => self.peers.hand_picture(now, decision.sink.peer),
            };
            let Some(peer) = peer else { continue };
            let entry = Entry {
                section: decision.sink.section,
                rings,
                slot: decision.slot,
                len: len as u16,
                begins: decision.begins,
                rewrite: decision.rewrite,
            };
            if !peer.outbox.push(received.media, entry) {
                self.counts.dropped_outbox += 1;
            }
        }
    }

    fn take_timers(&mut self, now: Instant) {
        for _ in 0..MAX_TIMERS {
            let Some((at, owner)) = self.timers.pop(now) else { return };
            match owner {
                Owner::Peer(key) => self.peer_timer(now, key, at),
                Owner::Room(key) => self.room_timer(now, key, at),
            }
        }
    }

    fn peer_timer(&mut self, now: Instant, key: PeerKey, at: Instant) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.armed != Some(at) {
            return;
        }
        peer.armed = None;
        let outcome = guard(|| {
            let due = peer.rtc.poll_timeout().is_some_and(|deadline| deadline <= now);
            if due {
                peer.rtc.handle_timeout(now);
            }
        });
        match outcome {
            Some(()) => self.peers.touch(key),
            None => self.peer_panicked(now, key),
        }
    }

    fn room_timer(&mut self, now: Instant, key: RoomKey, at: Instant) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if room.armed == Some(at) {
            room.armed = None;
            self.with_media(key, |media| {
                if media.poll_timeout().is_some_and(|deadline| deadline <= now) {
                    media.handle_timeout(now);
                }
            });
        }
    }

    /// What follows from what came in, except that pictures are not sent yet.
    fn settle(&mut self, now: Instant) {
        for _ in 0..ROUNDS {
            if !self.is_unsettled() {
                break;
            }
            self.settle_once(now);
        }
    }

    /// Peers' events, then rooms' events, then what the peers have to send.
    fn settle_once(&mut self, now: Instant) {
        let mut peers = std::mem::take(&mut self.peers_in_hand);
        self.peers.take_touched(&mut peers);
        for key in &peers {
            self.drain_peer(now, *key);
        }
        let mut rooms = std::mem::take(&mut self.rooms_in_hand);
        self.rooms.take_touched(&mut rooms);
        for key in rooms.drain(..) {
            self.drain_room(now, key);
        }
        self.rooms_in_hand = rooms;
        for key in peers.drain(..) {
            self.flush_touched(now, key);
        }
        self.peers_in_hand = peers;
    }

    /// Sends picture, receiver by receiver, until a slice is full: then the socket is looked at again. A frame to all receivers
    /// of a room takes a millisecond and more, and sound of other rooms must not wait for it.
    fn send_pictures(&mut self, now: Instant) {
        let overdue = |since: Instant| now.saturating_duration_since(since) > MAX_TURN;
        while !self.io.is_slice_full() || self.peers.waits_since().is_some_and(overdue) {
            let Some(key) = self.peers.next_turn() else { break };
            self.flush_one(now, key, false);
        }
    }

    /// All that this peer has to say goes into the batch now.
    pub(crate) fn flush_peer(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.stirred = true;
        }
        self.flush_touched(now, key);
    }

    fn flush_touched(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.touched = false;
        let stirred = std::mem::take(&mut peer.stirred);
        self.flush_one(now, key, stirred);
    }

    /// Hop 5: what this peer gets is sealed into the batch.
    fn flush_one(&mut self, now: Instant, key: PeerKey, stirred: bool) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (room_key, room) = (peer.room, self.rooms.get(peer.room));
        let (io, counts, scratch) = (&mut self.io, &mut self.counts, &mut self.scratch);
        let outcome = guard(|| {
            let left = flush::flush(now, peer, stirred, room, io, counts, scratch);
            let paced = peer.pacer.as_ref().and_then(Pacer::poll_timeout);
            let moved = peer.rtc.take_deadline_moved() || stirred || paced.is_some();
            let backlog = if stirred { peer.waiting.report(now) } else { None };
            let others = [paced, peer.waiting.poll_timeout()].into_iter().flatten();
            let deadline = moved.then(|| peer.rtc.poll_timeout().into_iter().chain(others).min());
            (left, backlog, deadline)
        });
        let Some((left, backlog, deadline)) = outcome else {
            self.io.rollback();
            self.scratch.overruns.clear();
            self.scratch.interrupted.clear();
            self.scratch.unrepaired.clear();
            return self.peer_panicked(now, key);
        };
        if let Some(deadline) = deadline {
            self.timers.arm(now, Owner::Peer(key), &mut peer.armed, deadline);
        }
        if let Some(backlog) = backlog {
            self.events.push(Event::DataBacklog { peer: peer.id, backlog });
        }
        if left || std::mem::take(&mut peer.unread) {
            self.peers.touch(key);
        }
        if !self.scratch.overruns.is_empty() {
            self.ask_for_keyframes(now, key, room_key);
        }
        if !self.scratch.interrupted.is_empty() {
            self.interrupt(now, key, room_key);
        }
        if !self.scratch.unrepaired.is_empty() {
            self.replace_lost(now, key, room_key);
        }
    }

    /// Frames that could not be completed: only a keyframe helps their receivers.
    #[cold]
    fn ask_for_keyframes(&mut self, now: Instant, key: PeerKey, room: RoomKey) {
        let overruns = std::mem::take(&mut self.scratch.overruns);
        for overrun in &overruns {
            let section = overrun.section;
            let Some(track) = self.peers.get(key).and_then(|peer| Some(peer.subscribed(section)?.track))
            else {
                continue;
            };
            self.with_media(room, |media| media.keyframe_wanted(now, track, Sink { peer: key, section }));
        }
        self.scratch.overruns = overruns;
        self.scratch.overruns.clear();
    }

    /// What was lost is not sent again: a keyframe takes its place.
    #[cold]
    fn replace_lost(&mut self, now: Instant, key: PeerKey, room: RoomKey) {
        let mut unrepaired = std::mem::take(&mut self.scratch.unrepaired);
        for section in unrepaired.drain(..) {
            let track = self.peers.get(key).and_then(|peer| Some(peer.subscribed(section)?.track));
            let Some(track) = track else { continue };
            self.with_media(room, |media| media.keyframe_wanted(now, track, Sink { peer: key, section }));
        }
        self.scratch.unrepaired = unrepaired;
    }

    /// Frames were dropped on which what follows depends: their receivers begin anew.
    #[cold]
    fn interrupt(&mut self, now: Instant, key: PeerKey, room: RoomKey) {
        let mut interrupted = std::mem::take(&mut self.scratch.interrupted);
        for section in interrupted.drain(..) {
            let track = self.peers.get(key).and_then(|peer| Some(peer.subscribed(section)?.track));
            let Some(track) = track else { continue };
            self.with_media(room, |media| media.interrupt(now, track, Sink { peer: key, section }));
        }
        self.scratch.interrupted = interrupted;
    }

    /// `None`: there is work, do not sleep. Otherwise how long to sleep at most; `Some(None)` is for ever.
    fn sleep(&mut self) -> Option<Option<Duration>> {
        if self.has_work() || !self.commands.is_empty() || self.relays.has_work() {
            return None;
        }
        let now = Instant::now();
        let retry = (!self.events.is_clear()).then(|| now + RETRY_EVENTS);
        let next = [self.timers.next(), self.publish_at, retry, self.relays.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        Some(next.map(|next| next.saturating_duration_since(now)))
    }

    /// Publishes what was counted. Totals over all peers only now and then: they cost a walk.
    pub(crate) fn observe(&mut self, began: Instant) {
        let now = Instant::now();
        let lag = now.saturating_duration_since(began).as_micros() as u64;
        self.counts.ticks += 1;
        self.counts.lag_max_us = self.counts.lag_max_us.max(lag);
        self.publish_when_due(now);
        self.counts.peers = self.peers.len() as u64;
        self.counts.rooms = self.rooms.len() as u64;
        self.counts.events_delayed = self.events.delayed;
        self.io.count(&mut self.counts);
        self.metrics.store(&self.counts);
        self.metrics.observe_lag(lag);
    }

    /// Publishes what is known of all peers, if it is time.
    pub(crate) fn publish_when_due(&mut self, now: Instant) {
        match self.publish_at {
            Some(at) if at <= now => {
                self.publish_at = None;
                self.publish_peers();
            }
            // What wakes an idle worker for nothing but this must not make it publish again. Of those who have just left it is
            // told that they are gone.
            None if self.peers.len() > 0 || self.counts.peers > 0 => self.publish_at = Some(now + PUBLISH),
            _ => {}
        }
    }

    fn publish_peers(&mut self) {
        let mut total = self.gone;
        let mut paused = 0;
        for (_, peer) in self.peers.iter() {
            total.add(peer.rtc.counters());
            paused += peer.subscribed.iter().filter(|each| each.paused).count();
            if let Some(estimate) = peer.rtc.estimate() {
                self.metrics.observe_estimate(estimate);
            }
        }
        self.counts.paused = paused as u64;
        self.metrics.store_peers(&total);
    }

    /// Says goodbye to everybody.
    fn stop(&mut self) {
        let now = Instant::now();
        for key in self.peers.keys() {
            if let Some(peer) = self.peers.get_mut(key)
                && guard(|| peer.rtc.close(now)).is_some()
            {
                self.flush_peer(now, key);
            }
        }
        self.io.flush();
        self.publish_peers();
        self.io.count(&mut self.counts);
        self.counts.peers = 0;
        self.counts.rooms = 0;
        self.metrics.store(&self.counts);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): spreads the seed of the worker to what it makes.
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Without a socket and in virtual time.
#[cfg(test)]
impl Worker {
    /// A tick in which these datagrams came.
    pub(crate) fn virtual_tick(&mut self, now: Instant, datagrams: &mut [(SocketAddr, Vec<u8>)]) {
        self.io.held = true;
        self.take_commands(now);
        for (source, bytes) in datagrams {
            match self.routes.find(*source, bytes) {
                Ok(key) => self.deliver(now, key, Datagram { source: *source, local: None, bytes }),
                Err(_) => self.counts.dropped_source += 1,
            }
        }
        self.take_timers(now);
        self.settle(now);
        self.io.flush();
        self.send_pictures(now);
        self.io.flush();
        self.events.flush();
    }

    /// When the next is due by itself.
    pub(crate) fn next_tick(&self, now: Instant) -> Option<Instant> {
        if self.has_work() { Some(now) } else { self.timers.next() }
    }
}
