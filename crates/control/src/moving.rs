//! A participant goes on in another room, with its connections and its tracks.
//!
//! ```text
//!  door ──▶ errand:   1. the room that it is in: is it there?      (the door then finds or makes the other room)
//!                     2. the other room: would it take it?
//!                     3. its room: send it off ──▶ Moving ──▶ adapter ──▶ MoveOn: it asks for nothing more
//!                        what its connections say waits from here on; to the others it leaves
//!                     4. the other room: take it in ──▶ MovePeer, sections ──▶ worker
//!                                                 └──▶ Moved, and then all about this room ──▶ adapter
//! ```
//!
//! Rooms wait for nobody: the errand asks one after the other. All of a participant that there is between the two is in a
//! [`Traveller`]; wherever that is lost, its connections end and its client is told to come again.

use std::sync::Arc;

use base::model::{LeaveReason, Participant};
use base::{Identity, ParticipantId, PeerId, RoomName};
use contract::media::{Command, Sections};
use contract::session::{AdminRefused, Event, Moved, Reply, Session};
use room::{JoinRefused, MoveRefused, Mover};
use tokio::sync::{mpsc, oneshot};

use crate::door::{answer, wall_clock};
use crate::forwarding::{self, Bridge};
use crate::history::Progress;
use crate::relays::Of;
use crate::room_task::{RoomTask, ToRoom, now};
use crate::routes::Routes;
use crate::seat::{Seat, Settings};

/// What an errand asks of a room.
pub(crate) enum Step {
    /// Who is this?
    Find { identity: Identity, reply: oneshot::Sender<Result<Arc<Participant>, AdminRefused>> },
    /// Would you take it?
    Check { participant: Arc<Participant>, reply: oneshot::Sender<Result<(), AdminRefused>> },
    /// Send it off.
    Depart {
        identity: Identity,
        destination: RoomName,
        reply: oneshot::Sender<Result<Departure, AdminRefused>>,
    },
    /// Take it in.
    Arrive { traveller: Box<Traveller>, reply: oneshot::Sender<Result<(), AdminRefused>> },
}

/// How a participant went.
pub(crate) enum Departure {
    /// With its connections.
    InPerson(Box<Traveller>),
    /// Its client was told where to, and joins there.
    ByItself,
}

/// Who waits for a participant that is asked to go.
pub(crate) type Awaiting = oneshot::Sender<Result<Departure, AdminRefused>>;

/// All of a participant that is between two rooms.
pub(crate) struct Traveller {
    /// `None` when it has arrived.
    luggage: Option<(Mover, Seat)>,
    routes: Arc<Routes>,
}

impl Drop for Traveller {
    fn drop(&mut self) {
        let Some((_, mut seat)) = self.luggage.take() else { return };
        let peers: Vec<PeerId> = seat.peers.keys().copied().collect();
        peers.iter().for_each(|peer| self.routes.remove_peer(*peer));
        let worker = Arc::clone(&seat.place.worker);
        // Its client comes again, into the room for which it has a token.
        seat.close(LeaveReason::StateMismatch);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for peer in peers {
                    let _ = worker.handle.send(Command::RemovePeer { peer }).await;
                }
            });
        }
    }
}

/// What is to become of a participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// It goes on in the other room.
    Move,
    /// It is shown there, too.
    Forward,
}

/// A call to bring somebody into another room.
pub(crate) struct Errand {
    pub purpose: Purpose,
    pub identity: Identity,
    pub destination: RoomName,
    /// Make the destination when it is absent.
    pub create: bool,
    pub reply: Reply<Result<(), AdminRefused>>,
    /// The room that it is in.
    pub from: mpsc::Sender<ToRoom>,
}

/// An errand for which the participant was found.
pub(crate) struct Found {
    pub errand: Errand,
    participant: Arc<Participant>,
}

impl Errand {
    /// Looks for the participant. `None`: it is not there, which has been answered.
    pub async fn begin(self) -> Option<Found> {
        let identity = self.identity.clone();
        match ask(&self.from, |reply| Step::Find { identity, reply }).await {
            Ok(participant) => Some(Found { errand: self, participant }),
            Err(refused) => {
                answer(&self.reply, Err(refused));
                None
            }
        }
    }
}

