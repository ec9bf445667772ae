//! A participant of one room is seen and heard in another, too.
//!
//! ```text
//!         its room                         bridge                        the other room
//!   what it is and publishes ──watch──▶            ──▶ News::Changed  ──▶ a guest of `room::Room`
//!   what it says ─────────────queue───▶  (a task)  ──▶ News::Says     ──▶ those who are there
//!   it is gone ───────────────────────▶            ──▶ News::Gone     ──▶ the guest leaves
//!   layers wanted, second codecs  ◀────            ◀──watch── Wishes: what its people ask for
//!   the guest is gone             ◀────
//! ```
//!
//! Its media takes no part in this: the worker that receives it publishes it in both rooms (`contract::media::Command::SetForwarded`),
//! and relays it to the other workers of each. Keyframe requests go the same way back.
//!
//! Rooms wait for nobody, and so not for each other: what is told are whole states, of which the newest holds, and what is said
//! goes into a bounded queue; who fills it is not read for a while, as with receivers that are behind (`backpressure`).

mod abroad;
mod home;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::model::{DataKind, LeaveReason, Quality};
use base::{ParticipantId, RoomId, RoomName, TrackId};
use bytes::Bytes;
use contract::media::RelayedTrack;
use contract::session::AdminRefused;
use room::Guest;
use tokio::sync::{mpsc, oneshot, watch};

use crate::placement::Worker;

use abroad::Visitor;
use home::Forward;

/// News, and answers to them, that wait for a room; bridges wait behind them.
const QUEUE: usize = 64;

/// What a room has to do with others.
pub(crate) struct Forwarding {
    /// Where its own participants are shown.
    out: BTreeMap<ForwardId, Forward>,
    /// Participants of other rooms that it shows.
    visitors: BTreeMap<ParticipantId, Visitor>,
    /// What comes from the rooms that show its own.
    pub answers: mpsc::Receiver<(ForwardId, Answer)>,
    answer_sender: mpsc::Sender<(ForwardId, Answer)>,
    /// What comes from the rooms of those whom it shows.
    pub news: mpsc::Receiver<(ForwardId, News)>,
    news_sender: mpsc::Sender<(ForwardId, News)>,
}

impl Default for Forwarding {
    fn default() -> Self {
        let (answer_sender, answers) = mpsc::channel(QUEUE);
        let (news_sender, news) = mpsc::channel(QUEUE);
        let (out, visitors) = (BTreeMap::new(), BTreeMap::new());
        Self { out, visitors, answers, answer_sender, news, news_sender }
    }
}

/// One identity of one room in another; random. It outlives the session: who replaces its own is shown in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ForwardId(u64);

/// What an errand asks of a room.
pub(crate) enum Step {
    /// Would you show it? `true`: you do.
    Check { participant: Arc<base::model::Participant>, reply: Answering<bool> },
    /// Begin to say what there is to know of it.
    Offer { participant: ParticipantId, destination: RoomName, reply: Answering<Offer> },
    /// Show it. `None`: you do already.
    Admit { visit: Box<Visit>, reply: Answering<Option<Invitation>> },
}

type Answering<T> = oneshot::Sender<Result<T, AdminRefused>>;

/// Whom a room is to show.
#[derive(Clone)]
pub(crate) struct Visit {
    pub id: ForwardId,
    pub home: RoomId,
    pub home_name: RoomName,
    pub shared: Shared,
}

/// A room's end of what a bridge needs.
pub(crate) struct Offer {
    pub visit: Visit,
    shared: watch::Receiver<Shared>,
    sayings: mpsc::Receiver<Saying>,
    answers: mpsc::Sender<(ForwardId, Answer)>,
}

/// The other room's.
pub(crate) struct Invitation {
    news: mpsc::Sender<(ForwardId, News)>,
    wishes: watch::Receiver<Wishes>,
}

/// What is to be known of a participant where it is shown.
#[derive(Clone)]
pub(crate) struct Shared {
    guest: Guest,
    /// The worker of all its connections.
    worker: Arc<Worker>,
    /// The encodings that it sends, as its worker has to know them.
    sources: Arc<BTreeMap<TrackId, RelayedTrack>>,
    quality: Option<Quality>,
    /// Why it is gone, when it is.
    left: Option<LeaveReason>,
}

/// What it sends to everybody.
#[derive(Clone)]
pub(crate) enum Saying {
    Message {
        kind: DataKind,
        /// Only for those who may receive metrics of others.
        metrics: bool,
        sequence: u32,
        payload: Bytes,
    },
    /// Of a data track.
    Packet(Bytes),
}

pub(crate) enum News {
    Changed(Box<Shared>),
    Says(Saying),
    Gone(LeaveReason),
}

/// What the other room's people ask of it, all of it.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Wishes {
    /// The highest layer of a video that anybody asks for, as in `contract::session::Event::WantedLayer`.
    wanted: BTreeMap<TrackId, Option<u8>>,
    /// Videos of which somebody needs the second codec.
    backups: BTreeSet<TrackId>,
    /// Tracks that somebody has received.
    received: BTreeSet<TrackId>,
    /// It is to say nothing for now: there are receivers that are behind.
    held: bool,
}

pub(crate) enum Answer {
    Wishes(Wishes),
    /// It is not shown any more.
    Ended,
}

/// Carries between two rooms as long as both want it.
pub(crate) struct Bridge {
    offer: Offer,
    invitation: Invitation,
}

impl Bridge {
    pub fn new(offer: Offer, invitation: Invitation) -> Self {
        Self { offer, invitation }
    }

    pub async fn run(mut self) {
        // An error means that the one or the other room is gone.
        let _ = self.carry().await;
        let _ = self.offer.answers.send((self.offer.visit.id, Answer::Ended)).await;
    }

    async fn carry(&mut self) -> Result<(), ()> {
        loop {
            let is_held = self.invitation.wishes.borrow().held;
            tokio::select! {
                changed = self.offer.shared.changed() => {
                    if changed.is_err() {
                        return self.depart().await;
                    }
                    let shared = self.offer.shared.borrow_and_update().clone();
                    self.tell(News::Changed(Box::new(shared))).await?;
                }
                Some(saying) = self.offer.sayings.recv(), if !is_held => self.tell(News::Says(saying)).await?,
                changed = self.invitation.wishes.changed() => {
                    changed.map_err(drop)?;
                    let wishes = self.invitation.wishes.borrow_and_update().clone();
                    let answer = (self.offer.visit.id, Answer::Wishes(wishes));
                    self.offer.answers.send(answer).await.map_err(drop)?;
                }
            }
        }
    }

    /// It left its room. What it said before comes before.
    async fn depart(&mut self) -> Result<(), ()> {
        while let Ok(saying) = self.offer.sayings.try_recv() {
            self.tell(News::Says(saying)).await?;
        }
        // Without a word: its room is gone.
        let reason = self.offer.shared.borrow().left.unwrap_or(LeaveReason::StateMismatch);
        self.tell(News::Gone(reason)).await
    }

    async fn tell(&self, news: News) -> Result<(), ()> {
        self.invitation.news.send((self.offer.visit.id, news)).await.map_err(drop)
    }
}
