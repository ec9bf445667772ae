//! The thread behind a room: drives the endpoint, sends frames, hands out packets and messages.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use base::model::DataKind;
use base::{MediaKind, Mid};
use bytes::Bytes;
use rtc::{ChannelError, Clock, CloseReason, SendSection, WallClock};
use tokio::sync::oneshot;
use udp::{Poller, Slab, Waker};
use wire::media::Received;

use crate::counters::{Shared, Stage};
use crate::data;
use crate::endpoint::{Endpoint, Outgoing};
use crate::event::{Event, Packet};
use crate::negotiation::{Agreed, Uplink};
use crate::vp8::Packetizer;

/// Commands that wait for the thread: seconds of audio and video frames.
const COMMANDS: usize = 1_024;
/// Messages that wait for the data channel to take them.
const MAX_WAITING: usize = 256;
/// Of the event queue's places, those that packets leave free for everything else.
const RESERVED: usize = 64;

/// What the thread is told.
pub(crate) enum Command {
    /// An answer came.
    Agreed(Box<Agreed>),
    /// Another address of the server.
    Candidate(SocketAddr),
    /// A frame of an own track.
    Frame(Frame),
    /// A data message.
    Message(data::Outgoing),
    /// Say goodbye and end.
    Close,
}

/// An encoded frame.
pub(crate) struct Frame {
    pub mid: Mid,
    pub timestamp: u32,
    /// RFC 6464 byte, audio alone.
    pub level: Option<u8>,
    pub payload: Bytes,
}

/// Tells the thread things.
#[derive(Clone)]
pub(crate) struct Sender {
    commands: async_channel::Sender<Command>,
    waker: Waker,
}

impl Sender {
    /// `false`: the thread is gone or far behind.
    pub fn send(&self, command: Command) -> bool {
        let sent = self.commands.try_send(command).is_ok();
        self.waker.wake();
        sent
    }
}

/// The thread, ended when this is dropped.
pub(crate) struct Thread {
    pub sender: Sender,
    /// Fires when media and both data channels are up.
    pub ready: Option<oneshot::Receiver<()>>,
    /// Fires with the reason when the connection ends by itself.
    pub ended: oneshot::Receiver<CloseReason>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        // The queue may be full of frames; closed, the thread ends when it has read them.
        self.sender.send(Command::Close);
        self.sender.commands.close();
        self.sender.waker.wake();
        if let Some(handle) = self.handle.take() {
            // It ends within a tick. A panic in it has been printed.
            let _ = handle.join();
        }
    }
}

/// Starts the thread. `now` and `clock` are those that the endpoint was made with.
pub(crate) fn spawn(
    endpoint: Endpoint,
    clock: WallClock,
    shared: Arc<Shared>,
    events: async_channel::Sender<Event>,
    packets: bool,
) -> io::Result<Thread> {
    let poller = Poller::new()?;
    let (commands, queue) = async_channel::bounded(COMMANDS);
    let (tell_ready, ready) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();
    let sender = Sender { commands, waker: poller.waker() };
    let mut media = Media {
        endpoint,
        clock,
        queue,
        sink: Sink { shared, events, packets, tracks: BTreeMap::new() },
        streams: BTreeMap::new(),
        messages: VecDeque::new(),
        sequence: 0,
        channels: 0,
        remote: false,
        tell_ready: Some(tell_ready),
    };
    let handle = std::thread::Builder::new().name("client media".to_owned()).spawn(move || {
        let reason = media.run(&poller);
        // Nobody listens after a goodbye of our own.
        let _ = tell_ended.send(reason);
    })?;
    Ok(Thread { sender, ready: Some(ready), ended, handle: Some(handle) })
}

/// An own track.
struct Stream {
    cid: Arc<str>,
    outgoing: Outgoing,
    packetizer: Option<Packetizer>,
}

impl Stream {
    fn new(section: &SendSection, cid: Arc<str>) -> Self {
        // The lower half leaves room before the first wrap.
        let random = rand::random::<u16>() & 0x7fff;
        Self {
            cid,
            outgoing: Outgoing::new(section.mid, Uplink::codec(section.media), random),
            packetizer: (section.media == MediaKind::Video).then(|| Packetizer::new(random)),
        }
    }
}

