//! Rooms as far as agents are concerned: who is there, what is ordered, and which jobs that makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::agents::Dispatch;
use base::events::{Happening, RoomEvent};
use base::model::{LeaveReason, Participant, ParticipantKind, RoomInfo};
use base::{DispatchId, Identity, JobId, RoomId, RoomName, UnixMillis};

use crate::job::{Ending, Entry, Phase, Slot};
use crate::{Agents, Decision, Group, JobKind, MAX_DISPATCHES, MAX_JOBS, Now, Ordered, Status};

/// How long a dispatch waits for the room that it was made with: until that room's start has been told.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// Dispatches that may wait so.
const MAX_EARLY: usize = 10_000;
/// Jobs that are over and still listed, of one dispatch.
const LISTED: usize = 64;

/// A room.
pub(crate) struct Room {
    pub info: RoomInfo,
    orders: BTreeMap<DispatchId, Order>,
    /// Everybody but agents and recorders.
    people: BTreeMap<Identity, Person>,
    /// Agents that are there or on their way.
    agents: BTreeMap<Identity, JobId>,
    /// What is in `orders` or was, and is not over.
    jobs: BTreeSet<JobId>,
}

struct Person {
    is: Arc<Participant>,
    /// Has published a track at some time.
    publishes: bool,
}

/// A dispatch.
struct Order {
    order: Arc<Dispatch>,
    created_at: UnixMillis,
    /// Also those that are over: they are not to be done again.
    slots: BTreeMap<Slot, JobId>,
    /// Over, oldest first.
    over: VecDeque<JobId>,
}

/// A dispatch for a room of which nothing is known yet.
pub(crate) struct Early {
    pub until: Instant,
    room: RoomName,
    id: DispatchId,
    order: Arc<Dispatch>,
    created_at: UnixMillis,
}

/// The room has as many dispatches as it may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyDispatches;

impl Agents {
    /// Something happened in a room.
    pub fn happened(&mut self, now: Now, event: &RoomEvent) {
        let id = event.room.id;
        match &event.what {
            Happening::RoomStarted { agents } => return self.room_started(now, &event.room, agents),
            Happening::RoomFinished(_) => return self.room_finished(now, id),
            // Said by whoever drives this.
            Happening::AgentJobStarted(_) | Happening::AgentJobEnded(_) => return,
            _ => {}
        }
        let Some(room) = self.rooms.get_mut(&id) else { return };
        room.info = event.room.clone();
        match &event.what {
            Happening::ParticipantJoined(who) => self.came(now, id, who),
            Happening::ParticipantLeft(who) | Happening::ConnectionAborted(who) => self.left(now, id, who),
            Happening::TrackPublished { publisher, .. } => self.published(now, id, publisher),
            _ => {}
        }
    }

    /// Orders agents into a room. A room of which nothing is known is one whose start has not been told yet.
    ///
    /// # Errors
    /// [`TooManyDispatches`].
    pub fn dispatch(
        &mut self,
        now: Now,
        room: &RoomName,
        order: Dispatch,
    ) -> Result<Ordered, TooManyDispatches> {
        let id = DispatchId((self.random)());
        let order = Arc::new(order);
        match self.names.get(room).copied() {
            Some(known) => {
                if self.rooms.get(&known).is_some_and(|room| room.orders.len() >= MAX_DISPATCHES) {
                    return Err(TooManyDispatches);
                }
                self.order(now, known, id, &order, now.wall);
            }
            None => {
                let of_room = self.early.iter().filter(|early| early.room == *room).count();
                if self.early.len() >= MAX_EARLY || of_room >= MAX_DISPATCHES {
                    return Err(TooManyDispatches);
                }
                let until = now.at + ROOM_WITHIN;
                let (room, order) = (room.clone(), Arc::clone(&order));
                self.early.push_back(Early { until, room, id, order, created_at: now.wall });
            }
        }
        let ordered = Ordered {
            id,
            room: room.clone(),
            order,
            created_at: now.wall,
            deleted_at: None,
            jobs: Vec::new(),
        };
        Ok(self.list(room, Some(id)).pop().unwrap_or(ordered))
    }

