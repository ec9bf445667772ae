//! What clients record, and a checker that judges the guarantees from it alone.
//!
//! A recording is a list of [`Line`]s: which client, in its own order, did or saw what. As text it is one JSON object a line
//! ([`Line::json`]). The checker derives what was *before* what from the recording itself: whatever a client had received or sent when it
//! sent something. It never looks at what the server says an event depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use messaging::causal::Reset;
use messaging::clock::Hlc;
use messaging::place::{Cursor, EventId, Lineage, Place, Region, Vector};

/// A message, whoever sends it how often: the number that its sender gave it, unique in a recording.
pub type Message = u64;

/// One thing that one client did or saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Which client.
    pub client: usize,
    /// What.
    pub act: Act,
}

/// What a client did or saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Handed a message to its connection for the first time.
    Sent(Message),
    /// Was answered that it is stored.
    Accepted(Message, EventId),
    /// Received an event.
    Got(Got),
    /// A stream began, or went on from its cursor.
    Stream,
    /// The stream was reset: why, and from where it goes on. What the cursor covers is in the channel's history.
    Reset(Reset, Cursor),
}

impl Act {
    /// The event that it is about.
    fn id(&self) -> Option<EventId> {
        match self {
            Self::Accepted(_, id) | Self::Got(Got { id, .. }) => Some(*id),
            Self::Sent(_) | Self::Stream | Self::Reset(..) => None,
        }
    }
}

/// An event as a client received it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Got {
    /// Its id.
    pub id: EventId,
    /// The event before it in its log.
    pub prev: Option<Place>,
    /// For the displayed order.
    pub clock: Hlc,
    /// The message that it is.
    pub message: Option<Message>,
    /// The entries that it says are missing: of which log, up to where.
    pub hole: Option<(Region, Place)>,
    /// Marked late.
    pub late: bool,
}

impl Line {
    /// `{"client":0,"sent":7}`, `{"client":0,"accepted":7,"id":"eu.1.4"}`, `{"client":1,"got":"eu.1.4","prev":"1.3","t":"…","message":7}`
    /// with `"hole":"us.1.9"` and `"late":true` where they apply, `{"client":1,"stream":true}`,
    /// `{"client":1,"reset":"retention","at":{"eu":"1.9"}}`.
    pub fn json(&self) -> String {
        let mut out = format!("{{\"client\":{}", self.client);
        let _ = match &self.act {
            Act::Sent(message) => write!(out, ",\"sent\":{message}"),
            Act::Accepted(message, id) => write!(out, ",\"accepted\":{message},\"id\":\"{id}\""),
            Act::Got(got) => write!(out, ",\"got\":\"{}\",\"t\":\"{}\"{}", got.id, got.clock, details(got)),
            Act::Stream => write!(out, ",\"stream\":true"),
            Act::Reset(why, cursor) => {
                write!(out, ",\"reset\":\"{}\"{}", reason(*why), positions(&cursor.at))
            }
        };
        out.push('}');
        out
    }
}

fn reason(why: Reset) -> &'static str {
    match why {
        Reset::Epoch => "epoch",
        Reset::Retention => "retention",
        Reset::TooFar => "too_far",
        Reset::Slow => "slow",
    }
}

fn positions(at: &Vector) -> String {
    let places: Vec<String> = at
        .iter()
        .map(|(region, mark)| format!("\"{region}\":\"{}.{}\"", mark.place.epoch, mark.place.n))
        .collect();
    format!(",\"at\":{{{}}}", places.join(","))
}

fn details(got: &Got) -> String {
    let mut out = String::new();
    if let Some(prev) = got.prev {
        let _ = write!(out, ",\"prev\":\"{}.{}\"", prev.epoch, prev.n);
    }
    if let Some(message) = got.message {
        let _ = write!(out, ",\"message\":{message}");
    }
    if let Some((region, upto)) = got.hole {
        let _ = write!(out, ",\"hole\":\"{region}.{}.{}\"", upto.epoch, upto.n);
    }
    if got.late {
        out.push_str(",\"late\":true");
    }
    out
}

/// What is known of the end of a run besides what clients recorded.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// All committed events of all logs.
    pub committed: BTreeSet<EventId>,
    /// Which clients were connected long enough after all faults had healed.
    pub connected: BTreeSet<usize>,
    /// How epochs follow each other.
    pub lineage: Lineage,
    /// What streams may have been reset for. A reset for anything else is a violation.
    pub provoked: BTreeSet<Reset>,
}

