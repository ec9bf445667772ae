//! The front door: rooms by name. It makes them, hands calls to them, and forgets them when they end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use base::model::{LeaveReason, RoomInfo};
use base::{Identity, RoomId, RoomName, UnixMillis};
use contract::events::RoomEvents;
use contract::media::{Command, WorkerHandle};
use contract::session::{AdminRefused, AdminRequest, Call, Join, JoinCall, JoinError, Reply, RoomOptions};
use room::{Limits, Room};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id as TaskId, JoinError as TaskError, JoinSet};
use tokio::time::Instant;

use crate::Config;
use crate::admin::{absent, room_of};
use crate::metrics::{Metrics, count, count_refused, uncount};
use crate::moving::{Errand, Found, Purpose};
use crate::placement::{Placement, Worker};
use crate::room_task::{RoomTask, ToRoom, check_join, now};
use crate::routes::Routes;
use crate::teller::tell_lost;

/// Longest room name, in bytes.
const ROOM_NAME_BYTES: usize = 256;
/// Calls that may wait for one room; further ones are refused.
const ROOM_CALL_QUEUE: usize = 1_024;

/// Where a join would lead.
enum Place {
    There,
    ToBeMade,
}

struct Entry {
    id: RoomId,
    calls: mpsc::Sender<ToRoom>,
    info: watch::Receiver<RoomInfo>,
}

/// What the end of a room's task needs to know.
struct Running {
    id: RoomId,
    info: watch::Receiver<RoomInfo>,
    name: RoomName,
    worker: Arc<Worker>,
}

pub(crate) struct Door {
    config: Config,
    workers: Arc<[Arc<Worker>]>,
    routes: Arc<Routes>,
    metrics: Arc<Metrics>,
    events: RoomEvents,
    rooms: BTreeMap<RoomName, Entry>,
    tasks: JoinSet<Vec<ToRoom>>,
    /// Participants that are looked for, to be moved. As many as there are open calls.
    errands: JoinSet<Option<Found>>,
    running: HashMap<TaskId, Running>,
    stopping: bool,
}

impl Door {
    pub fn new(
        config: Config,
        workers: Vec<WorkerHandle>,
        routes: Arc<Routes>,
        metrics: Arc<Metrics>,
        events: RoomEvents,
    ) -> Self {
        Self {
            config,
            workers: workers.into_iter().map(|handle| Arc::new(Worker::new(handle))).collect(),
            routes,
            metrics,
            events,
            rooms: BTreeMap::new(),
            tasks: JoinSet::new(),
            errands: JoinSet::new(),
            running: HashMap::new(),
            stopping: false,
        }
    }

    /// Serves until every handle to it is gone and the last room has ended.
    pub async fn run(
        mut self,
        calls: async_channel::Receiver<Call>,
        mut stops: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            tokio::select! {
                Ok(call) = calls.recv() => self.call(call),
                Some(ended) = self.tasks.join_next_with_id() => self.room_ended(ended),
                Some(errand) = self.errands.join_next() => {
                    if let Ok(Some(found)) = errand {
                        self.go_on(found);
                    }
                }
                Some(done) = stops.recv() => {
                    self.stop();
                    waiting.push(done);
                }
                else => return,
            }
            if self.stopping && self.tasks.is_empty() {
                // Who waited may have given up.
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Join(call) => self.join(call, Instant::now()),
            Call::Admin(request) => self.admin(request),
        }
    }

    fn join(&mut self, call: Box<JoinCall>, at: Instant) {
        match self.place(&call.join.room, call.join.create) {
            Ok(Place::There) => {}
            Ok(Place::ToBeMade) if !self.fits(&call.join.options) => {
                return self.refuse(&call, JoinError::LimitExceeded);
            }
            Ok(Place::ToBeMade) => self.make(call.join.room.clone(), call.join.options.clone()),
            Err(error) => return self.refuse(&call, error),
        }
        let name = call.join.room.clone();
        self.pass(&name, ToRoom::Join { call, at });
    }

