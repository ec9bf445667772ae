//! The device as a value, against frames written by hand, in virtual time.

use std::time::{Duration, Instant};

use wire::messaging::{Command, Encoding, ErrorCode, Incoming, Request};

use super::core::{Core, Verdict};
use super::{Begin, Draft, Event, Outcome, Target};

const STATE: &str = r#"{"kind":"group","settings":{},"members":2,"tier":"S","unread":0,"mentions":0}"#;

/// A device with a server that is the test.
struct World {
    core: Core,
    now: Instant,
}

impl World {
    fn new() -> Self {
        Self { core: Core::new("phone".to_owned()), now: Instant::now() }
    }

    /// Connected, with the channel `c` open and this number accepted last.
    fn opened(csn: u64) -> Self {
        let mut world = Self::new();
        world.connect("");
        world.core.open(world.now, "c", Begin::Last(30), true);
        let id = world.take("subscribe").0;
        world.ok(id, &format!(r#"{{"cursor":"c0","csn":{csn},"state":{STATE}}}"#));
        world
    }

    /// A new connection; the answer's channels. What was asked to go on.
    fn connect(&mut self, channels: &str) -> String {
        let (id, command) = self.core.connect(self.now, "token".to_owned());
        let sent = json(id, &command);
        let welcome = format!(
            r#"{{"user":"ann","ping":25000,"time":1,"limits":{{"frame":65536,"body":1,"depth":1,"name":1,"channels":1,"in_flight":1,"rate":1,"burst":1,"mentions":1,"seen":8,"after":8,"page":1,"watch":1,"behind":1}},"channels":[{channels}]}}"#
        );
        assert_eq!(self.ok(id, &welcome), Verdict::Fine);
        sent
    }

    /// The connection breaks, and another goes on with `c`.
    fn again(&mut self, csn: u64) {
        self.core.lost();
        self.connect(&format!(r#"{{"channel":"c","ok":{{"cursor":"c9","csn":{csn},"state":{STATE}}}}}"#));
    }

    fn hear(&mut self, frame: &str) -> Verdict {
        let frame = Incoming::read(Encoding::Json, frame.as_bytes()).expect("a frame");
        self.core.receive(self.now, frame)
    }

    fn ok(&mut self, id: u64, ok: &str) -> Verdict {
        self.hear(&format!(r#"{{"v":1,"id":{id},"ok":{ok}}}"#))
    }

    fn accept(&mut self, id: u64, event: &str, token: &str) {
        self.ok(id, &format!(r#"{{"event":"{event}","token":"{token}"}}"#));
    }

    fn refuse(&mut self, id: u64, error: &str) {
        self.hear(&format!(r#"{{"v":1,"id":{id},"error":{{"reason":"",{error}}}}}"#));
    }

    fn frames(&mut self) -> Vec<(u64, Command)> {
        std::iter::from_fn(|| self.core.poll_transmit()).collect()
    }

    fn take(&mut self, name: &str) -> (u64, Command) {
        let found = self.frames().into_iter().find(|(_, command)| command.name() == name);
        found.unwrap_or_else(|| panic!("no `{name}` was sent"))
    }

    /// Number of the request, number of the send, what it follows.
    fn sends(&mut self) -> Vec<(u64, u64, u64)> {
        let send = |(id, command)| match command {
            Command::Send(send) => Some((id, send.csn, send.follows.expect("it says so"))),
            _ => None,
        };
        self.frames().into_iter().filter_map(send).collect()
    }

    fn say(&mut self, text: &str) -> u64 {
        self.core.send(self.now, "c", Draft::text(text), false).expect("there is room")
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    fn outcomes(&mut self) -> Vec<(u64, &'static str)> {
        let outcome = |event| match event {
            Event::Sent { csn, outcome: Outcome::Accepted(_), .. } => Some((csn, "accepted")),
            Event::Sent { csn, outcome: Outcome::Refused(_), .. } => Some((csn, "refused")),
            Event::Sent { csn, outcome: Outcome::Unknown(_), .. } => Some((csn, "unknown")),
            _ => None,
        };
        self.events().into_iter().filter_map(outcome).collect()
    }

    fn items(&mut self) -> Vec<String> {
        let item = |event| if let Event::Item { item, .. } = event { Some(item.id) } else { None };
        self.events().into_iter().filter_map(item).collect()
    }

    fn stream(&mut self, cursor: &str, items: &str) {
        self.hear(&format!(r#"{{"events":{{"channel":"c","cursor":"{cursor}","items":[{items}]}}}}"#));
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }
}

fn json(id: u64, command: &Command) -> String {
    let mut out = Vec::new();
    Request::write(Encoding::Json, id, command, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

fn item(n: u64) -> String {
    let prev = if n > 1 { format!(r#""prev":"eu.1.{}","#, n - 1) } else { String::new() };
    format!(
        r#"{{"id":"eu.1.{n}",{prev}"t":"{n:016x}","from":{{"user":"bob","device":"b"}},"csn":{n},"kind":"message","body":"m"}}"#
    )
}

#[test]
fn sends_are_numbered_from_the_last_accepted_and_leave_at_once() {
    let mut world = World::opened(4);
    assert_eq!([world.say("a"), world.say("b")], [5, 6]);
    let sends: Vec<_> = world.sends().into_iter().map(|(_, csn, follows)| (csn, follows)).collect();
    assert_eq!(sends, [(5, 4), (6, 5)]);
}

#[test]
fn what_had_no_answer_is_sent_again_under_its_number_and_in_order() {
    let mut world = World::opened(0);
    world.say("a");
    world.say("b");
    let first = world.sends();
    world.accept(first[0].0, "eu.1.1", "A");
    world.core.lost();
    world.say("c");
    // The answer to b was lost on its way: 2 was accepted.
    world.again(2);
    let sends = world.sends();
    assert_eq!(sends.iter().map(|(_, csn, _)| *csn).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(sends[1].2, 2);
    world.accept(sends[0].0, "eu.1.2", "B");
    assert_eq!(world.outcomes(), [(1, "accepted"), (2, "accepted")]);
}

#[test]
fn after_a_final_refusal_the_next_follows_the_last_accepted() {
    let mut world = World::opened(0);
    for text in ["a", "too long", "c"] {
        world.say(text);
    }
    let sends = world.sends();
    world.accept(sends[0].0, "eu.1.1", "A");
    world.refuse(sends[1].0, r#""code":"too_large","final":true"#);
    world.refuse(sends[2].0, r#""code":"csn_gap","final":true,"last":1"#);
    let again = world.sends();
    assert_eq!(again.iter().map(|(_, csn, follows)| (*csn, *follows)).collect::<Vec<_>>(), [(3, 1)]);
    assert_eq!(world.outcomes(), [(1, "accepted"), (2, "refused")]);
}

#[test]
fn a_temporary_refusal_holds_back_what_is_behind_it_until_its_time() {
    let mut world = World::opened(0);
    world.say("a");
    world.say("b");
    let sends = world.sends();
    world.refuse(sends[0].0, r#""code":"slow_mode","final":false,"retry_after":1500"#);
    world.refuse(sends[1].0, r#""code":"csn_gap","final":true,"last":0"#);
    assert_eq!(world.core.poll_timeout(), Some(world.now + Duration::from_millis(1_500)));
    world.pass(Duration::from_millis(1_499));
    assert!(world.sends().is_empty());
    world.pass(Duration::from_millis(1));
    let again: Vec<_> = world.sends().into_iter().map(|(_, csn, follows)| (csn, follows)).collect();
    assert_eq!(again, [(1, 0), (2, 1)]);
}

#[test]
fn a_refusal_after_a_copy_without_an_answer_is_unknown_until_a_later_one_is_accepted_there() {
    let mut world = World::opened(0);
    world.say("first");
    let id = world.sends()[0].0;
    world.accept(id, "eu.1.1", "A");
    world.say("lost");
    world.sends();
    world.again(1);
    let id = world.sends()[0].0;
    world.refuse(id, r#""code":"muted","final":true"#);
    assert_eq!(world.outcomes(), [(1, "accepted"), (2, "unknown")]);
    for (event, settled) in
        [("us.1.9", vec![(3, "accepted")]), ("eu.1.2", vec![(2, "refused"), (4, "accepted")])]
    {
        world.say("more");
        let id = world.sends()[0].0;
        world.accept(id, event, "T");
        assert_eq!(world.outcomes(), settled);
    }
}

#[test]
fn what_names_an_own_message_waits_for_its_id_and_nothing_overtakes_it() {
    let mut world = World::opened(0);
    let csn = world.say("helo");
    let Draft::Message { body, .. } = Draft::text("hello") else { unreachable!() };
    world.core.send(world.now, "c", Draft::Edit { event: Target::Own(csn), body }, false);
    world.say("next");
    let frames = world.frames();
    assert_eq!(frames.len(), 1);
    world.accept(frames[0].0, "eu.1.1", "A");
    let frames = world.frames();
    assert!(matches!(&frames[0].1, Command::Edit(edit) if edit.event == "eu.1.1" && edit.csn == 2));
    assert_eq!(frames[1].1.name(), "send");
}

#[test]
fn tokens_are_presented_and_replaced_and_after_a_reconnect_the_cursor_too() {
    let mut world = World::opened(0);
    let send = |world: &mut World| {
        world.say("x");
        let (id, Command::Send(send)) = world.take("send") else { unreachable!() };
        (id, send.seen)
    };
    let (id, seen) = send(&mut world);
    assert!(seen.is_empty());
    world.accept(id, "eu.1.1", "A");
    world.stream("c5", "");
    world.again(1);
    let (id, seen) = send(&mut world);
    assert_eq!(seen, ["c5", "A"]);
    world.accept(id, "eu.1.2", "B");
    assert_eq!(send(&mut world).1, ["B"]);
}

#[test]
fn a_stream_goes_on_by_its_cursor_and_nothing_is_told_twice() {
    let mut world = World::opened(0);
    world.stream("c2", &format!("{},{}", item(1), item(2)));
    world.core.lost();
    let sent = world.connect(&format!(r#"{{"channel":"c","ok":{{"cursor":"c2","csn":0,"state":{STATE}}}}}"#));
    assert!(sent.contains(r#""resume":[{"channel":"c","cursor":"c2","open":true}]"#), "{sent}");
    world.stream("c3", &item(3));
    world.stream("c3", &item(3));
    assert_eq!(world.items(), ["eu.1.1", "eu.1.2", "eu.1.3"]);
}

#[test]
fn a_gap_is_asked_for_again_from_where_the_stream_was_whole() {
    let mut world = World::opened(0);
    world.stream("c1", &item(1));
    world.stream("c3", &item(3));
    assert_eq!(world.items(), ["eu.1.1"]);
    let (_, command) = world.take("subscribe");
    assert!(json(1, &command).contains(r#""from":{"cursor":"c1"}"#));
}

#[test]
fn a_refused_cursor_is_dropped_a_busy_channel_asked_again_and_a_lost_one_told() {
    let mut world = World::opened(0);
    world.core.lost();
    world.connect(r#"{"channel":"c","error":{"code":"bad_cursor","reason":"","final":true}}"#);
    let (id, command) = world.take("subscribe");
    assert!(json(id, &command).contains(r#""from":{"last":30}"#));
    world.refuse(id, r#""code":"busy","final":false,"retry_after":300"#);
    world.pass(Duration::from_millis(300));
    let (id, _) = world.take("subscribe");
    world.refuse(id, r#""code":"not_member","final":true"#);
    let gone = |event: &Event| matches!(event, Event::Gone { why, .. } if why.code == ErrorCode::NotMember);
    assert!(world.events().iter().any(gone));
}

#[test]
fn marks_are_gathered_and_told_again_when_they_had_no_answer() {
    let mut world = World::opened(0);
    world.stream("c1", &item(1));
    assert_eq!(world.frames().len(), 1, "delivered");
    world.stream("c2", &item(2));
    world.core.read(world.now, "c", None);
    assert!(world.frames().is_empty());
    world.pass(Duration::from_secs(2));
    let (_, command) = world.take("read");
    assert!(json(1, &command).contains(r#""cursor":"c2","delivered":"c2""#));
    world.pass(Duration::from_secs(2));
    world.again(0);
    assert!(matches!(world.take("read").1, Command::Read(read) if read.cursor.as_deref() == Some("c2")));
}

#[test]
fn requests_outlive_the_connection_and_temporary_refusals() {
    let mut world = World::new();
    let command = Command::parse("members", r#"{"channel":"c"}"#).expect("a command");
    assert!(world.core.request(world.now, 7, command));
    assert!(world.frames().is_empty());
    world.connect("");
    let (id, _) = world.take("members");
    world.refuse(id, r#""code":"busy","final":false,"retry_after":100"#);
    world.core.lost();
    world.connect("");
    world.pass(Duration::from_millis(100));
    let (id, _) = world.take("members");
    world.ok(id, r#"{"members":[]}"#);
    let (tag, answer) = world.core.poll_answer().expect("there is one");
    assert_eq!((tag, answer.is_ok()), (7, true));
}

#[test]
fn a_send_is_given_up_after_seven_days() {
    let mut world = World::opened(0);
    world.say("old");
    world.sends();
    world.core.lost();
    world.pass(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(world.outcomes(), [(1, "unknown")]);
    world.again(0);
    assert!(world.sends().is_empty());
}
