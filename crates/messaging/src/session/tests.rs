use super::*;
use crate::event::Sender;
use crate::place::Mark;
use crate::testing::{at, channel, device, id, message, region, text, user, vector};

struct Desk {
    session: Session,
    now: Instant,
    lineage: Lineage,
}

fn event(room: &str, n: u64) -> Event {
    Event { channel: channel(room), ..message("eu", 1, n) }
}

impl Desk {
    /// Ann's connection, with these channels open from their beginning.
    fn new(rooms: &[&str]) -> Self {
        Self::with(rooms, Limits::default())
    }

    fn with(rooms: &[&str], limits: Limits) -> Self {
        let session = Session::new(user("ann"), limits);
        let mut desk = Self { session, now: Instant::now(), lineage: Lineage::default() };
        for room in rooms {
            desk.subscribe(room, &Cursor::default(), &Cursor::default(), true);
        }
        desk
    }

    fn subscribe(&mut self, room: &str, from: &Cursor, head: &Cursor, open: bool) -> Option<Cursor> {
        let floor = Vector::default();
        let view = View { lineage: &self.lineage, floor: &floor, head, members: 10 };
        self.session.subscribe(&channel(room), from, open, view)
    }

    fn offer(&mut self, event: Event) {
        assert!(self.session.offer(self.now, &self.lineage, Arc::new(event)));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.session.handle_timeout(self.now, &self.lineage);
    }

    /// What was sent: `room: ids`, `?` for unmet.
    fn sent(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(frame) = self.session.poll_frame() {
            out.push(match frame {
                Frame::Items { channel, items, .. } => {
                    format!("{channel}: {}", items.iter().map(name).collect::<Vec<_>>().join(" "))
                }
                Frame::Reset { channel, why, .. } => format!("{channel} reset {why:?}"),
                Frame::Removed { channel, id } => format!("{channel} removed {id}"),
                Frame::Goaway { .. } => "goaway".to_owned(),
                Frame::Soft(Soft::Touch { channel }) => format!("{channel} touched"),
                Frame::Soft(soft) => format!("{soft:?}"),
            });
        }
        out
    }
}

fn name(item: &Item) -> String {
    match item {
        Item::Event(delivery) => format!("{}{}", delivery.event.id, if delivery.unmet { "?" } else { "" }),
        Item::Fold(fold) => format!("..{}", fold.id),
    }
}

/// The `n`th event of `room`, after the `other`s first.
fn linked(room: &str, n: u64, other: &str) -> Event {
    Event { after: vec![(channel(other), vector(&["eu.1.1"]))], ..event(room, n) }
}

#[test]
fn events_of_a_channel_leave_in_order_and_together() {
    let mut desk = Desk::new(&["a"]);
    for n in [2, 1, 3] {
        desk.offer(event("a", n));
    }
    assert_eq!(desk.sent(), ["a: eu.1.1 eu.1.2 eu.1.3"]);
}

#[test]
fn an_event_waits_for_what_it_names_in_another_channel() {
    let mut desk = Desk::new(&["a", "b"]);
    desk.offer(linked("b", 1, "a"));
    desk.offer(event("b", 2));
    assert_eq!(desk.sent(), [""; 0]);
    desk.offer(event("a", 1));
    assert_eq!(desk.sent(), ["a: eu.1.1", "b: eu.1.1 eu.1.2"]);
}

#[test]
fn what_does_not_come_is_unmet_after_five_seconds_and_not_waited_for_again_until_it_moves() {
    let mut desk = Desk::new(&["a", "b"]);
    desk.pass(Duration::from_secs(60));
    desk.offer(linked("b", 1, "a"));
    assert_eq!(
        desk.session.poll_timeout(),
        Some(desk.now + UNMET),
        "a channel that was quiet before is waited for all the same"
    );
    desk.pass(UNMET);
    assert_eq!(desk.sent(), ["b: eu.1.1?"]);
    desk.offer(linked("b", 2, "a"));
    assert_eq!(desk.sent(), ["b: eu.1.2?"]);
    assert_eq!(desk.session.poll_timeout(), None);
    desk.offer(event("a", 1));
    desk.offer(Event { after: vec![(channel("a"), vector(&["eu.1.2"]))], ..event("b", 3) });
    assert_eq!(desk.sent(), ["a: eu.1.1"], "it moved: it is waited for");
}

#[test]
fn channels_that_are_not_open_here_are_not_waited_for() {
    let mut desk = Desk::new(&["b"]);
    desk.subscribe("a", &Cursor::default(), &Cursor::default(), false);
    desk.offer(linked("b", 1, "a"));
    desk.offer(linked("b", 2, "nowhere"));
    assert_eq!(desk.sent(), ["b: eu.1.1 eu.1.2"]);
}

#[test]
fn closing_a_channel_lets_go_what_waited_for_it() {
    let mut desk = Desk::new(&["a", "b"]);
    desk.offer(linked("b", 1, "a"));
    desk.session.unsubscribe(desk.now, &desk.lineage, &channel("a"));
    assert_eq!(desk.sent(), ["b: eu.1.1"]);
}

#[test]
fn a_channel_that_is_not_open_is_touched_once_until_that_is_sent() {
    let mut desk = Desk::new(&[]);
    desk.subscribe("a", &Cursor::default(), &Cursor::default(), false);
    (1..=50).for_each(|n| desk.offer(event("a", n)));
    assert_eq!(desk.sent(), ["a touched"]);
}