impl Found {
    /// Brings it there.
    pub async fn carry_out(self, to: mpsc::Sender<ToRoom>) {
        let outcome = match self.errand.purpose {
            Purpose::Move => self.carry(to).await,
            Purpose::Forward => self.forward(to).await,
        };
        answer(&self.errand.reply, outcome);
    }

    async fn forward(&self, to: mpsc::Sender<ToRoom>) -> Result<(), AdminRefused> {
        use forwarding::Step;
        let (participant, destination) = (Arc::clone(&self.participant), self.errand.destination.clone());
        if ask_forwarding(&to, |reply| Step::Check { participant, reply }).await? {
            return Ok(());
        }
        let participant = self.participant.id;
        let offer =
            ask_forwarding(&self.errand.from, |reply| Step::Offer { participant, destination, reply })
                .await?;
        let visit = Box::new(offer.visit.clone());
        // What is offered in vain is forgotten when it is dropped.
        if let Some(invitation) = ask_forwarding(&to, |reply| Step::Admit { visit, reply }).await? {
            tokio::spawn(Bridge::new(offer, invitation).run());
        }
        Ok(())
    }

    async fn carry(&self, to: mpsc::Sender<ToRoom>) -> Result<(), AdminRefused> {
        let participant = Arc::clone(&self.participant);
        ask(&to, |reply| Step::Check { participant, reply }).await?;
        let (identity, destination) = (self.errand.identity.clone(), self.errand.destination.clone());
        let departure = ask(&self.errand.from, |reply| Step::Depart { identity, destination, reply }).await?;
        match departure {
            Departure::ByItself => Ok(()),
            Departure::InPerson(traveller) => ask(&to, |reply| Step::Arrive { traveller, reply }).await,
        }
    }
}

async fn ask<T>(
    room: &mpsc::Sender<ToRoom>,
    step: impl FnOnce(oneshot::Sender<Result<T, AdminRefused>>) -> Step,
) -> Result<T, AdminRefused> {
    demand(room, |reply| ToRoom::Step(step(reply))).await
}

async fn ask_forwarding<T>(
    room: &mpsc::Sender<ToRoom>,
    step: impl FnOnce(oneshot::Sender<Result<T, AdminRefused>>) -> forwarding::Step,
) -> Result<T, AdminRefused> {
    demand(room, |reply| ToRoom::Forwarding(step(reply))).await
}

/// A room that is gone has no participant either.
async fn demand<T>(
    room: &mpsc::Sender<ToRoom>,
    call: impl FnOnce(oneshot::Sender<Result<T, AdminRefused>>) -> ToRoom,
) -> Result<T, AdminRefused> {
    let (reply, answer) = oneshot::channel();
    room.send(call(reply)).await.map_err(|_| AdminRefused::Left)?;
    answer.await.map_err(|_| AdminRefused::Left)?
}