/// Judges a recording; each violation begins with the number of a guarantee, those of `docs/messaging.md`.
pub fn check(lines: &[Line], end: &End) -> Result<(), String> {
    let before = causes(lines);
    let copies = copies(lines);
    ids(lines)?;
    for (client, own) in by_client(lines) {
        streams(client, &own, &before, &copies, end)?;
        lasting(client, &own, end)?;
    }
    display(lines)
}

fn by_client(lines: &[Line]) -> BTreeMap<usize, Vec<&Act>> {
    let mut all: BTreeMap<usize, Vec<&Act>> = BTreeMap::new();
    for line in lines {
        all.entry(line.client).or_default().push(&line.act);
    }
    all
}

/// By message: every message that its sender had received or sent before it, and so on. Each with the ids as which it was received.
type Causes = BTreeMap<Message, BTreeMap<Message, BTreeSet<EventId>>>;

/// In one region a stream is a piece of one log, without gaps: whoever received all that was directly before a message received all that
/// was before it, so that what a sender learned since its last message is enough, and long recordings are judged in short time. With more
/// regions a hole or a reset may stand for a cause, and for nothing that was before it.
fn causes(lines: &[Line]) -> Causes {
    let regions: BTreeSet<Region> =
        lines.iter().filter_map(|line| line.act.id()).map(|id| id.region).collect();
    let is_one = regions.len() <= 1;
    let mut direct = Causes::new();
    for own in by_client(lines).values() {
        let mut known: BTreeMap<Message, BTreeSet<EventId>> = BTreeMap::new();
        for act in own {
            match act {
                Act::Sent(message) => {
                    let before = if is_one { std::mem::take(&mut known) } else { known.clone() };
                    direct.insert(*message, before);
                    known.entry(*message).or_default();
                }
                Act::Accepted(message, id) | Act::Got(Got { id, message: Some(message), .. }) => {
                    known.entry(*message).or_default().insert(*id);
                }
                _ => {}
            }
        }
    }
    if is_one { direct } else { close(direct) }
}

/// The transitive closure.
fn close(mut causes: Causes) -> Causes {
    loop {
        let mut grown = false;
        let messages: Vec<Message> = causes.keys().copied().collect();
        for message in messages {
            let mut all = causes[&message].clone();
            for cause in causes[&message].keys() {
                for (further, ids) in causes.get(cause).into_iter().flatten() {
                    all.entry(*further).or_insert_with(|| ids.clone());
                }
            }
            grown |= all.len() > causes[&message].len();
            causes.insert(message, all);
        }
        if !grown {
            return causes;
        }
    }
}

/// Guarantees 2 and 6: an id is one message, and an event has one successor in its log.
fn ids(lines: &[Line]) -> Result<(), String> {
    let mut messages: BTreeMap<EventId, Option<Message>> = BTreeMap::new();
    let mut successors: BTreeMap<(Region, Option<Place>), EventId> = BTreeMap::new();
    let mut sent: BTreeSet<Message> = BTreeSet::new();
    sent.extend(
        lines.iter().filter_map(|line| if let Act::Sent(message) = line.act { Some(message) } else { None }),
    );
    for line in lines {
        let (id, message) = match &line.act {
            Act::Accepted(message, id) => (*id, Some(*message)),
            Act::Got(got) => (got.id, got.message),
            _ => continue,
        };
        if *messages.entry(id).or_insert(message) != message {
            return Err(format!("2: {id} is two messages"));
        }
        if message.is_some_and(|message| !sent.contains(&message)) {
            return Err(format!("2: {id} is a message that nobody sent"));
        }
        let Act::Got(got) = &line.act else { continue };
        let successor = successors.entry((id.region, got.prev)).or_insert(id);
        if *successor != id {
            return Err(format!("6: both {successor} and {id} follow {:?}", got.prev));
        }
    }
    Ok(())
}

/// What one client has received, line by line.
#[derive(Default)]
struct Stream {
    got: BTreeSet<EventId>,
    messages: BTreeSet<Message>,
    /// Holes that are not filled.
    holes: Vec<(Region, Place)>,
    last: BTreeMap<Region, Place>,
    /// What the last reset says is in the history.
    paged: Vector,
}

impl Stream {
    fn reset(&mut self, cursor: &Cursor) {
        self.got.clear();
        self.last = cursor.at.iter().map(|(region, mark)| (region, mark.place)).collect();
        let holes = cursor.holes.iter();
        self.holes = holes.flat_map(|(region, upto)| upto.iter().map(|upto| (*region, *upto))).collect();
        self.paged = cursor.at.clone();
    }

    fn crossed(&self, lineage: &Lineage, id: EventId) -> bool {
        self.holes.iter().any(|(of, upto)| *of == id.region && lineage.covers(*of, *upto, id.place))
    }
}