struct Media {
    endpoint: Endpoint,
    clock: WallClock,
    queue: async_channel::Receiver<Command>,
    sink: Sink,
    streams: BTreeMap<Mid, Stream>,
    /// Messages for channels that are full or not open yet.
    messages: VecDeque<data::Outgoing>,
    sequence: u32,
    /// Of our two data channels, those that are open.
    channels: usize,
    /// The server is known.
    remote: bool,
    tell_ready: Option<oneshot::Sender<()>>,
}

/// Where packets go.
struct Sink {
    shared: Arc<Shared>,
    events: async_channel::Sender<Event>,
    packets: bool,
    tracks: BTreeMap<Mid, Arc<str>>,
}

impl Media {
    fn run(&mut self, poller: &Poller) -> CloseReason {
        let mut slab = Slab::new();
        let now = Instant::now();
        for kind in [DataKind::Reliable, DataKind::Lossy] {
            let lossy = kind == DataKind::Lossy;
            self.endpoint.peer().open_channel(now, data::label(kind), !lossy, lossy.then_some(0));
        }
        loop {
            let now = Instant::now();
            self.take_commands(now);
            let sink = &mut self.sink;
            let received =
                self.endpoint.receive(now, &mut slab, |packet, payload| sink.packet(packet, payload));
            let ended = self.take_events(now);
            self.send_messages(now);
            self.endpoint.flush(now);
            self.sink.shared.counters().transport = *self.endpoint.peer().counters();
            match ended {
                Some(reason) => return reason,
                // A socket that cannot be read ends like a connection on which nothing arrives.
                None if received.is_err() => return CloseReason::IceTimeout,
                None => {}
            }
            let due = self.endpoint.peer().poll_timeout();
            let done = Instant::now();
            self.sink.shared.worked(done.saturating_duration_since(now));
            let timeout = due.map(|due| due.saturating_duration_since(done));
            if poller.wait(self.endpoint.socket(), timeout).is_err() {
                return CloseReason::IceTimeout;
            }
        }
    }

    fn take_commands(&mut self, now: Instant) {
        loop {
            match self.queue.try_recv() {
                Ok(Command::Agreed(agreed)) => self.agreed(now, *agreed),
                Ok(Command::Candidate(address)) => self.endpoint.peer().add_remote_candidate(now, address),
                Ok(Command::Frame(frame)) => self.frame(now, &frame),
                Ok(Command::Message(message)) => {
                    if self.messages.len() < MAX_WAITING {
                        self.messages.push_back(message);
                    } else {
                        self.sink.shared.counters().unsent_messages += 1;
                    }
                }
                Err(async_channel::TryRecvError::Empty) => return,
                Ok(Command::Close) | Err(async_channel::TryRecvError::Closed) => {
                    return self.endpoint.peer().close(now);
                }
            }
        }
    }

    fn agreed(&mut self, now: Instant, agreed: Agreed) {
        self.sink.shared.reached(Stage::Answered, now);
        self.sink.tracks = agreed.tracks;
        self.endpoint.peer().set_sections(now, &agreed.receive, &agreed.send);
        if !std::mem::replace(&mut self.remote, true) {
            self.endpoint.connect(now, &agreed.remote);
        }
        self.streams.retain(|mid, _| agreed.cids.contains_key(mid));
        for section in &agreed.send {
            let Some(cid) = agreed.cids.get(&section.mid) else { continue };
            self.streams.entry(section.mid).or_insert_with(|| Stream::new(section, cid.clone()));
        }
    }

    fn frame(&mut self, now: Instant, frame: &Frame) {
        let sent = self.send_frame(now, frame);
        let mut counters = self.sink.shared.counters();
        counters.sent_packets += sent;
        counters.unsent_frames += u64::from(sent == 0);
    }