    /// Takes a dispatch back and ends its jobs. `None`: there is none.
    pub fn withdraw(&mut self, now: Now, room: &RoomName, id: DispatchId) -> Option<Ordered> {
        let ordered = self.list(room, Some(id)).pop()?;
        self.early.retain(|early| early.id != id);
        let order = self.names.get(room).and_then(|known| self.rooms.get_mut(known)?.orders.remove(&id));
        for job in order.into_iter().flat_map(|order| order.slots.into_values().chain(order.over)) {
            match self.jobs.get(&job).map(|entry| &entry.phase) {
                Some(Phase::Ended) => self.forget(job),
                _ => self.call_off(now, job, Ending::well()),
            }
        }
        Some(Ordered { deleted_at: Some(now.wall), ..ordered })
    }

    /// The dispatches of a room, all or one.
    pub fn list(&self, room: &RoomName, only: Option<DispatchId>) -> Vec<Ordered> {
        let wanted = |id: &DispatchId| only.is_none_or(|only| only == *id);
        let known = self.names.get(room).and_then(|known| self.rooms.get(known));
        let orders = known.into_iter().flat_map(|room| &room.orders).filter(|(id, _)| wanted(id));
        let mut all: Vec<Ordered> = orders.map(|(id, order)| self.ordered(room, *id, order)).collect();
        let early = self.early.iter().filter(|early| early.room == *room && wanted(&early.id));
        all.extend(early.map(|early| Ordered {
            id: early.id,
            room: room.clone(),
            order: Arc::clone(&early.order),
            created_at: early.created_at,
            deleted_at: None,
            jobs: Vec::new(),
        }));
        all.sort_by_key(|ordered| (ordered.created_at, ordered.id));
        all
    }

    fn ordered(&self, room: &RoomName, id: DispatchId, order: &Order) -> Ordered {
        let ids: BTreeSet<JobId> = order.slots.values().chain(&order.over).copied().collect();
        let mut jobs: Vec<_> =
            ids.into_iter().filter_map(|id| Some((self.jobs.get(&id)?.number, self.view(id)?))).collect();
        jobs.sort_by_key(|(number, _)| *number);
        Ordered {
            id,
            room: room.clone(),
            order: Arc::clone(&order.order),
            created_at: order.created_at,
            deleted_at: None,
            jobs: jobs.into_iter().map(|(_, job)| job).collect(),
        }
    }

    fn room_started(&mut self, now: Now, info: &RoomInfo, agents: &[Dispatch]) {
        let room = Room {
            info: info.clone(),
            orders: BTreeMap::new(),
            people: BTreeMap::new(),
            agents: BTreeMap::new(),
            jobs: BTreeSet::new(),
        };
        self.rooms.insert(info.id, room);
        self.names.insert(info.name.clone(), info.id);
        // Nothing ordered is an order for everyone who has no name.
        let everyone = [Dispatch::default()];
        let orders = if agents.is_empty() { &everyone } else { agents };
        for order in orders.iter().take(MAX_DISPATCHES) {
            let id = DispatchId((self.random)());
            self.order(now, info.id, id, &Arc::new(order.clone()), now.wall);
        }
        let (mine, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.early).into_iter().partition(|early| early.room == info.name);
        self.early = others;
        for early in mine {
            self.order(now, info.id, early.id, &early.order, early.created_at);
        }
    }

    fn room_finished(&mut self, now: Now, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let (orders, jobs) = (std::mem::take(&mut room.orders), std::mem::take(&mut room.jobs));
        for over in orders.into_values().flat_map(|order| order.over) {
            self.jobs.remove(&over);
        }
        for job in jobs {
            let Some(entry) = self.jobs.get_mut(&job) else { continue };
            entry.is_present = false;
            let ending = match &entry.phase {
                Phase::Ending(_, ending) => ending.clone(),
                _ => Ending::well(),
            };
            if let Phase::Running(worker) = entry.phase {
                self.decisions.push_back(Decision::Terminate { worker, job });
            }
            match entry.started_at {
                Some(_) => self.finish(now, job, ending.status, ending.error),
                None => self.forget(job),
            }
        }
        if let Some(room) = self.rooms.remove(&id)
            && self.names.get(&room.info.name) == Some(&id)
        {
            self.names.remove(&room.info.name);
        }
    }