/// By message: all the events that it became.
type Copies = BTreeMap<Message, BTreeSet<EventId>>;

fn copies(lines: &[Line]) -> Copies {
    let mut copies = Copies::new();
    for line in lines {
        if let Act::Accepted(message, id) | Act::Got(Got { id, message: Some(message), .. }) = &line.act {
            copies.entry(*message).or_default().insert(*id);
        }
    }
    copies
}

/// Guarantees 1, 2 and 4, on one client.
fn streams(client: usize, own: &[&Act], before: &Causes, copies: &Copies, end: &End) -> Result<(), String> {
    let lineage = &end.lineage;
    let mut stream = Stream::default();
    for act in own {
        let event = match act {
            Act::Reset(why, _) if !end.provoked.contains(why) => {
                return Err(format!(
                    "4: client {client} was reset for {}, which was not provoked",
                    reason(*why)
                ));
            }
            Act::Reset(_, cursor) => {
                stream.reset(cursor);
                continue;
            }
            Act::Got(event) => event,
            _ => continue,
        };
        if !stream.got.insert(event.id) {
            return Err(format!("2: client {client} received {} twice", event.id));
        }
        if stream.last.get(&event.id.region).copied() != event.prev {
            return Err(format!("4: client {client} received {} and not what is before it", event.id));
        }
        stream.last.insert(event.id.region, event.id.place);
        if event.late != stream.crossed(lineage, event.id) {
            return Err(format!("1: client {client} received {} with `late` {}", event.id, event.late));
        }
        let Some(message) = event.message else {
            stream.holes.extend(event.hole);
            continue;
        };
        for (cause, ids) in before.get(&message).into_iter().flatten() {
            let covered = |id: &EventId| stream.crossed(lineage, *id) || stream.paged.covers(lineage, *id);
            // Of an own message that had no answer yet: whatever became of it.
            let all = if ids.is_empty() { copies.get(cause) } else { Some(ids) };
            let is_covered = all.is_some_and(|all| all.iter().all(covered));
            let missing = !stream.messages.contains(cause) && !is_covered;
            if missing && *cause != message && is_stored(cause, ids, own) {
                return Err(format!(
                    "1: client {client} received message {message} before {cause}, which came before it"
                ));
            }
        }
        stream.messages.insert(message);
    }
    Ok(())
}

/// A message that its own sender never heard of again may have been refused: then nobody waits for it.
fn is_stored(cause: &Message, ids: &BTreeSet<EventId>, own: &[&Act]) -> bool {
    let got = |act: &&Act| matches!(act, Act::Got(Got { message: Some(message), .. }) if message == cause);
    !ids.is_empty() || own.iter().any(got)
}

/// Guarantees 3 and 8: what was acknowledged or delivered is in a log, and what is in a log reached who is connected.
fn lasting(client: usize, own: &[&Act], end: &End) -> Result<(), String> {
    let mut got = BTreeSet::new();
    let mut paged = Vector::default();
    for act in own {
        let id = match act {
            Act::Accepted(_, id) => *id,
            Act::Got(event) => {
                got.insert(event.id);
                event.id
            }
            Act::Reset(_, cursor) => {
                paged = cursor.at.clone();
                continue;
            }
            _ => continue,
        };
        if !end.committed.contains(&id) {
            return Err(format!(
                "3: {id} was acknowledged or delivered to client {client}, and is in no log"
            ));
        }
    }
    let missing = end.committed.difference(&got).find(|id| !paged.covers(&end.lineage, **id));
    match missing {
        Some(missing) if end.connected.contains(&client) => {
            Err(format!("8: client {client} never received {missing}"))
        }
        _ => Ok(()),
    }
}