    /// Where this room is, or what the front door itself has against going there.
    fn place(&self, room: &RoomName, create: bool) -> Result<Place, JoinError> {
        if self.stopping || self.workers.iter().all(|worker| worker.is_gone()) {
            return Err(JoinError::Unavailable);
        }
        if self.events.is_behind() {
            count(&self.metrics.held_back);
            return Err(JoinError::Unavailable);
        }
        if room.as_str().len() > ROOM_NAME_BYTES {
            return Err(JoinError::LimitExceeded);
        }
        // A room that has just ended is made anew.
        if self.rooms.get(room).is_some_and(|entry| !entry.calls.is_closed()) {
            return Ok(Place::There);
        }
        if !create {
            return Err(JoinError::NoSuchRoom);
        }
        if self.rooms.len() >= self.config.max_rooms {
            return Err(JoinError::Unavailable);
        }
        Ok(Place::ToBeMade)
    }

    fn check_join(&mut self, join: Box<Join>, reply: async_channel::Sender<Result<(), JoinError>>) {
        match self.place(&join.room, join.create) {
            Ok(Place::There) => {
                let name = join.room.clone();
                self.pass(&name, ToRoom::Admin(AdminRequest::CheckJoin { join, reply }));
            }
            Ok(Place::ToBeMade) if !self.fits(&join.options) => {
                answer(&reply, Err(JoinError::LimitExceeded));
            }
            Ok(Place::ToBeMade) => {
                let room = self.new_room(join.room.clone(), join.options.clone());
                answer(&reply, check_join(&room, *join));
            }
            Err(error) => answer(&reply, Err(error)),
        }
    }

    fn refuse(&self, call: &JoinCall, error: JoinError) {
        count_refused(&self.metrics, error);
        let join = &call.join;
        let (room, identity) = (join.room.as_str(), join.identity.as_str());
        tracing::info!(room, identity, client = join.client, reason = %error, "join refused");
        answer(&call.reply, Err(error));
    }

    /// Hands a call to a room, which answers it.
    fn pass(&mut self, name: &RoomName, call: ToRoom) {
        let Some(entry) = self.rooms.get(name) else { return self.absent(call) };
        match entry.calls.try_send(call) {
            Ok(()) => {}
            // The room has ended, and its task is about to be collected.
            Err(mpsc::error::TrySendError::Closed(call)) => self.absent(call),
            Err(mpsc::error::TrySendError::Full(ToRoom::Join { call, .. })) => {
                self.refuse(&call, JoinError::Unavailable);
            }
            // The reply handle goes with it: the caller sees that the room is too busy to answer.
            Err(mpsc::error::TrySendError::Full(_)) => {}
        }
    }

    /// Answers for a room that does not exist.
    fn absent(&self, call: ToRoom) {
        match call {
            ToRoom::Join { call, .. } => self.refuse(&call, JoinError::Unavailable),
            ToRoom::Admin(request) => absent(request),
            // Whoever is moved ends with it, and whoever asked sees that.
            ToRoom::Step(_) | ToRoom::Forwarding(_) => {}
            ToRoom::Close { done, .. } => {
                if let Some(done) = done {
                    answer(&done, true);
                }
            }
        }
    }

    fn admin(&mut self, request: AdminRequest) {
        if let Some(name) = room_of(&request).cloned() {
            return self.pass(&name, ToRoom::Admin(request));
        }
        match request {
            AdminRequest::CheckJoin { join, reply } => self.check_join(join, reply),
            AdminRequest::CreateRoom { room, options, reply } => answer(&reply, self.create(room, options)),
            AdminRequest::ListRooms { names, reply } => answer(&reply, self.list(&names)),
            AdminRequest::DeleteRoom { room, reply } => self.delete(&room, reply),
            AdminRequest::MoveParticipant { room, identity, destination, create, reply } => {
                self.run_errand(Purpose::Move, room, identity, destination, create, reply);
            }
            AdminRequest::ForwardParticipant { room, identity, destination, create, reply } => {
                self.run_errand(Purpose::Forward, room, identity, destination, create, reply);
            }
            other => absent(other),
        }
    }