    fn came(&mut self, now: Now, id: RoomId, who: &Arc<Participant>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if let Some(job) = room.agents.get(&who.identity).copied() {
            return self.agent_came(job);
        }
        if is_dependent(who) {
            return;
        }
        room.people.insert(who.identity.clone(), Person { is: Arc::clone(who), publishes: false });
        self.want_for(now, id, who, JobKind::Participant);
    }

    fn published(&mut self, now: Now, id: RoomId, who: &Arc<Participant>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let Some(person) = room.people.get_mut(&who.identity) else { return };
        if person.is.id == who.id && !std::mem::replace(&mut person.publishes, true) {
            person.is = Arc::clone(who);
            self.want_for(now, id, who, JobKind::Publisher);
        }
    }

    fn left(&mut self, now: Now, id: RoomId, who: &Arc<Participant>) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        if let Some(job) = room.agents.get(&who.identity).copied() {
            // Who takes its place is told apart by what follows.
            return self.agent_left(now, job, who.left.filter(|why| *why != LeaveReason::DuplicateIdentity));
        }
        // Whoever came in its place is not gone.
        if room.people.get(&who.identity).is_some_and(|person| person.is.id == who.id) {
            room.people.remove(&who.identity);
            self.gone(now, id, &who.identity);
        }
    }

    /// What was about a person that is gone: what has not begun is not to begin, and what is over may be done again.
    fn gone(&mut self, now: Now, id: RoomId, person: &Identity) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let mut waiting = Vec::new();
        for order in room.orders.values_mut() {
            order.slots.retain(|slot, job| {
                let about = slot.target.as_ref() == Some(person);
                match self.jobs.get(job).map(|entry| &entry.phase) {
                    Some(Phase::Queued | Phase::Resting | Phase::Asked(_)) if about => waiting.push(*job),
                    Some(Phase::Ended) | None if about => return false,
                    _ => {}
                }
                true
            });
        }
        for job in waiting {
            self.call_off(now, job, Ending::well());
        }
    }

    fn order(&mut self, now: Now, id: RoomId, dispatch: DispatchId, order: &Arc<Dispatch>, at: UnixMillis) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let entry =
            Order { order: Arc::clone(order), created_at: at, slots: BTreeMap::new(), over: VecDeque::new() };
        room.orders.insert(dispatch, entry);
        let fitting: Vec<Group> = self.groups.keys().filter(|group| group.fits(order)).cloned().collect();
        for group in fitting {
            self.want_of(now, id, dispatch, &group);
        }
    }

    /// A group has got its first worker: what rooms have waited for is to be done.
    pub(crate) fn want_all(&mut self, now: Now, group: &Group) {
        let orders =
            self.rooms.iter().flat_map(|(id, room)| room.orders.iter().map(move |order| (*id, order)));
        let fitting = orders.filter(|(_, (_, order))| group.fits(&order.order));
        let fitting: Vec<(RoomId, DispatchId)> = fitting.map(|(id, (dispatch, _))| (id, *dispatch)).collect();
        for (room, dispatch) in fitting {
            self.want_of(now, room, dispatch, group);
        }
    }

    /// All jobs that a dispatch makes for a group.
    fn want_of(&mut self, now: Now, id: RoomId, dispatch: DispatchId, group: &Group) {
        let Some(room) = self.rooms.get(&id) else { return };
        let people = room.people.values();
        let targets: Vec<Option<Arc<Participant>>> = match group.kind {
            JobKind::Room => vec![None],
            JobKind::Participant => people.map(|person| Some(Arc::clone(&person.is))).collect(),
            JobKind::Publisher => {
                people.filter(|person| person.publishes).map(|person| Some(Arc::clone(&person.is))).collect()
            }
        };
        for target in targets {
            self.want(now, id, dispatch, group, target);
        }
        self.serve(now, group);
    }

    /// All jobs of a kind that one person makes.
    fn want_for(&mut self, now: Now, id: RoomId, who: &Arc<Participant>, kind: JobKind) {
        let Some(room) = self.rooms.get(&id) else { return };
        let groups: Vec<Group> = self.groups.keys().filter(|group| group.kind == kind).cloned().collect();
        let wanted: Vec<(DispatchId, Group)> = room
            .orders
            .iter()
            .flat_map(|(id, order)| {
                let fitting = groups.iter().filter(|group| group.fits(&order.order));
                fitting.map(|group| (*id, group.clone()))
            })
            .collect();
        for (dispatch, group) in wanted {
            self.want(now, id, dispatch, &group, Some(Arc::clone(who)));
            self.serve(now, &group);
        }
    }

    /// A job, unless there is or was one for the same.
    fn want(
        &mut self,
        now: Now,
        room_id: RoomId,
        dispatch: DispatchId,
        group: &Group,
        target: Option<Arc<Participant>>,
    ) {
        let identity = target.as_ref().map(|target| target.identity.clone());
        let slot = Slot { group: group.clone(), target: identity };
        let number = self.next_number();
        let Some(room) = self.rooms.get_mut(&room_id) else { return };
        let Some(order) = room.orders.get_mut(&dispatch) else { return };
        if order.slots.contains_key(&slot) || self.jobs.len() >= MAX_JOBS {
            return;
        }
        let id = JobId((self.random)());
        order.slots.insert(slot, id);
        room.jobs.insert(id);
        let entry = Entry {
            number,
            dispatch,
            order: Arc::clone(&order.order),
            group: group.clone(),
            room: room_id,
            target,
            phase: Phase::Ended,
            deadline: None,
            refused_by: BTreeSet::new(),
            rests: 0,
            restarts: 0,
            resuming: false,
            status: Status::Pending,
            error: String::new(),
            started_at: None,
            ended_at: None,
            updated_at: now.wall,
            agent: None,
            is_present: false,
            worker: None,
            api_key: None,
            claimed_by: None,
        };
        self.jobs.insert(id, entry);
        self.enter(id, Phase::Queued, None);
    }

    /// Is somebody of this name in the room whom an agent would throw out?
    pub(crate) fn is_taken(&self, room: RoomId, name: &Identity) -> bool {
        self.rooms.get(&room).is_some_and(|room| room.people.contains_key(name))
    }

    /// An agent is on its way into a room.
    pub(crate) fn expect(&mut self, room: RoomId, job: JobId, agent: Identity) {
        if let Some(room) = self.rooms.get_mut(&room) {
            room.agents.insert(agent, job);
        }
    }

    /// A job has nothing to do with an agent any more.
    pub(crate) fn dismiss(&mut self, room: RoomId, job: JobId, agent: Identity, remove: bool) {
        let Some(room) = self.rooms.get_mut(&room) else { return };
        // Two jobs may send the same name; the later has it.
        if room.agents.get(&agent) == Some(&job) {
            room.agents.remove(&agent);
            if remove {
                self.decisions.push_back(Decision::Remove { room: room.info.name.clone(), agent });
            }
        }
    }

    /// Keeps what is over as long as it is worth something: its slot, that it is not done again; itself, for the list.
    pub(crate) fn file(&mut self, id: JobId) {
        let Some(entry) = self.jobs.get(&id) else { return };
        let (slot, dispatch) = (entry.slot(), entry.dispatch);
        let Some(room) = self.rooms.get_mut(&entry.room) else { return self.forget(id) };
        room.jobs.remove(&id);
        let is_gone = slot.target.as_ref().is_some_and(|target| !room.people.contains_key(target));
        let Some(order) = room.orders.get_mut(&dispatch) else { return self.forget(id) };
        if is_gone && order.slots.get(&slot) == Some(&id) {
            order.slots.remove(&slot);
        }
        if !order.over.contains(&id) {
            order.over.push_back(id);
        }
        if order.over.len() > LISTED
            && let Some(oldest) = order.over.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }

    /// A job never was.
    pub(crate) fn forget(&mut self, id: JobId) {
        self.enter(id, Phase::Ended, None);
        let Some(entry) = self.jobs.remove(&id) else { return };
        let slot = entry.slot();
        let Some(room) = self.rooms.get_mut(&entry.room) else { return };
        room.jobs.remove(&id);
        if let Some(order) = room.orders.get_mut(&entry.dispatch)
            && order.slots.get(&slot) == Some(&id)
        {
            order.slots.remove(&slot);
        }
    }
}

/// Agents and recorders get no agents of their own.
fn is_dependent(who: &Participant) -> bool {
    matches!(who.kind, ParticipantKind::Agent | ParticipantKind::Egress)
        || who.permissions.agent
        || who.permissions.recorder
}
