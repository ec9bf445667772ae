//! One room: its state, the seats of its participants, and the loop that drives them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use base::model::{LeaveReason, Notice, RoomInfo};
use base::{Identity, ParticipantId, PeerId, TrackId};
use contract::events::RoomEvents;
use contract::media::{Command, Sections};
use contract::session::{
    AdminRefused, AdminRequest, Event, Join, JoinCall, JoinError, Joined, Request, Session,
};
use room::{JoinRefused, Newcomer, Room};
use tokio::sync::{mpsc, watch};

use crate::backpressure::Backpressure;
use crate::data::Labels;
use crate::door::{answer, wall_clock};
use crate::forwarding::{self, Forwarding};
use crate::history::{History, Progress};
use crate::journey::Journey;
use crate::memory::{Nonces, Revoked};
use crate::metrics::{Metrics, count, count_refused};
use crate::moving::{Awaiting, Departure, Step, Traveller};
use crate::placement::{Placement, Worker};
use crate::relays::{Of, Relays};
use crate::routes::{Routed, Routes};
use crate::rpc::Rpcs;
use crate::seat::{Delivery, Seat};
use crate::teller::Teller;
use crate::wanted::Wanted;

/// Requests of participants that wait for their room; adapters wait behind them. Allocated at once: small.
const REQUEST_QUEUE: usize = 64;
/// With this many events of the worker waiting the room is behind: whoever sends it messages is paused.
const MEDIA_QUEUE: usize = 1_024;
/// A participant whose adapter went away without a word stays this long if it ever had media: its socket may have
/// broken, and come back. Without media it goes at once.
const ADAPTER_GRACE: Duration = Duration::from_secs(5);

/// How often a room looks whether an adapter that is behind with reliable data has caught up. Adapters read in microseconds;
/// most of the time their next request wakes the room before.
const CATCH_UP: Duration = Duration::from_millis(1);
/// An adapter that is behind with reliable data and reads nothing for this long is closed.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

/// What the front door hands to a room.
pub(crate) enum ToRoom {
    /// A participant comes; it called at `at`.
    Join { call: Box<JoinCall>, at: tokio::time::Instant },
    /// The server API asks.
    Admin(AdminRequest),
    /// Somebody is moved.
    Step(Step),
    /// Somebody is to be shown in another room, too.
    Forwarding(forwarding::Step),
    /// The room is to end; `done` is told when everybody is out.
    Close { reason: LeaveReason, done: Option<async_channel::Sender<bool>> },
}

/// What a participant's deadline is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// Its adapter went away.
    AdapterGone,
    /// It has been up for a while: tell how it joined.
    Settled,
}

pub(crate) struct RoomTask {
    pub(crate) room: Room,
    pub(crate) placement: Placement,
    pub(crate) relays: Relays,
    pub(crate) routes: Arc<Routes>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) teller: Teller,
    pub(crate) seats: BTreeMap<ParticipantId, Seat>,
    pub(crate) peers: BTreeMap<PeerId, ParticipantId>,
    pub(crate) timers: BTreeSet<(Instant, Timer, ParticipantId)>,
    pub(crate) labels: Labels,
    pub(crate) history: History,
    pub(crate) backpressure: Backpressure,
    pub(crate) wanted: Wanted,
    pub(crate) calls_to: Rpcs,
    pub(crate) nonces: Nonces,
    pub(crate) revoked: Revoked,
    /// Who is asked to go on elsewhere, and who waits for it.
    pub(crate) departing: BTreeMap<ParticipantId, Awaiting>,
    /// Who goes at the end of this turn.
    pub(crate) departures: Vec<(Awaiting, Box<Traveller>)>,
    pub(crate) forwarding: Forwarding,
    /// Whose connections are paused, and when its adapter last was seen reading.
    pub(crate) behind: BTreeMap<ParticipantId, Instant>,
    /// What the workers are to be told at the end of this turn; `true`: may be lost.
    commands: Vec<(Arc<Worker>, Command, bool)>,
    /// Who waits for the end of the room.
    closing: Vec<async_channel::Sender<bool>>,
    /// What the front door lists.
    info: watch::Sender<RoomInfo>,
    calls: mpsc::Receiver<ToRoom>,
    requests: async_channel::Receiver<(ParticipantId, Request)>,
    pub(crate) request_sender: async_channel::Sender<(ParticipantId, Request)>,
    /// Bounded by the credit of the connections.
    pub(crate) media: mpsc::UnboundedReceiver<Routed>,
    gone: mpsc::UnboundedReceiver<ParticipantId>,
    /// One message per participant at most.
    gone_sender: mpsc::UnboundedSender<ParticipantId>,
}