    fn run_errand(
        &mut self,
        purpose: Purpose,
        room: RoomName,
        identity: Identity,
        destination: RoomName,
        create: bool,
        reply: Reply<Result<(), AdminRefused>>,
    ) {
        if room == destination {
            return answer(&reply, Err(AdminRefused::SameRoom));
        }
        match self.rooms.get(&room).filter(|entry| !entry.calls.is_closed()) {
            None => answer(&reply, Err(AdminRefused::NoSuchRoom)),
            Some(entry) => {
                let from = entry.calls.clone();
                let errand = Errand { purpose, identity, destination, create, reply, from };
                self.errands.spawn(errand.begin());
            }
        }
    }

    /// Somebody is to be brought into a room, which is made if it may be.
    fn go_on(&mut self, found: Found) {
        let errand = &found.errand;
        let name = errand.destination.clone();
        match self.place(&name, errand.create) {
            Ok(Place::There) => {}
            Ok(Place::ToBeMade) => self.make(name.clone(), RoomOptions::default()),
            Err(JoinError::NoSuchRoom) => return answer(&errand.reply, Err(AdminRefused::NoDestination)),
            Err(JoinError::LimitExceeded) => return answer(&errand.reply, Err(AdminRefused::LimitExceeded)),
            Err(_) => return answer(&errand.reply, Err(AdminRefused::Unavailable)),
        }
        match self.rooms.get(&name) {
            Some(entry) => drop(tokio::spawn(found.carry_out(entry.calls.clone()))),
            None => answer(&errand.reply, Err(AdminRefused::Unavailable)),
        }
    }

    fn create(&mut self, name: RoomName, options: RoomOptions) -> Result<RoomInfo, AdminRefused> {
        match self.place(&name, true) {
            Ok(Place::There) => {}
            Ok(Place::ToBeMade) if !self.fits(&options) => return Err(AdminRefused::LimitExceeded),
            Ok(Place::ToBeMade) => self.make(name.clone(), options),
            Err(JoinError::LimitExceeded) => return Err(AdminRefused::LimitExceeded),
            Err(_) => return Err(AdminRefused::Unavailable),
        }
        let made = self.rooms.get(&name).map(|entry| entry.info.borrow().clone());
        made.ok_or(AdminRefused::Unavailable)
    }

    fn list(&self, names: &[RoomName]) -> Vec<RoomInfo> {
        let all = names.is_empty();
        let entries = self.rooms.iter().filter(|(name, _)| all || names.contains(name));
        let alive = entries.filter(|(_, entry)| !entry.calls.is_closed());
        alive.map(|(_, entry)| entry.info.borrow().clone()).collect()
    }