    /// Returns the number of packets.
    fn send_frame(&mut self, now: Instant, frame: &Frame) -> u64 {
        let Some(stream) = self.streams.get_mut(&frame.mid) else { return 0 };
        let Some(index) = self.endpoint.peer().send_index(frame.mid) else { return 0 };
        let clock = Clock { ntp: self.clock.ntp(now), rtp: frame.timestamp, at: now };
        self.endpoint.peer().set_clock(index, clock);
        stream.outgoing.audio_level = frame.level;
        let Some(packetizer) = &mut stream.packetizer else {
            let sent = self.endpoint.send(now, &mut stream.outgoing, frame.timestamp, false, &frame.payload);
            return u64::from(sent);
        };
        let packets = packetizer.packets(&frame.payload);
        let last = packets.len().saturating_sub(1);
        let mut sent = 0;
        for (at, packet) in packets.iter().enumerate() {
            let marker = at == last;
            sent += u64::from(self.endpoint.send(now, &mut stream.outgoing, frame.timestamp, marker, packet));
        }
        sent
    }

    fn send_messages(&mut self, now: Instant) {
        while let Some(message) = self.messages.front() {
            let reliable = message.kind == DataKind::Reliable;
            let (label, sequence) = (data::label(message.kind), if reliable { self.sequence + 1 } else { 0 });
            let bytes = data::encode(message.clone(), sequence);
            match self.endpoint.peer().send_message(now, label, false, &bytes) {
                Ok(()) if reliable => self.sequence += 1,
                Ok(()) => {}
                // Not open yet, or full: it goes with a later turn, and everything behind it keeps its order.
                Err(ChannelError::NoSuchChannel) => return,
                Err(ChannelError::Full) if reliable => return,
                Err(ChannelError::Full | ChannelError::TooLarge) => {
                    self.sink.shared.counters().unsent_messages += 1;
                }
            }
            self.messages.pop_front();
        }
    }

    /// Returns the reason when the connection is over.
    fn take_events(&mut self, now: Instant) -> Option<CloseReason> {
        while let Some(event) = self.endpoint.peer().poll_event() {
            match event {
                rtc::Event::DtlsConnected => self.sink.shared.reached(Stage::Connected, now),
                rtc::Event::ChannelOpen { .. } => self.channel_open(now),
                rtc::Event::Data { label, payload, .. } => {
                    if let Some(message) = data::decode(&label, &payload) {
                        self.sink.event(Event::Data(message));
                    }
                }
                rtc::Event::KeyframeRequest { mid } => {
                    if let Some(stream) = self.streams.get(&mid) {
                        self.sink.event(Event::KeyframeRequested { cid: stream.cid.clone() });
                    }
                }
                rtc::Event::Closed(reason) => return Some(reason),
                _ => {}
            }
        }
        None
    }

    fn channel_open(&mut self, now: Instant) {
        self.channels += 1;
        if self.channels == 2
            && let Some(tell) = self.tell_ready.take()
        {
            self.sink.shared.reached(Stage::Ready, now);
            // Nobody waits when connecting was given up.
            let _ = tell.send(());
        }
    }
}

impl Sink {
    fn packet(&mut self, received: &Received, payload: &[u8]) {
        self.shared.reached(Stage::FirstPacket, received.arrival);
        let mut counters = self.shared.counters();
        let Some(track) = self.tracks.get(&received.mid) else {
            counters.unknown_packets += 1;
            return;
        };
        counters.tracks.entry(track.clone()).or_default().count(received);
        let room = self.events.capacity().is_none_or(|capacity| self.events.len() + RESERVED < capacity);
        if self.packets && !room {
            counters.events_dropped += 1;
        }
        drop(counters);
        if self.packets && room {
            self.event(Event::Packet(Packet {
                track: track.clone(),
                kind: received.media,
                codec: received.codec,
                sequence: received.sequence,
                timestamp: received.timestamp,
                marker: received.marker,
                payload: Bytes::copy_from_slice(payload),
                arrival: received.arrival,
            }));
        }
    }

    fn event(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.shared.counters().events_dropped += 1;
        }
    }
}