/// Guarantee 5: an event has one place in the displayed order, and that order extends the order of each log.
fn display(lines: &[Line]) -> Result<(), String> {
    let mut clocks: BTreeMap<EventId, Hlc> = BTreeMap::new();
    for line in lines {
        let Act::Got(got) = &line.act else { continue };
        if *clocks.entry(got.id).or_insert(got.clock) != got.clock {
            return Err(format!("5: {} is displayed at two places", got.id));
        }
    }
    for (one, next) in clocks.iter().zip(clocks.iter().skip(1)) {
        if one.0.region == next.0.region && one.1 >= next.1 {
            return Err(format!("5: {} is displayed after {}", one.0, next.0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use messaging::place::Mark;

    use super::*;

    fn id(text: &str) -> EventId {
        text.parse().expect("a test names events as they are")
    }

    fn got(client: usize, event: &str, message: Message) -> Line {
        let id = id(event);
        let prev = (id.place.n > 1).then(|| Place { n: id.place.n - 1, ..id.place });
        let clock = Hlc(message);
        Line {
            client,
            act: Act::Got(Got { id, prev, clock, message: Some(message), hole: None, late: false }),
        }
    }

    fn sent(client: usize, message: Message) -> Line {
        Line { client, act: Act::Sent(message) }
    }

    fn hole(client: usize, event: &str, of: &str) -> Line {
        let Act::Got(base) = got(client, event, 0).act else { unreachable!() };
        let of = id(of);
        Line { client, act: Act::Got(Got { message: None, hole: Some((of.region, of.place)), ..base }) }
    }

    fn reset(client: usize, why: Reset, at: &[&str]) -> Line {
        let mark = |text: &&str| (id(text).region, Mark { place: id(text).place, count: 0 });
        let cursor = Cursor { at: at.iter().map(mark).collect(), ..Cursor::default() };
        Line { client, act: Act::Reset(why, cursor) }
    }

    /// A question in `eu`, an answer in `us`, and what a third client received.
    fn talk(third: &[Line]) -> Vec<Line> {
        let mut lines = vec![sent(0, 1), got(0, "eu.1.1", 1), got(1, "eu.1.1", 1), sent(1, 2)];
        lines.extend_from_slice(third);
        lines
    }

    fn end(committed: &[&str], connected: &[usize]) -> End {
        let committed = committed.iter().map(|text| id(text)).collect();
        let connected = connected.iter().copied().collect();
        End { committed, connected, ..End::default() }
    }

    fn verdict(lines: &[Line]) -> Result<(), String> {
        check(lines, &end(&["eu.1.1", "eu.1.2", "us.1.1", "us.1.2"], &[]))
    }

    fn broken(lines: &[Line]) -> char {
        verdict(lines).expect_err("it is a violation").chars().next().expect("it is named")
    }

    #[test]
    fn a_recording_in_order_is_accepted() {
        assert_eq!(verdict(&talk(&[got(2, "eu.1.1", 1), got(2, "us.1.1", 2)])), Ok(()));
    }

    #[test]
    fn an_answer_before_its_question_is_found_out() {
        assert_eq!(broken(&talk(&[got(2, "us.1.1", 2), got(2, "eu.1.1", 1)])), '1');
        assert_eq!(broken(&talk(&[got(2, "us.1.1", 2)])), '1');
    }

    #[test]
    fn causes_are_followed_over_several_people() {
        let mut lines = talk(&[got(2, "eu.1.1", 1), got(2, "us.1.1", 2), sent(2, 3), got(3, "us.1.1", 2)]);
        assert_eq!(broken(&lines), '1', "client 3 has the answer and not the question");
        lines.pop();
        lines.push(got(3, "eu.1.1", 1));
        lines.push(got(3, "eu.1.2", 3));
        assert_eq!(broken(&lines), '1', "and here the answer to the answer");
    }

    #[test]
    fn in_one_region_a_stream_that_begins_behind_the_question_is_found_out() {
        let mut lines = vec![sent(0, 1), got(1, "eu.1.1", 1), sent(1, 2), got(2, "eu.1.2", 2)];
        assert_eq!(broken(&lines), '4', "a gap");
        let Act::Got(base) = got(2, "eu.1.1", 2).act else { unreachable!() };
        let moved = Got { prev: None, ..base };
        lines[3] = Line { client: 2, act: Act::Got(moved) };
        assert_eq!(broken(&lines), '2', "two messages of one id");
        let lines = [
            sent(0, 1),
            sent(1, 2),
            got(1, "eu.1.1", 2),
            got(1, "eu.1.2", 1),
            sent(1, 3),
            got(0, "eu.1.1", 2),
            got(0, "eu.1.2", 1),
            got(0, "eu.1.3", 3),
        ];
        assert_eq!(causes(&lines)[&3].keys().copied().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_long_recording_of_one_region_is_judged_in_short_time() {
        const MANY: u64 = 20_000;
        let lines: Vec<Line> = (1..=MANY)
            .flat_map(|n| {
                let id = format!("eu.1.{n}");
                [sent((n % 2) as usize, n), got(0, &id, n), got(1, &id, n)]
            })
            .collect();
        let ids: Vec<String> = (1..=MANY).map(|n| format!("eu.1.{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(check(&lines, &end(&ids, &[0, 1])), Ok(()));
    }

    #[test]
    fn a_hole_stands_for_a_question_and_late_is_said() {
        let late = |late| {
            let Act::Got(base) = got(2, "eu.1.1", 1).act else { unreachable!() };
            Line { client: 2, act: Act::Got(Got { late, ..base }) }
        };
        let with = |last| talk(&[hole(2, "us.1.1", "eu.1.1"), got(2, "us.1.2", 2), last]);
        assert_eq!(verdict(&with(late(true))), Ok(()));
        assert_eq!(broken(&with(late(false))), '1');
        assert_eq!(broken(&talk(&[late(true)])), '1', "nothing was crossed");
    }

    #[test]
    fn a_hole_stands_for_an_own_message_that_had_no_answer_when_the_next_was_sent() {
        let lines = [
            sent(0, 1),
            sent(0, 2),
            Line { client: 0, act: Act::Accepted(1, id("eu.1.1")) },
            hole(2, "us.1.1", "eu.1.1"),
            got(2, "us.1.2", 2),
        ];
        assert_eq!(verdict(&lines), Ok(()));
        let Act::Got(base) = got(2, "eu.1.1", 1).act else { unreachable!() };
        let late = Line { client: 2, act: Act::Got(Got { late: true, ..base }) };
        assert_eq!(verdict(&[&lines[..], &[late]].concat()), Ok(()));
        let without = [sent(0, 1), sent(0, 2), got(2, "us.1.1", 2), got(2, "eu.1.1", 1)];
        assert_eq!(broken(&without), '1');
    }

    #[test]
    fn duplicates_inventions_and_shared_ids_are_found_out() {
        assert_eq!(broken(&talk(&[got(2, "eu.1.1", 1), got(2, "eu.1.1", 1)])), '2');
        assert_eq!(broken(&talk(&[got(2, "eu.1.1", 2)])), '2');
        assert_eq!(broken(&talk(&[got(2, "us.1.1", 9)])), '2');
    }

    #[test]
    fn what_vanishes_is_found_out() {
        let accepted = Line { client: 0, act: Act::Accepted(1, id("eu.1.9")) };
        assert_eq!(broken(&[sent(0, 1), accepted]), '3');
        assert_eq!(
            broken(&talk(&[
                got(2, "eu.1.1", 1),
                got(2, "us.1.1", 2),
                got(2, "us.1.2", 1),
                got(2, "us.1.3", 1)
            ])),
            '3'
        );
    }

    #[test]
    fn gaps_resets_and_forks_are_found_out() {
        assert_eq!(broken(&[sent(0, 1), got(2, "eu.1.2", 1)]), '4');
        assert_eq!(broken(&[reset(0, Reset::Slow, &[])]), '4');
        let Act::Got(base) = got(2, "eu.1.2", 2).act else { unreachable!() };
        let fork = Line { client: 2, act: Act::Got(Got { prev: None, ..base }) };
        assert_eq!(broken(&talk(&[fork])), '6');
    }

    #[test]
    fn what_a_reset_covers_is_in_the_history_and_what_it_does_not_is_missed() {
        let provoked = BTreeSet::from([Reset::Retention]);
        let all = End { provoked, ..end(&["eu.1.1", "eu.1.2", "us.1.1"], &[2]) };
        let with = |at: &[&str]| {
            let third =
                [reset(2, Reset::Retention, at), got(2, "us.1.1", 2), sent(0, 3), got(2, "eu.1.2", 3)];
            check(&talk(&third), &all)
        };
        assert_eq!(with(&["eu.1.1"]), Ok(()));
        assert!(with(&[]).expect_err("the question is nowhere").starts_with('1'));
        let short = talk(&[reset(2, Reset::Retention, &["eu.1.1"]), got(2, "us.1.1", 2)]);
        assert!(check(&short, &all).expect_err("eu.1.2 never came").starts_with('8'));
    }

    #[test]
    fn what_never_arrives_is_found_out() {
        let lines = talk(&[]);
        let wrong = check(&lines, &end(&["eu.1.1", "us.1.1"], &[0])).expect_err("client 0 misses the answer");
        assert!(wrong.starts_with('8'));
    }

    #[test]
    fn two_places_in_the_displayed_order_are_found_out() {
        let Act::Got(base) = got(2, "eu.1.1", 1).act else { unreachable!() };
        let moved = Line { client: 2, act: Act::Got(Got { clock: Hlc(77), ..base }) };
        assert_eq!(broken(&talk(&[moved])), '5');
    }

    #[test]
    fn lines_are_json() {
        assert_eq!(sent(3, 7).json(), r#"{"client":3,"sent":7}"#);
        let text = hole(1, "us.1.2", "eu.1.9").json();
        let expected = r#"{"client":1,"got":"us.1.2","t":"0000000000000000","prev":"1.1","hole":"eu.1.9"}"#;
        assert_eq!(text, expected);
    }
}