    /// The name is free at once; the answer comes when everybody is out.
    fn delete(&mut self, name: &RoomName, reply: async_channel::Sender<bool>) {
        match self.rooms.remove(name).filter(|entry| !entry.calls.is_closed()) {
            Some(entry) => close(entry, LeaveReason::RoomDeleted, Some(reply)),
            None => answer(&reply, false),
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        for entry in std::mem::take(&mut self.rooms).into_values() {
            close(entry, LeaveReason::ServerShutdown, None);
        }
    }

    fn make(&mut self, name: RoomName, options: RoomOptions) {
        let alive = self.workers.iter().filter(|worker| !worker.is_gone());
        let Some(worker) = alive.min_by_key(|worker| worker.load()).cloned() else { return };
        let room = self.new_room(name.clone(), options);
        let info = room.info().clone();
        let id = info.id;
        let (calls, queue) = mpsc::channel(ROOM_CALL_QUEUE);
        let (said, heard) = watch::channel(info);
        let task = RoomTask::new(
            room,
            queue,
            said,
            Placement::new(Arc::clone(&self.workers), Arc::clone(&worker), self.config.spread_at),
            Arc::clone(&self.routes),
            Arc::clone(&self.metrics),
            self.events.clone(),
        )
        .with_slow_receivers(self.config.slow_receiver_bps);
        count(&self.metrics.rooms);
        worker.rooms.fetch_add(1, Relaxed);
        let handle = self.tasks.spawn(task.run());
        self.running.insert(handle.id(), Running { id, info: heard.clone(), name: name.clone(), worker });
        self.rooms.insert(name, Entry { id, calls, info: heard });
    }

    fn new_room(&self, name: RoomName, options: RoomOptions) -> Room {
        let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let info = RoomInfo {
            id: RoomId(rand::random()),
            name,
            metadata: options.metadata,
            empty_timeout_s: options.empty_timeout_s.unwrap_or(seconds(self.config.empty_timeout)),
            departure_timeout_s: options
                .departure_timeout_s
                .unwrap_or(seconds(self.config.departure_timeout)),
            max_participants: options.max_participants.unwrap_or(self.config.max_participants),
            created_at: wall_clock(),
            participants: 0,
            publishers: 0,
            recording: false,
        };
        Room::new(now(), info, self.limits()).with_agents(options.agents)
    }

    fn fits(&self, options: &RoomOptions) -> bool {
        options.metadata.len() <= self.limits().metadata_bytes
    }

    fn limits(&self) -> Limits {
        Limits { remote_unmute: self.config.remote_unmute, ..Limits::default() }
    }

    /// Forgets a room and serves again what it left unanswered.
    fn room_ended(&mut self, ended: Result<(TaskId, Vec<ToRoom>), TaskError>) {
        let (task, unanswered, panicked) = match ended {
            Ok((task, unanswered)) => (task, unanswered, false),
            Err(error) => (error.id(), Vec::new(), true),
        };
        let Some(Running { id, info, name, worker }) = self.running.remove(&task) else { return };
        uncount(&self.metrics.rooms);
        worker.rooms.fetch_sub(1, Relaxed);
        if self.rooms.get(&name).is_some_and(|entry| entry.id == id) {
            self.rooms.remove(&name);
        }
        if panicked {
            tracing::error!(
                room = name.as_str(),
                "the task of this room panicked; its participants have to join again"
            );
            count(&self.metrics.room_panics);
            tell_lost(&self.events, &info.borrow());
            abandon(&self.routes, id, &self.workers);
        } else {
            self.routes.remove_room(id);
        }
        for call in unanswered {
            match call {
                ToRoom::Join { call, at } => self.join(call, at),
                ToRoom::Admin(request) => self.admin(request),
                close => self.absent(close),
            }
        }
    }
}

/// Tells a room to end, even if its queue is full.
fn close(entry: Entry, reason: LeaveReason, done: Option<async_channel::Sender<bool>>) {
    let full = match entry.calls.try_send(ToRoom::Close { reason, done }) {
        Ok(()) => return,
        Err(mpsc::error::TrySendError::Full(close)) => close,
        Err(mpsc::error::TrySendError::Closed(ToRoom::Close { done: Some(done), .. })) => {
            return answer(&done, true);
        }
        Err(mpsc::error::TrySendError::Closed(_)) => return,
    };
    tokio::spawn(async move { entry.calls.send(full).await });
}

/// Removes what a room's task left on the workers.
fn abandon(routes: &Routes, room: RoomId, workers: &Arc<[Arc<Worker>]>) {
    let (peers, workers) = (routes.abandon_room(room), Arc::clone(workers));
    tokio::spawn(async move {
        for worker in workers.iter() {
            let peers = peers.iter().filter(|(_, on)| *on == worker.index());
            let removals = peers.map(|(peer, _)| Command::RemovePeer { peer: *peer });
            for command in removals.chain([Command::EndRelays { room }]) {
                if worker.handle.send(command).await.is_err() {
                    break;
                }
            }
        }
    });
}

/// Answers a call; whoever called may have given up.
pub(crate) fn answer<T>(reply: &async_channel::Sender<T>, value: T) {
    let _ = reply.try_send(value);
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // A clock before 1970 counts as 1970.
    UnixMillis(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