impl RoomTask {
    pub fn new(
        room: Room,
        calls: mpsc::Receiver<ToRoom>,
        said: watch::Sender<RoomInfo>,
        placement: Placement,
        routes: Arc<Routes>,
        metrics: Arc<Metrics>,
        events: RoomEvents,
    ) -> Self {
        let (request_sender, requests) = async_channel::bounded(REQUEST_QUEUE);
        let (media_sender, media) = mpsc::unbounded_channel();
        let (gone_sender, gone) = mpsc::unbounded_channel();
        routes.add_room(room.info().id, media_sender);
        let teller = Teller::new(room.info().id, events);
        Self {
            room,
            placement,
            relays: Relays::default(),
            routes,
            metrics,
            teller,
            seats: BTreeMap::new(),
            peers: BTreeMap::new(),
            timers: BTreeSet::new(),
            labels: Labels::default(),
            history: History::default(),
            backpressure: Backpressure::default(),
            wanted: Wanted::default(),
            calls_to: Rpcs::default(),
            nonces: Nonces::default(),
            revoked: Revoked::default(),
            departing: BTreeMap::new(),
            departures: Vec::new(),
            forwarding: Forwarding::default(),
            behind: BTreeMap::new(),
            commands: Vec::new(),
            closing: Vec::new(),
            info: said,
            calls,
            requests,
            request_sender,
            media,
            gone,
            gone_sender,
        }
    }

    /// See [`crate::Config::slow_receiver_bps`].
    pub fn with_slow_receivers(mut self, bps: u64) -> Self {
        self.backpressure.slow_bps = bps;
        self
    }

    /// Runs until the room is over. Returns the calls that came too late for it.
    pub async fn run(mut self) -> Vec<ToRoom> {
        // That it has begun is told at once.
        self.settle().await;
        while !self.room.has_ended() {
            self.turn().await;
            self.settle().await;
        }
        for done in self.closing {
            answer(&done, true);
        }
        self.calls.close();
        let mut unanswered = Vec::new();
        while let Some(call) = self.calls.recv().await {
            unanswered.push(call);
        }
        unanswered
    }