#[test]
fn the_own_removal_is_the_last_item() {
    let mut desk = Desk::new(&["a"]);
    let removed = Content::Member { user: user("ann"), change: Change::Removed };
    desk.offer(event("a", 1));
    desk.offer(event("a", 3));
    desk.offer(Event { content: removed, ..event("a", 2) });
    desk.offer(event("a", 4));
    assert_eq!(desk.sent(), ["a: eu.1.1 eu.1.2", "a removed eu.1.2"]);
    assert_eq!(desk.session.cursors().count(), 0);
}

#[test]
fn a_stream_resumes_where_its_last_frame_ended() {
    let mut desk = Desk::new(&["a"]);
    (1..=2).for_each(|n| desk.offer(event("a", n)));
    let Some(Frame::Items { cursor, .. }) = desk.session.poll_frame() else { panic!("there were items") };
    let mut next = Desk::new(&[]);
    assert_eq!(next.subscribe("a", &cursor, &cursor, true), Some(cursor));
    (1..=3).for_each(|n| next.offer(event("a", n)));
    assert_eq!(next.sent(), ["a: eu.1.3"]);
}

#[test]
fn a_cursor_never_covers_a_run_that_is_not_told_yet() {
    let mut desk = Desk::new(&["a"]);
    let reaction = |region_name: &str, n: u64| {
        let from = Some(Sender { user: user("bob"), device: device("x"), csn: n });
        let content = Content::Reaction { target: id("eu.1.1"), emoji: "+1".into(), on: true };
        Event { channel: channel("a"), from, content, ..message(region_name, 1, n) }
    };
    desk.offer(event("a", 1));
    desk.offer(reaction("eu", 2));
    let Some(Frame::Items { cursor, .. }) = desk.session.poll_frame() else { panic!("there were items") };
    assert_eq!(cursor.at.place(region("eu")), Some(at(1, 1)));
    // A run of another region ends the first, and is not told itself.
    desk.offer(reaction("us", 1));
    let Some(Frame::Items { cursor, .. }) = desk.session.poll_frame() else { panic!("the run ended") };
    assert_eq!((cursor.at.place(region("eu")), cursor.at.place(region("us"))), (Some(at(1, 2)), None));
    desk.pass(crate::fold::WINDOW);
    let Some(Frame::Items { cursor, .. }) = desk.session.poll_frame() else { panic!("the window ended") };
    assert_eq!(cursor.at.place(region("us")), Some(at(1, 1)));
}

#[test]
fn too_far_behind_is_a_reset_to_the_head() {
    let mut desk = Desk::new(&[]);
    let mark = Mark { place: at(1, 20_000), count: TOO_FAR + 1 };
    let head = Cursor { at: std::iter::once((region("eu"), mark)).collect(), ..Cursor::default() };
    assert_eq!(desk.subscribe("a", &Cursor::default(), &head, true), Some(head));
    assert_eq!(desk.sent(), ["a reset TooFar"]);
}

#[test]
fn a_slow_connection_loses_soft_state_first_then_its_fullest_channel() {
    let mut desk = Desk::with(&["a", "b"], Limits { channels: 10, bytes: 10_000 });
    let big = |room: &str, n: u64| Event { content: text(&"x".repeat(900)), ..event(room, n) };
    let touch = Soft::Touch { channel: channel("c") };
    desk.session.push_soft(touch.clone());
    desk.offer(event("b", 1));
    (1..=4).for_each(|n| desk.offer(big("a", n)));
    assert_eq!(desk.sent(), ["b: eu.1.1", "a: eu.1.1 eu.1.2 eu.1.3 eu.1.4", "c touched"]);
    desk.session.push_soft(touch);
    desk.offer(event("b", 2));
    (5..=20).for_each(|n| desk.offer(big("a", n)));
    let sent = desk.sent();
    assert_eq!(sent[..2], ["b: eu.1.2", "a reset Slow"]);
    assert!(!sent.contains(&"c touched".to_owned()) && !desk.session.is_over());
}

#[test]
fn a_session_has_as_many_channels_as_it_may() {
    let mut desk = Desk::with(&["a"], Limits { channels: 1, bytes: 10_000 });
    assert_eq!(desk.subscribe("b", &Cursor::default(), &Cursor::default(), true), None);
    assert!(desk.subscribe("a", &Cursor::default(), &Cursor::default(), true).is_some());
}

/// 6 KB is the budget of an idle connection with twenty channels, of which the socket takes one, and names the rest of what is not here.
#[test]
fn twenty_idle_streams_fit_into_three_kilobytes() {
    let mut desk = Desk::new(&[]);
    for room in 0..20 {
        let room = room.to_string();
        desk.subscribe(&room, &Cursor::default(), &Cursor::default(), true);
        desk.offer(event(&room, 1));
    }
    assert_eq!(desk.sent().len(), 20);
    let streams = &desk.session.streams.0;
    let boxed = streams.iter().filter(|(_, stream)| stream.run.is_some() || stream.awaited.is_some()).count();
    let bytes = streams.capacity() * size_of::<(ChannelId, Stream)>() + size_of::<Session>();
    assert!(bytes <= 3_000 && boxed == 0, "{bytes} bytes, {boxed} with more");
}

#[test]
fn soft_state_that_waits_is_bounded_by_what_is_in_it() {
    let mut desk = Desk::new(&["a"]);
    let mark = |index: usize| (crate::testing::user(&index.to_string()), crate::event::ReadMark::default());
    for _ in 0..100 {
        let marks = (0..512).map(mark).collect();
        let frame = crate::receipts::Frame { to: None, marks, counts: Vec::new() };
        desk.session.push_soft(Soft::Receipts { channel: channel("a"), frame });
    }
    assert_eq!(desk.sent().len(), 4);
}