impl RoomTask {
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Find { identity, reply } => {
                let found = self.find_own(&identity).and_then(|id| self.participant(id));
                let _ = reply.send(found);
            }
            Step::Check { participant, reply } => {
                let _ = reply.send(self.room.check_move(&participant).map_err(refusal));
            }
            Step::Depart { identity, destination, reply } => self.ask_to_go(&identity, destination, reply),
            Step::Arrive { traveller, reply } => {
                let outcome = self.arrive(*traveller);
                self.publish_info();
                let _ = reply.send(outcome);
            }
        }
    }

    fn ask_to_go(&mut self, identity: &Identity, room: RoomName, reply: Awaiting) {
        let seated = self.room.find(identity).filter(|id| self.seats.contains_key(id));
        match seated.filter(|id| !self.departing.contains_key(id)) {
            None => drop(reply.send(Err(AdminRefused::Left))),
            Some(id) => {
                self.departing.insert(id, reply);
                self.deliver(id, Event::Moving { room });
            }
        }
    }

    /// Its adapter asks for nothing more here.
    pub(crate) fn move_on(&mut self, id: ParticipantId) {
        let Some(reply) = self.departing.remove(&id) else { return };
        let Some(seat) = self.seats.get(&id) else { return };
        seat.peers.keys().for_each(|peer| self.routes.hold_peer(*peer));
        // What they said before is for this room.
        for _ in 0..self.media.len() {
            if let Ok(routed) = self.media.try_recv() {
                self.hear(routed);
            }
        }
        self.carry_out_all();
        let mover = self.room.move_out(now(), id);
        self.carry_out_all();
        // It may have ended by what was heard last.
        let Some((mover, seat)) = mover.and_then(|mover| Some((mover, self.seats.remove(&id)?))) else {
            return drop(reply.send(Err(AdminRefused::Left)));
        };
        for (peer, state) in &seat.peers {
            let of = Of { peer: *peer, participant: id, worker: seat.place.worker.index() };
            self.peers.remove(peer);
            self.relays.change(of, &state.granted, &Sections::default());
        }
        self.placement.leave(&seat.place.worker);
        self.end_forwards(id, LeaveReason::Moved);
        self.forget_seat(id);
        let traveller = Traveller { luggage: Some((mover, seat)), routes: Arc::clone(&self.routes) };
        self.departures.push((reply, Box::new(traveller)));
    }

    /// The workers have heard all that this room had to say of them.
    pub(crate) fn send_off(&mut self) {
        for (reply, traveller) in self.departures.drain(..) {
            // Nobody waits: its client is told to come again.
            let _ = reply.send(Ok(Departure::InPerson(traveller)));
        }
    }

    fn arrive(&mut self, mut traveller: Traveller) -> Result<(), AdminRefused> {
        let Some((mover, mut seat)) = traveller.luggage.take() else { return Err(AdminRefused::Left) };
        let worker = Arc::clone(&seat.place.worker);
        if !self.placement.reaches(&worker) {
            traveller.luggage = Some((mover, seat));
            return Err(AdminRefused::Unavailable);
        }
        let welcome = match self.room.move_in(now(), mover, wall_clock()) {
            Ok(welcome) => welcome,
            Err((refused, mover)) => {
                traveller.luggage = Some((*mover, seat));
                return Err(refusal(refused));
            }
        };
        let id = welcome.participant.id;
        self.placement.adopt(&worker);
        self.watch(id, seat.events());
        seat.settings = Settings::default();
        seat.progress = Progress::new(self.history.next());
        seat.received.clear();
        seat.expect(self.room.subscriptions(id).count());
        let connections: Vec<(PeerId, Sections)> = seat
            .peers
            .iter_mut()
            .map(|(peer, state)| {
                state.granted = Sections::default();
                (*peer, state.wanted.clone())
            })
            .collect();
        let is_behind = seat.is_behind() || seat.peers.values().any(|peer| peer.paused);
        self.seats.insert(id, seat);
        if is_behind {
            self.behind.insert(id, now());
        }
        self.deliver(
            id,
            Event::Moved(Box::new(Moved {
                participant: welcome.participant,
                room: welcome.room,
                others: welcome.others,
                session: Session::new(id, self.request_sender.clone()),
            })),
        );
        self.take_connections(id, connections);
        Ok(())
    }

    fn take_connections(&mut self, id: ParticipantId, connections: Vec<(PeerId, Sections)>) {
        let room = self.room.info().id;
        for (peer, sections) in connections {
            self.peers.insert(peer, id);
            self.peer_command(peer, Command::MovePeer { peer, room });
            self.set_sections(id, peer, sections);
            self.routes.move_peer(peer, room);
        }
    }
}

pub(crate) fn refusal(refused: MoveRefused) -> AdminRefused {
    match refused {
        MoveRefused::IdentityTaken => AdminRefused::IdentityTaken,
        MoveRefused::Join(JoinRefused::Full) => AdminRefused::RoomFull,
        MoveRefused::Join(JoinRefused::LimitExceeded) => AdminRefused::LimitExceeded,
        MoveRefused::Join(JoinRefused::Ended) => AdminRefused::NoDestination,
    }
}