    /// Waits for one thing to happen and handles it.
    async fn turn(&mut self) {
        let deadline = self.deadline();
        let is_anyone_behind = !self.behind.is_empty();
        let timeout = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            call = self.calls.recv() => match call {
                Some(call) => self.call(call),
                // The front door is gone, and with it the control plane.
                None => self.room.close(LeaveReason::ServerShutdown),
            },
            // The task holds a sender, so the queue never ends.
            Ok((id, request)) = self.requests.recv() => self.request(id, request),
            Some(routed) = self.media.recv() => self.hear(routed),
            () = tokio::time::sleep(CATCH_UP), if is_anyone_behind => {}
            Some(id) = self.gone.recv() => self.adapter_gone(id),
            Some((id, answer)) = self.forwarding.answers.recv() => self.hear_abroad(id, answer),
            Some((id, news)) = self.forwarding.news.recv() => self.hear_from_home(id, news),
            () = timeout => self.timeouts(),
        }
    }

    /// Carries out what follows for adapters that are behind and what the room decided, until it has nothing more to say.
    async fn settle(&mut self) {
        self.catch_up();
        let now = now();
        if self.room.poll_timeout().is_some_and(|at| at <= now) {
            self.room.handle_timeout(now);
        }
        loop {
            self.carry_out_all();
            self.refresh_relays();
            if self.commands.is_empty() {
                break;
            }
            for (worker, command, may_be_lost) in std::mem::take(&mut self.commands) {
                self.send_command(&worker, command, may_be_lost).await;
            }
        }
        self.send_off();
        self.share();
        self.publish_info();
    }

    /// Carries out what the room has decided so far.
    pub(crate) fn carry_out_all(&mut self) {
        while let Some(event) = self.room.poll_event() {
            self.carry_out(event);
        }
    }

    async fn send_command(&mut self, worker: &Arc<Worker>, command: Command, may_be_lost: bool) {
        if worker.is_gone() {
            return self.lose_worker(worker.index());
        }
        if may_be_lost {
            let sent = worker.handle.try_send(command);
            return count(if sent { &self.metrics.data_copies } else { &self.metrics.data_dropped });
        }
        if worker.handle.send(command).await.is_err() {
            if !worker.gone.swap(true, Relaxed) {
                tracing::error!(worker = worker.index(), "a media worker is gone");
            }
            self.lose_worker(worker.index());
        }
    }

    /// Tells the worker of this connection at the end of this turn.
    pub(crate) fn peer_command(&mut self, peer: PeerId, command: Command) {
        self.push_command(peer, command, false);
    }

    /// Tells the worker of this connection at the end of this turn, if its queue has room.
    pub(crate) fn lossy_command(&mut self, peer: PeerId, command: Command) {
        self.push_command(peer, command, true);
    }

    /// Tells this worker at the end of this turn.
    pub(crate) fn worker_command(&mut self, worker: &Arc<Worker>, command: Command) {
        self.commands.push((Arc::clone(worker), command, false));
    }

    fn push_command(&mut self, peer: PeerId, command: Command, may_be_lost: bool) {
        let seat = self.peers.get(&peer).and_then(|id| self.seats.get(id));
        if let Some(seat) = seat {
            self.commands.push((Arc::clone(&seat.place.worker), command, may_be_lost));
        }
    }

    /// The room's state on one worker is lost, or the worker itself: who is there has to come again.
    pub(crate) fn lose_worker(&mut self, index: usize) {
        let there = self.seats.iter().filter(|(_, seat)| seat.place.worker.index() == index);
        let there: Vec<ParticipantId> = there.map(|(id, _)| *id).collect();
        if !there.is_empty() && there.len() == self.seats.len() {
            return self.room.close(LeaveReason::StateMismatch);
        }
        for id in there.into_iter().chain(self.guests_on(index)) {
            self.room.leave(now(), id, LeaveReason::StateMismatch);
        }
    }

    /// The workers that have this track: its publisher's, and those to which it is relayed.
    pub(crate) fn workers_of(&self, track: TrackId) -> impl Iterator<Item = &Arc<Worker>> {
        let publisher = self.room.publisher(track.primary());
        let seated = publisher.and_then(|id| self.seats.get(&id)).map(|seat| &seat.place.worker);
        let own = seated.or_else(|| publisher.and_then(|id| self.guests_worker(id)));
        let others = self.relays.reaches(track).filter_map(|index| self.placement.worker(index));
        own.into_iter().chain(others)
    }

    /// Tells the workers which tracks cross between them, where that has changed.
    fn refresh_relays(&mut self) {
        let room = self.room.info().id;
        for (index, command) in self.relays.settle(room) {
            let Some(worker) = self.placement.worker(index).cloned() else { continue };
            let muted = match &command {
                Command::SetRelayed { track, source: Some(_), .. } if self.room.is_muted(track.primary()) => {
                    Some(*track)
                }
                _ => None,
            };
            if let Command::SetRelayed { track, source: None, .. } = &command {
                self.unwanted(index, *track);
            }
            self.commands.push((Arc::clone(&worker), command, false));
            if let Some(track) = muted {
                self.commands.push((worker, Command::SetMuted { room, track, muted: true }, false));
            }
        }
    }

    /// Queues an event for a participant's adapter; closes the participant when its adapter is too far behind.
    pub(crate) fn deliver(&mut self, id: ParticipantId, event: Event) {
        let Some(seat) = self.seats.get(&id) else { return self.wish(id, &event) };
        let delivery = seat.deliver(event);
        self.delivered(id, delivery);
    }

    pub(crate) fn delivered(&mut self, id: ParticipantId, delivery: Delivery) {
        match delivery {
            Delivery::Done => {}
            Delivery::Dropped => count(&self.metrics.data_in_dropped),
            Delivery::Slow => self.close_slow(id),
        }
    }

    /// The room itself has much to read.
    pub(crate) fn is_behind(&self) -> bool {
        self.media.len() >= MEDIA_QUEUE
    }

    /// Lets the worker read no more messages from this connection until its adapter, and the room, have caught up.
    pub(crate) fn pause(&mut self, id: ParticipantId, peer: PeerId) {
        let Some(state) = self.seats.get_mut(&id).and_then(|seat| seat.peers.get_mut(&peer)) else { return };
        if !std::mem::replace(&mut state.paused, true) {
            self.peer_command(peer, Command::PauseData { peer, paused: true });
        }
        self.behind.entry(id).or_insert_with(now);
    }

    /// Passes on what waited for adapters, and goes on with the connections of those who have read enough.
    fn catch_up(&mut self) {
        if self.behind.is_empty() {
            return;
        }
        let (now, is_behind) = (now(), self.is_behind());
        let mut slow = Vec::new();
        let mut resumed = Vec::new();
        let unheard = self.behind.keys().filter(|id| !self.is_heard_abroad(**id));
        let unheard: BTreeSet<ParticipantId> = unheard.copied().collect();
        let seats = &mut self.seats;
        self.behind.retain(|id, seen| {
            let Some(seat) = seats.get_mut(id) else { return false };
            if seat.catch_up() {
                *seen = now;
            } else if now >= *seen + CATCH_UP_LIMIT {
                slow.push(*id);
            }
            let goes_on = !is_behind && seat.has_caught_up() && !unheard.contains(id);
            if goes_on {
                resumed.push(*id);
            }
            !goes_on
        });
        resumed.into_iter().for_each(|id| self.resume(id));
        slow.into_iter().for_each(|id| self.close_slow(id));
    }

    /// Reads messages of the participant again, unless there is another reason not to.
    pub(crate) fn resume(&mut self, id: ParticipantId) {
        if self.behind.contains_key(&id) || self.backpressure.is_held(id) {
            return;
        }
        let Some(seat) = self.seats.get_mut(&id) else { return self.hold_guest(id, false) };
        let peers = seat.peers.iter_mut();
        let paused = peers.filter_map(|(id, peer)| std::mem::take(&mut peer.paused).then_some(*id));
        for peer in paused.collect::<Vec<PeerId>>() {
            self.peer_command(peer, Command::PauseData { peer, paused: false });
        }
    }

    fn close_slow(&mut self, id: ParticipantId) {
        if self.room.leave(now(), id, LeaveReason::SignalClosed) {
            count(&self.metrics.slow_adapters);
            tracing::warn!(participant = %id, "session closed: its adapter does not drain its events");
        }
    }

    pub(crate) fn close_flooding(&mut self, id: ParticipantId) {
        if self.room.leave(now(), id, LeaveReason::SignalClosed) {
            count(&self.metrics.floods);
            tracing::warn!(participant = %id, "session closed: it sends more messages than can be passed on");
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _, _)| *at);
        [self.room.poll_timeout(), timer, self.history.poll_timeout()].into_iter().flatten().min()
    }

    fn timeouts(&mut self) {
        let now = now();
        self.room.handle_timeout(now);
        self.forget_data(now);
        while let Some((at, timer, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::AdapterGone => {
                    self.room.leave(now, id, LeaveReason::SignalClosed);
                }
                Timer::Settled => {
                    if let Some(seat) = self.seats.get_mut(&id) {
                        seat.journey.settled();
                    }
                }
            }
        }
    }

    fn call(&mut self, call: ToRoom) {
        match call {
            ToRoom::Join { call, at } => self.join(*call, at.into_std()),
            ToRoom::Admin(request) => self.admin(request),
            ToRoom::Step(step) => self.step(step),
            ToRoom::Forwarding(step) => self.forwarding_step(step),
            ToRoom::Close { reason, done } => {
                self.room.close(reason);
                self.closing.extend(done);
            }
        }
    }

    fn join(&mut self, call: JoinCall, started: Instant) {
        let JoinCall { join, reply } = call;
        if self.revoked.has(&join.identity, join.issued_s) {
            let error = self.refuse(JoinError::Revoked, &join.identity, &join.client);
            return answer(&reply, Err(error));
        }
        let (now, id) = (now(), ParticipantId::fresh(rand::random()));
        let (identity, client) = (join.identity.clone(), join.client.clone());
        let welcome = match self.room.join(now, newcomer(id, join)) {
            Ok(welcome) => welcome,
            Err(refused) => return answer(&reply, Err(self.refusal(refused, &identity, &client))),
        };
        let Some(place) = self.placement.place() else {
            self.room.close(LeaveReason::StateMismatch);
            return answer(&reply, Err(self.refusal(JoinRefused::Ended, &identity, &client)));
        };
        let (sender, events) = async_channel::unbounded();
        self.watch(id, sender.clone());
        let initial = self.room.subscriptions(id).count();
        let room = welcome.room.name.clone();
        let journey = Journey::new(room, id, identity, client, started, now);
        let worker = place.worker.handle.info.clone();
        let progress = Progress::new(self.history.next());
        let seat = Seat::new(sender, initial, journey, Arc::clone(&self.metrics), place, progress);
        self.seats.insert(id, seat);
        count(&self.metrics.admitted);
        let joined = Joined {
            participant: welcome.participant,
            room: welcome.room,
            others: welcome.others,
            worker,
            session: Session::new(id, self.request_sender.clone()),
            events,
        };
        self.publish_info();
        if reply.try_send(Ok(joined)).is_err() {
            // Whoever called has gone.
            self.room.leave(now, id, LeaveReason::SignalClosed);
        }
    }

    fn refusal(&self, refused: JoinRefused, identity: &Identity, client: &str) -> JoinError {
        self.refuse(join_error(refused), identity, client)
    }

    fn refuse(&self, error: JoinError, identity: &Identity, client: &str) -> JoinError {
        count_refused(&self.metrics, error);
        let (room, identity) = (self.room.info().name.as_str(), identity.as_str());
        tracing::info!(room, identity, client, reason = %error, "join refused");
        error
    }

    /// Notices when the adapter stops reading.
    pub(crate) fn watch(&self, id: ParticipantId, events: async_channel::Sender<Event>) {
        let gone = self.gone_sender.clone();
        tokio::spawn(async move {
            events.closed().await;
            let _ = gone.send(id);
        });
    }

    fn adapter_gone(&mut self, id: ParticipantId) {
        let Some(seat) = self.seats.get(&id) else { return };
        if seat.journey.connected() {
            self.timers.insert((now() + ADAPTER_GRACE, Timer::AdapterGone, id));
        } else {
            self.room.leave(now(), id, LeaveReason::SignalClosed);
        }
    }

    fn carry_out(&mut self, event: room::Event) {
        match event {
            room::Event::Notice(id, notice) => self.notify(id, notice),
            room::Event::SetMuted { track, muted } => {
                let room = self.room.info().id;
                let backup = self.room.has_backup(track).then(|| track.backup());
                for track in std::iter::once(track).chain(backup) {
                    let workers: Vec<_> = self.workers_of(track).cloned().collect();
                    let command = |worker| (worker, Command::SetMuted { room, track, muted }, false);
                    self.commands.extend(workers.into_iter().map(command));
                }
            }
            room::Event::Happened(what) => {
                if self.teller.tell(self.room.info(), what) {
                    count(&self.metrics.room_events);
                }
            }
            room::Event::Ended(reason) => {
                tracing::info!(room = self.room.info().name.as_str(), ?reason, "room ended");
            }
        }
    }

    fn notify(&mut self, id: ParticipantId, notice: Notice) {
        match &notice {
            Notice::Closed(reason) => return self.unseat(id, *reason),
            Notice::Subscribe { track, .. } => self.refresh_sending(id, track.id),
            // What it wants of the track holds when it receives it again: its client does not say it again.
            Notice::Unsubscribe { track } => self.refresh_sending(id, *track),
            Notice::TrackRemoved { track } => self.refresh_receiving(id, *track),
            _ => {}
        }
        self.deliver(id, Event::Notice(notice));
    }

    /// The participant is out of the room: its connections go, its adapter is told.
    fn unseat(&mut self, id: ParticipantId, reason: LeaveReason) {
        let Some(mut seat) = self.seats.remove(&id) else { return self.dismiss(id) };
        self.end_forwards(id, reason);
        let worker = &seat.place.worker;
        for (peer, state) in &seat.peers {
            let of = Of { peer: *peer, participant: id, worker: worker.index() };
            self.drop_peer(of, &state.granted);
            self.commands.push((Arc::clone(worker), Command::RemovePeer { peer: *peer }, false));
        }
        self.placement.leave(worker);
        if let Some(awaiting) = self.departing.remove(&id) {
            let by_itself = reason == LeaveReason::Moved;
            let _ = awaiting.send(by_itself.then_some(Departure::ByItself).ok_or(AdminRefused::Left));
        }
        self.forget_seat(id);
        seat.journey.end(now(), reason, &self.metrics);
        // A full queue loses this; that it is closed says the same.
        seat.close(reason);
    }

    /// What there is about a participant beside its seat.
    pub(crate) fn forget_seat(&mut self, id: ParticipantId) {
        self.timers.retain(|(_, _, of)| *of != id);
        self.calls_to.left(id);
        self.behind.remove(&id);
        self.forget_backpressure(id);
    }

    /// A connection is gone that had these sections.
    pub(crate) fn drop_peer(&mut self, of: Of, granted: &Sections) {
        self.peers.remove(&of.peer);
        self.routes.remove_peer(of.peer);
        self.relays.change(of, granted, &Sections::default());
    }

    /// What the front door lists is what has been answered.
    pub(crate) fn publish_info(&self) {
        self.info.send_if_modified(|info| {
            let is_news = info != self.room.info();
            if is_news {
                info.clone_from(self.room.info());
            }
            is_news
        });
    }
}

/// Would the room let it in?
pub(crate) fn check_join(room: &Room, join: Join) -> Result<(), JoinError> {
    room.check_join(&newcomer(ParticipantId::fresh(rand::random()), join)).map_err(join_error)
}

fn join_error(refused: JoinRefused) -> JoinError {
    match refused {
        JoinRefused::Full => JoinError::RoomFull,
        JoinRefused::LimitExceeded => JoinError::LimitExceeded,
        JoinRefused::Ended => JoinError::Unavailable,
    }
}

fn newcomer(id: ParticipantId, join: Join) -> Newcomer {
    Newcomer {
        id,
        identity: join.identity,
        name: join.name,
        metadata: join.metadata,
        attributes: join.attributes,
        kind: join.kind,
        kind_details: join.kind_details,
        permissions: join.permissions,
        auto_subscribe: join.auto_subscribe,
        auto_subscribe_data: join.auto_subscribe_data,
        abilities: join.abilities,
        joined_at: wall_clock(),
    }
}

/// The time, in tests the virtual one.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
