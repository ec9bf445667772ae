//! A device's side of the messaging protocol as a value: frames in, frames and events out. It has no socket and no clock.
//!
//! Whoever drives it calls [`Core::connect`] when a socket is open and sends what that returns, hands in what comes with [`Core::receive`],
//! says when the socket is gone with [`Core::lost`], and after each of these, and after every call of the application, sends what
//! [`Core::poll_transmit`] gives, tells what [`Core::poll_event`] gives, and calls [`Core::handle_timeout`] at [`Core::poll_timeout`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use wire::messaging::{
    Command, Connect, Connected, Error, ErrorCode, Events, History, Incoming, OfChannel, Page, Presence,
    Push, Raw, Read, Resume, Sent, Subscribed, ThereNow,
};

use super::channel::{Begin, Channel, Next, Wanted};
use super::event::{Event, ResetReason};
use super::outbox::{Draft, Settled};

/// Marks are told at most so often.
const MARKS: Duration = Duration::from_secs(2);
/// A temporary refusal that does not say when to try again.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of cursors that `connect` carries; the rest is subscribed one by one.
const RESUMED: usize = 32 * 1_024;
/// Cursors of other channels that a send names.
const AFTER: usize = 8;
/// Sends of a channel that may wait for an answer. Bounds the memory of a device that is cut off for days.
pub(super) const WAITING: usize = 10_000;
/// Requests that may be open.
pub(super) const REQUESTS: usize = 1_024;

/// What a request was for.
#[derive(Debug)]
enum Asked {
    Connect,
    Subscribe {
        channel: String,
    },
    Send {
        channel: String,
        csn: u64,
        presented: Vec<String>,
    },
    Read {
        channel: String,
        mark: Mark,
    },
    Presence,
    /// The application's: asked again on the next connection.
    Request {
        tag: u64,
        command: Box<Command>,
    },
    /// Whatever the answer is, nobody waits for it.
    Nothing,
}

#[derive(Clone, Debug, Default)]
struct Mark {
    cursor: Option<String>,
    upto: Option<String>,
    delivered: Option<String>,
}

/// How the connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Down,
    Greeting,
    Up,
}

/// What `connect` was answered, where that is the end of this attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Go on.
    Fine,
    /// This connection is of no use; try again, not before the time given.
    Again(Option<Duration>),
    /// Never again.
    Over(Error),
}

/// The value.
#[derive(Debug)]
pub(super) struct Core {
    device: String,
    user: String,
    link: Link,
    next: u64,
    asked: BTreeMap<u64, (Instant, Asked)>,
    /// Requests that wait for a connection, or for their time.
    waiting: Vec<(Option<Instant>, u64, Command)>,
    channels: BTreeMap<String, Channel>,
    marks: BTreeMap<String, Mark>,
    marked: Option<Instant>,
    watched: Vec<String>,
    moves: u64,
    frames: VecDeque<(u64, Command)>,
    events: VecDeque<Event>,
    answers: VecDeque<(u64, Result<Raw, Error>)>,
    ping: Duration,
}

impl Core {
    /// A device of this id.
    pub fn new(device: String) -> Self {
        Self {
            device,
            user: String::new(),
            link: Link::Down,
            next: 0,
            asked: BTreeMap::new(),
            waiting: Vec::new(),
            channels: BTreeMap::new(),
            marks: BTreeMap::new(),
            marked: None,
            watched: Vec::new(),
            moves: 0,
            frames: VecDeque::new(),
            events: VecDeque::new(),
            answers: VecDeque::new(),
            ping: Duration::from_secs(25),
        }
    }

    // The application's side.

    /// Whose device it is; empty before the first connection.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The device's id.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Is there a connection?
    pub fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// Subscribes to a channel, over all connections to come.
    pub fn open(&mut self, now: Instant, name: &str, begin: Begin, open: bool) {
        self.channels.entry(name.to_owned()).or_default().wanted = Some(Wanted { begin, open });
        self.subscribe(now, name);
    }

