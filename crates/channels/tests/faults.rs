//! A log that loses answers, refuses, and has another owner: nothing is lost, stored twice, or told that is not there.

mod desk;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backplane::{Appended, EmbeddedFollower, EmbeddedLog, Event, Extent, Failed, Log, Position};
use bytes::Bytes;
use channels::Told;
use desk::{Desk, channel, sending, settings, text, user};
use messaging::command::{Answer, Code, Refusal};
use messaging::event::{Entry, Record};
use messaging::format::encode;
use messaging::place::{Cursor, EventId};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    None,
    /// It is appended, and the answer is lost.
    Lost,
    /// It is not appended, and the answer is lost.
    Dropped,
    Refused,
    /// Another owner has appended before.
    Fenced,
}

/// A log whose next appends meet these faults.
#[derive(Clone)]
struct Faulty {
    log: EmbeddedLog,
    plan: Arc<Mutex<VecDeque<Fault>>>,
}

impl Log for Faulty {
    type Follower = EmbeddedFollower;

    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    async fn append(&self, partition: u16, expected: Position, payloads: Vec<Bytes>) -> Appended {
        let fault = self.plan.lock().expect("no test panics with it").pop_front().unwrap_or(Fault::None);
        let lost = || Failed("the answer is lost".to_owned());
        match fault {
            Fault::None => self.log.append(partition, expected, payloads).await,
            Fault::Lost => {
                self.log.append(partition, expected, payloads).await;
                Appended::Unknown(lost())
            }
            Fault::Dropped => Appended::Unknown(lost()),
            Fault::Refused => Appended::Refused(Failed("the disk is full".to_owned())),
            Fault::Fenced => {
                let record = Record { incarnation: 1 << 40, append: 1, entry: Entry::Barrier };
                self.log.append(partition, expected, vec![encode(&record).into()]).await;
                self.log.append(partition, expected, payloads).await
            }
        }
    }

    async fn extent(&self, partition: u16) -> Result<Extent, Failed> {
        self.log.extent(partition).await
    }

    async fn read(&self, partition: u16, from: u64, events: usize) -> Result<Vec<Event>, Failed> {
        self.log.read(partition, from, events).await
    }

    fn follow(&self, partition: u16, after: u64) -> EmbeddedFollower {
        self.log.follow(partition, after)
    }

    async fn checkpoint(&self, partition: u16, n: u64, state: Bytes) -> Result<(), Failed> {
        self.log.checkpoint(partition, n, state).await
    }

    async fn latest_checkpoint(&self, partition: u16) -> Result<Option<(Position, Bytes)>, Failed> {
        self.log.latest_checkpoint(partition).await
    }

    async fn trim(&self, partition: u16, first: u64) -> Result<(), Failed> {
        self.log.trim(partition, first).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

async fn faulty() -> (Desk, Arc<Mutex<VecDeque<Fault>>>) {
    let plan = Arc::new(Mutex::new(VecDeque::new()));
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let wrap = |log| Faulty { log, plan: Arc::clone(&plan) };
    let settings = channels::Settings { close_within: Duration::from_millis(500), ..settings() };
    let desk = Desk::at(directory, settings, wrap).await;
    desk.group("room").await;
    (desk, plan)
}

/// The messages of the room, as they can be read.
async fn said(desk: &Desk) -> Vec<EventId> {
    let events = desk.handle.events(&channel("room"), &Cursor::default(), 1_000).await.expect("it answers");
    events.iter().filter(|event| event.content.is_countable()).map(|event| event.id).collect()
}

/// Sends as a client does: the same again, until it is accepted.
async fn insist(desk: &Desk, csn: u64) -> EventId {
    loop {
        match desk.send("ann", "room", csn, text(&format!("m{csn}"))).await {
            Answer::Sent { event, .. } => return event,
            Answer::Refused(Refusal { code: Code::Busy, .. }) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_or_a_disk_that_is_full_for_a_while_stores_a_send_once() {
    let (desk, plan) = faulty().await;
    let mut sent = Vec::new();
    for (csn, fault) in (1..).zip([Fault::Lost, Fault::Dropped, Fault::Refused, Fault::Lost]) {
        plan.lock().expect("no test panics with it").extend([fault, fault]);
        sent.push(insist(&desk, csn).await);
    }
    assert_eq!(said(&desk).await, sent);
    let desk = desk.crash().await;
    assert_eq!(said(&desk).await, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_fenced_tells_nothing_that_is_not_there_and_begins_anew() {
    let (desk, plan) = faulty().await;
    let listener = desk.handle.listen();
    listener.follow(&channel("room"));
    let first = insist(&desk, 1).await;
    plan.lock().expect("no test panics with it").push_back(Fault::Fenced);
    let second = insist(&desk, 2).await;
    assert_eq!(said(&desk).await, [first, second]);
    let mut told = Vec::new();
    let mut has_missed = false;
    while !has_missed {
        match listener.next().await {
            Told::Event(event) if event.content.is_countable() => told.push(event.id),
            Told::Missed(_) => has_missed = true,
            _ => {}
        }
    }
    // The second comes by reading, or behind that.
    assert_eq!(told, [first]);
    let look = desk.handle.look(&channel("room"), Some(&user("bob")), None).await.expect("bob is in it");
    assert_eq!(look.unread, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_met_by_a_retry_is_no_success() {
    let (desk, plan) = faulty().await;
    plan.lock().expect("no test panics with it").extend([Fault::Dropped, Fault::Fenced]);
    let event = insist(&desk, 1).await;
    assert_eq!(said(&desk).await, [event]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_with_too_much_to_do_says_so_and_loses_nothing_that_it_took() {
    let (desk, plan) = faulty().await;
    plan.lock().expect("no test panics with it").extend([Fault::Refused; 5]);
    let pending: Vec<_> =
        (1..=40_000).map(|csn| desk.start("ann", "room", sending(csn, text("x")))).collect();
    let mut accepted = Vec::new();
    let mut busy = 0;
    for answer in pending {
        match answer.await {
            Answer::Sent { event, .. } => accepted.push(event),
            Answer::Refused(Refusal { code: Code::Busy, retry_after: Some(_), .. }) => busy += 1,
            Answer::Refused(Refusal { code: Code::CsnGap(_), .. }) if busy > 0 => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(busy > 0, "8,192 entries wait at most");
    let mut all = Vec::new();
    let mut cursor = Cursor::default();
    loop {
        let events = desk.handle.events(&channel("room"), &cursor, 1_000).await.expect("it answers");
        let Some(last) = events.last() else { break };
        let mark = messaging::place::Mark { place: last.id.place, count: last.count };
        cursor.at.raise(last.id.region, mark);
        all.extend(events.iter().filter(|event| event.content.is_countable()).map(|event| event.id));
    }
    assert_eq!(all, accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_log_that_takes_nothing_any_more_ends_all_the_same() {
    let (mut desk, plan) = faulty().await;
    let first = insist(&desk, 1).await;
    plan.lock().expect("no test panics with it").extend([Fault::Refused; 100_000]);
    let pending = desk.start("ann", "room", sending(2, text("lost")));
    let closing = desk.node.take().expect("it runs").close();
    tokio::time::timeout(Duration::from_secs(30), closing).await.expect("it ends");
    assert!(
        matches!(pending.await, Answer::Refused(Refusal { code: Code::Busy, .. })),
        "nothing was promised"
    );
    let desk = desk.crash().await;
    assert_eq!(said(&desk).await, [first]);
}