    /// Ends a subscription.
    pub fn close(&mut self, now: Instant, name: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.wanted = None;
            channel.reset(None);
        }
        self.marks.remove(name);
        let command = Command::Unsubscribe(OfChannel { channel: name.to_owned() });
        if self.is_up() {
            self.issue(now, command, Asked::Nothing);
        }
    }

    /// Sends something; its number. `None`: too much waits for an answer. `after`: not before what was delivered in other channels.
    pub fn send(&mut self, now: Instant, name: &str, draft: Draft, after: bool) -> Option<u64> {
        let after = if after { self.cursors(name) } else { Vec::new() };
        let channel = self.channels.entry(name.to_owned()).or_default();
        if channel.outbox.len() >= WAITING {
            return None;
        }
        let csn = channel.outbox.compose(now, draft, after);
        self.pump(now, name);
        Some(csn)
    }

    /// Everything delivered up to this event, or up to now, has been read.
    pub fn read(&mut self, now: Instant, name: &str, upto: Option<String>) {
        let Some(cursor) = self.channels.get(name).and_then(|channel| channel.cursor.clone()) else { return };
        let mark = self.marks.entry(name.to_owned()).or_default();
        (mark.cursor, mark.upto) = (Some(cursor), upto);
        self.tell_marks(now);
    }

    /// These are on the screen.
    pub fn watch(&mut self, now: Instant, users: Vec<String>) {
        self.watched = users;
        self.tell_presence(now);
    }

    /// Any other command; its answer comes with the tag. False: too many are open.
    pub fn request(&mut self, now: Instant, tag: u64, command: Command) -> bool {
        if self.waiting.len() + self.asked.len() >= REQUESTS {
            return false;
        }
        self.ask(now, tag, command);
        true
    }

    /// Something that is lost without a connection: `typing`, `tell`.
    pub fn say(&mut self, now: Instant, command: Command) {
        if self.is_up() {
            self.issue(now, command, Asked::Nothing);
        }
    }

    // The connection's side.

    /// A socket is open: what goes first.
    pub fn connect(&mut self, now: Instant, token: String) -> (u64, Command) {
        self.link = Link::Greeting;
        self.frames.clear();
        let mut bytes = 0;
        let fits = |resume: &Resume| {
            bytes += resume.cursor.len() + resume.channel.len() + 40;
            bytes <= RESUMED
        };
        let all = self.channels.iter().filter_map(|(name, channel)| channel.resume(name));
        let resume = all.take_while(fits).collect();
        let id = self.number(now, Asked::Connect);
        (id, Command::Connect(Connect { token, device: self.device.clone(), resume }))
    }

    /// The socket is gone.
    pub fn lost(&mut self) {
        self.link = Link::Down;
        self.frames.clear();
        for (_, asked) in std::mem::take(&mut self.asked).into_values() {
            match asked {
                Asked::Request { tag, command } => self.waiting.push((None, tag, *command)),
                Asked::Read { channel, mark } => self.keep_mark(channel, mark),
                _ => {}
            }
        }
        for channel in self.channels.values_mut() {
            let region = std::mem::take(&mut channel.region);
            channel.outbox.disconnected(&region);
            channel.retry = None;
        }
    }

    /// A frame of the server.
    pub fn receive(&mut self, now: Instant, frame: Incoming) -> Verdict {
        match frame {
            Incoming::Push(Push::Goaway(goaway)) => {
                return Verdict::Again(Some(Duration::from_millis(goaway.retry_after)));
            }
            Incoming::Push(push) => self.push(now, push),
            Incoming::Answer(id, answer) => return self.answer(now, id, answer),
            Incoming::Unknown => {}
        }
        Verdict::Fine
    }

    /// How long the server may be silent.
    pub fn silence(&self) -> Duration {
        self.ping * 5 / 2
    }

    /// Since when the oldest request has no answer.
    pub fn oldest(&self) -> Option<Instant> {
        self.asked.values().map(|(since, _)| *since).min()
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<(u64, Command)> {
        self.frames.pop_front()
    }

    /// What the application is to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The answer to a request of the application.
    pub fn poll_answer(&mut self) -> Option<(u64, Result<Raw, Error>)> {
        self.answers.pop_front()
    }

    /// When to be called again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let channels =
            self.channels.values().flat_map(|channel| [channel.retry, channel.outbox.poll_timeout()]);
        let marks = (!self.marks.is_empty()).then(|| self.marked.map(|marked| marked + MARKS)).flatten();
        let waiting = self.waiting.iter().map(|(at, ..)| *at);
        channels.chain(waiting).chain([marks.filter(|_| self.is_up())]).flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let names: Vec<String> = self.channels.keys().cloned().collect();
        for name in names {
            let Some(channel) = self.channels.get_mut(&name) else { continue };
            let settled = channel.outbox.handle_timeout(now);
            let retry = channel.retry.take_if(|at| *at <= now).is_some();
            self.settle(&name, settled);
            if retry {
                self.subscribe(now, &name);
            }
            self.pump(now, &name);
        }
        self.tell_marks(now);
        let due = |(at, ..): &mut (Option<Instant>, u64, Command)| at.is_some_and(|at| at <= now);
        for (_, tag, command) in self.waiting.extract_if(.., due).collect::<Vec<_>>() {
            self.ask(now, tag, command);
        }
    }

    // Details.

    fn number(&mut self, now: Instant, asked: Asked) -> u64 {
        self.next += 1;
        self.asked.insert(self.next, (now, asked));
        self.next
    }

    fn issue(&mut self, now: Instant, command: Command, asked: Asked) {
        let id = self.number(now, asked);
        self.frames.push_back((id, command));
    }

    fn ask(&mut self, now: Instant, tag: u64, command: Command) {
        if self.is_up() {
            let asked = Asked::Request { tag, command: Box::new(command.clone()) };
            self.issue(now, command, asked);
        } else {
            self.waiting.push((None, tag, command));
        }
    }

    fn subscribe(&mut self, now: Instant, name: &str) {
        let command = self.channels.get(name).and_then(|channel| channel.subscribe(name));
        if let Some(command) = command.filter(|_| self.is_up()) {
            self.issue(now, Command::Subscribe(command), Asked::Subscribe { channel: name.to_owned() });
        }
    }

    /// Sends what may leave.
    fn pump(&mut self, now: Instant, name: &str) {
        if !self.is_up() {
            return;
        }
        let Some(channel) = self.channels.get_mut(name) else { return };
        for leaving in channel.outbox.take(now) {
            self.next += 1;
            let presented = channel.presented();
            let asked =
                Asked::Send { channel: name.to_owned(), csn: leaving.csn, presented: presented.clone() };
            self.asked.insert(self.next, (now, asked));
            self.frames.push_back((self.next, leaving.command(name, presented)));
        }
    }

    fn cursors(&self, but: &str) -> Vec<(String, String)> {
        let others = self.channels.iter().filter(|(name, channel)| *name != but && channel.moved > 0);
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|(_, channel)| std::cmp::Reverse(channel.moved));
        let named = others.into_iter().take(AFTER);
        named.filter_map(|(name, channel)| Some((name.clone(), channel.cursor.clone()?))).collect()
    }

    fn answer(&mut self, now: Instant, id: u64, answer: Result<Raw, Error>) -> Verdict {
        // An answer that nobody asked for is of no use and does no harm.
        let Some((_, asked)) = self.asked.remove(&id) else { return Verdict::Fine };
        match asked {
            Asked::Connect => return self.connected(now, answer),
            Asked::Subscribe { channel } => match answer {
                Ok(raw) => {
                    if let Ok(subscribed) = raw.read() {
                        self.begin(now, &channel, &subscribed);
                    }
                }
                Err(error) => self.refused(now, &channel, error),
            },
            Asked::Send { channel, csn, presented } => self.sent(now, &channel, csn, &presented, answer),
            Asked::Read { channel, mark } => match answer {
                Err(error) if !error.is_final => self.keep_mark(channel, mark),
                _ => {}
            },
            Asked::Presence => {
                if let Some(there) = answer.ok().and_then(|raw| raw.read::<ThereNow>().ok()) {
                    self.events.push_back(Event::There(there.there));
                }
            }
            Asked::Request { tag, command } => match answer {
                Err(error) if !error.is_final => {
                    let at = now + error.retry_after.map_or(RETRY, Duration::from_millis);
                    self.waiting.push((Some(at), tag, *command));
                }
                answer => {
                    self.saw_page(&command, &answer);
                    self.answers.push_back((tag, answer));
                }
            },
            Asked::Nothing => {}
        }
        Verdict::Fine
    }

    fn connected(&mut self, now: Instant, answer: Result<Raw, Error>) -> Verdict {
        let welcome = match answer {
            Ok(raw) => raw.read::<Connected>(),
            Err(error) if error.is_final => return Verdict::Over(error),
            Err(error) => return Verdict::Again(error.retry_after.map(Duration::from_millis)),
        };
        let Ok(welcome) = welcome else { return Verdict::Again(None) };
        self.link = Link::Up;
        self.user.clone_from(&welcome.user);
        self.ping = Duration::from_millis(welcome.ping.clamp(1_000, 600_000));
        self.events.push_back(Event::Connected { user: welcome.user, calls: welcome.calls });
        let mut named = Vec::new();
        for resumed in welcome.channels {
            match (resumed.ok, resumed.error) {
                (Some(ok), _) => self.begin(now, &resumed.channel, &ok),
                (None, Some(error)) => self.refused(now, &resumed.channel, error),
                (None, None) => continue,
            }
            named.push(resumed.channel);
        }
        let names: Vec<String> = self.channels.keys().cloned().collect();
        for name in names {
            if !named.contains(&name) {
                self.subscribe(now, &name);
            }
            self.pump(now, &name);
        }
        if !self.watched.is_empty() {
            self.tell_presence(now);
        }
        self.tell_marks(now);
        let ready = |(at, ..): &mut (Option<Instant>, u64, Command)| at.is_none();
        for (_, tag, command) in self.waiting.extract_if(.., ready).collect::<Vec<_>>() {
            self.ask(now, tag, command);
        }
        Verdict::Fine
    }

    fn begin(&mut self, now: Instant, name: &str, subscribed: &Subscribed) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if channel.wanted.is_none() {
            return;
        }
        channel.begin(subscribed);
        let state = Box::new(subscribed.state.clone());
        self.events.push_back(Event::Subscribed { channel: name.to_owned(), state });
        self.pump(now, name);
    }

    /// A subscription was refused.
    fn refused(&mut self, now: Instant, name: &str, error: Error) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let lost =
            matches!(error.code, ErrorCode::BadCursor | ErrorCode::BeyondHead) && channel.cursor.is_some();
        if lost {
            channel.reset(None);
            let why = ResetReason::Refused(error.code);
            self.events.push_back(Event::Reset { channel: name.to_owned(), why });
            self.subscribe(now, name);
        } else if error.is_final {
            (channel.wanted, channel.cursor) = (None, None);
            self.events.push_back(Event::Gone { channel: name.to_owned(), why: error });
        } else {
            channel.retry = Some(now + error.retry_after.map_or(RETRY, Duration::from_millis));
        }
    }

    fn sent(&mut self, now: Instant, name: &str, csn: u64, presented: &[String], answer: Result<Raw, Error>) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        let answer = match answer {
            Ok(raw) => raw.read::<Sent>().map_err(|_| None),
            Err(error) => Err(Some(error)),
        };
        let settled = match answer {
            Ok(sent) => {
                sent.event.split('.').next().unwrap_or_default().clone_into(&mut channel.region);
                channel.covered(presented, &sent.token);
                channel.outbox.accepted(csn, &sent.event)
            }
            Err(Some(error)) => channel.outbox.refused(now, csn, &error),
            // An answer that cannot be read is none: the send is tried again on the next connection.
            Err(None) => Vec::new(),
        };
        self.settle(name, settled);
        self.pump(now, name);
    }

    fn settle(&mut self, name: &str, settled: Settled) {
        for (csn, outcome) in settled {
            self.events.push_back(Event::Sent { channel: name.to_owned(), csn, outcome });
        }
    }

    fn push(&mut self, now: Instant, push: Push) {
        match push {
            Push::Events(events) => self.stream(now, events),
            Push::Reset(reset) => {
                if let Some(channel) = self.channels.get_mut(&reset.channel) {
                    channel.reset(Some(reset.cursor));
                }
                self.events
                    .push_back(Event::Reset { channel: reset.channel, why: ResetReason::Said(reset.why) });
            }
            Push::Removed(removed) => {
                if let Some(channel) = self.channels.get_mut(&removed.channel) {
                    (channel.wanted, channel.cursor) = (None, None);
                }
                self.marks.remove(&removed.channel);
                let why = Error {
                    id: Some(removed.id),
                    ..Error::last(ErrorCode::Removed, "not a member of this channel any more")
                };
                self.events.push_back(Event::Gone { channel: removed.channel, why });
            }
            other => self.events.push_back(Event::Push(Box::new(other))),
        }
    }

    fn stream(&mut self, now: Instant, Events { channel: name, cursor, items }: Events) {
        let Some(channel) = self.channels.get_mut(&name) else { return };
        if channel.wanted.is_none() {
            return;
        }
        let mut foreign = false;
        for item in items {
            match channel.next(&item) {
                Next::New => {}
                Next::Known => continue,
                Next::Gap => return self.subscribe(now, &name),
            }
            if let Some(from) = &item.from {
                foreign |= from.user != self.user;
                if let Some(csn) = item.csn.filter(|_| from.device == self.device && from.user == self.user) {
                    let settled = channel.outbox.accepted(csn, &item.id);
                    let own = settled.into_iter();
                    self.events.extend(own.map(|(csn, outcome)| Event::Sent {
                        channel: name.clone(),
                        csn,
                        outcome,
                    }));
                }
            }
            self.events.push_back(Event::Item { channel: name.clone(), item: Box::new(item) });
        }
        self.moves += 1;
        channel.moved = self.moves;
        channel.cursor = Some(cursor.clone());
        if foreign {
            self.marks.entry(name).or_default().delivered = Some(cursor);
            self.tell_marks(now);
        }
    }

    fn saw_page(&mut self, command: &Command, answer: &Result<Raw, Error>) {
        let (Command::History(History { channel, .. }), Ok(raw)) = (command, answer) else { return };
        if let (Some(channel), Ok(page)) = (self.channels.get_mut(channel), raw.read::<Page>()) {
            channel.saw(&page.token);
        }
    }

    fn tell_presence(&mut self, now: Instant) {
        if self.is_up() {
            let watch = self.watched.clone();
            self.issue(now, Command::Presence(Presence { watch }), Asked::Presence);
        }
    }

    fn tell_marks(&mut self, now: Instant) {
        let due = self.marked.is_none_or(|marked| now >= marked + MARKS);
        if !self.is_up() || !due || self.marks.is_empty() {
            return;
        }
        self.marked = Some(now);
        for (channel, mark) in std::mem::take(&mut self.marks) {
            let Mark { cursor, upto, delivered } = mark.clone();
            let command = Command::Read(Read { channel: channel.clone(), cursor, upto, delivered });
            self.issue(now, command, Asked::Read { channel, mark });
        }
    }

    /// A mark that was not taken is told again, unless a later one waits.
    fn keep_mark(&mut self, channel: String, mark: Mark) {
        let kept = self.marks.entry(channel).or_default();
        if kept.cursor.is_none() {
            (kept.cursor, kept.upto) = (mark.cursor, mark.upto);
        }
        kept.delivered = kept.delivered.take().or(mark.delivered);
    }
}
