//! The thread behind a room: drives the endpoint, sends frames, hands out packets, frames and messages.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::model::DataKind;
use base::{CodecKind, Mid};
use bytes::Bytes;
use rtc::{ChannelError, Clock, CloseReason, IceCredentials, SendSection, WallClock};
use tokio::sync::{mpsc, oneshot};
use udp::{Poller, Slab, Socket, Waker};
use wire::media::Received;

use crate::counters::{Shared, Stage};
use crate::data;
use crate::endpoint::{Endpoint, Outgoing};
use crate::event::{Event, Packet};
use crate::frames::Assembler;
use crate::h264;
use crate::known::Known;
use crate::negotiation::Agreed;
use crate::vp8::Packetizer;

/// Commands that wait for the thread: seconds of audio and video frames.
const COMMANDS: usize = 1_024;
/// Messages that wait for the data channel to take them.
const MAX_WAITING: usize = 256;
/// Of the event queue's places, those that packets leave free for everything else.
const RESERVED: usize = 64;
/// What the thread has to say and is not read yet: a few of one session.
const TOLD: usize = 16;
/// Silence after which the path is taken for broken: two of ICE's checks, which come every 3 s at most, went unanswered.
const SILENCE: Duration = Duration::from_secs(7);

/// What the thread is told.
pub(crate) enum Command {
    /// An answer came.
    Agreed(Box<Agreed>),
    /// Another address of the server.
    Candidate(SocketAddr),
    /// A frame of an own track.
    Frame(Outbound),
    /// A data message.
    Message(data::Outgoing),
    /// Ask for a keyframe of this track.
    Keyframe(Arc<str>),
    /// ICE begins anew with these credentials' seed, on another socket where there is one.
    Restart { generation: u32, seed: u64, socket: Option<Socket> },
    /// Reliable messages after this one go once more.
    Replay(u32),
    /// A new connection takes the place of this one.
    Replace(Box<Replacement>),
    /// Say goodbye and end.
    Close,
}

/// A connection that begins.
pub(crate) struct Replacement {
    pub generation: u32,
    pub endpoint: Endpoint,
    pub clock: WallClock,
    /// Told when media and both data channels are up.
    pub ready: oneshot::Sender<()>,
}

/// An encoded frame.
pub(crate) struct Outbound {
    pub cid: Arc<str>,
    pub layer: u8,
    pub timestamp: u32,
    /// RFC 6464 byte, audio alone.
    pub level: Option<u8>,
    pub payload: Bytes,
}

/// What the thread says of the connection that has this generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// It is over.
    Closed(u32, CloseReason),
    /// Nothing has come for [`SILENCE`].
    Silent(u32),
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

    /// The same, for what must not be dropped: waits until the thread takes it.
    pub async fn send_surely(&self, command: Command) {
        // An error means that the thread is gone, which it says by itself.
        let _ = self.commands.send(command).await;
        self.waker.wake();
    }
}

/// The thread, ended when this is dropped.
pub(crate) struct Thread {
    pub sender: Sender,
    /// What it says; its end when the thread is gone.
    pub told: mpsc::Receiver<Told>,
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

/// Where what comes goes, and what of it.
pub(crate) struct Outlet {
    pub shared: Arc<Shared>,
    pub known: Arc<Known>,
    pub events: async_channel::Sender<Event>,
    pub packets: bool,
    pub frames: bool,
}

/// Starts the thread with its first connection.
pub(crate) fn spawn(first: Replacement, outlet: Outlet) -> io::Result<Thread> {
    let poller = Poller::new()?;
    let (commands, queue) = async_channel::bounded(COMMANDS);
    let (tell, told) = mpsc::channel(TOLD);
    let sender = Sender { commands, waker: poller.waker() };
    let mut media = Media {
        endpoint: first.endpoint,
        clock: first.clock,
        generation: first.generation,
        queue,
        sink: Sink { outlet, tracks: BTreeMap::new(), assemblers: BTreeMap::new(), starved: Vec::new() },
        streams: BTreeMap::new(),
        messages: VecDeque::new(),
        sent: data::Sent::default(),
        replayed: VecDeque::new(),
        sequence: 0,
        channels: 0,
        remote: None,
        heard: None,
        over: false,
        tell,
        tell_ready: Some(first.ready),
    };
    let handle =
        std::thread::Builder::new().name("client media".to_owned()).spawn(move || media.run(&poller))?;
    Ok(Thread { sender, told, handle: Some(handle) })
}

/// One encoding of an own track.
struct Stream {
    outgoing: Outgoing,
    packetizer: Packetize,
}

/// How its frames are cut.
enum Packetize {
    Whole,
    Vp8(Packetizer),
    H264,
}

impl Stream {
    fn new(section: &SendSection) -> Self {
        // The lower half leaves room before the first wrap.
        let random = rand::random::<u16>() & 0x7fff;
        let codec = section.codecs.first().map_or(CodecKind::Opus, |codec| codec.kind);
        let packetizer = match codec {
            CodecKind::Vp8 => Packetize::Vp8(Packetizer::new(random)),
            CodecKind::H264 => Packetize::H264,
            _ => Packetize::Whole,
        };
        Self { outgoing: Outgoing::new(section.mid, codec, random), packetizer }
    }
}

struct Media {
    endpoint: Endpoint,
    clock: WallClock,
    /// Counts connections and restarts, so that what is said of an earlier one is known as such.
    generation: u32,
    queue: async_channel::Receiver<Command>,
    sink: Sink,
    /// By track and layer.
    streams: BTreeMap<(Arc<str>, u8), Stream>,
    /// Messages for channels that are full or not open yet.
    messages: VecDeque<data::Outgoing>,
    sent: data::Sent,
    /// Reliable messages that go once more, before all others.
    replayed: VecDeque<Bytes>,
    sequence: u32,
    /// Of our two data channels, those that are open.
    channels: usize,
    /// The server's credentials, once they are known.
    remote: Option<IceCredentials>,
    /// When the last datagram came, while the connection is up.
    heard: Option<Instant>,
    /// The connection has ended; another may come.
    over: bool,
    tell: mpsc::Sender<Told>,
    tell_ready: Option<oneshot::Sender<()>>,
}

/// Where packets go.
struct Sink {
    outlet: Outlet,
    tracks: BTreeMap<Mid, Arc<str>>,
    assemblers: BTreeMap<Mid, Assembler>,
    /// Sections of which a keyframe is needed.
    starved: Vec<Mid>,
}

impl Media {
    fn run(&mut self, poller: &Poller) {
        let mut slab = Slab::new();
        self.open_channels(Instant::now());
        loop {
            let now = Instant::now();
            if !self.take_commands(now) {
                self.endpoint.peer().close(now);
                return self.endpoint.flush(now);
            }
            let sink = &mut self.sink;
            let received =
                self.endpoint.receive(now, &mut slab, |packet, payload| sink.packet(packet, payload));
            self.listen(now, &received);
            self.take_events(now);
            self.ask_for_keyframes(now);
            self.send_messages(now);
            self.endpoint.flush(now);
            self.sink.outlet.shared.counters().transport = *self.endpoint.peer().counters();
            // A socket that cannot be read is like a path on which nothing arrives.
            if received.is_err() {
                self.close(CloseReason::IceTimeout);
            }
            let silent = self.heard.map(|heard| heard + SILENCE);
            let due = self.endpoint.peer().poll_timeout().into_iter().chain(silent).min();
            let done = Instant::now();
            self.sink.outlet.shared.worked(done.saturating_duration_since(now));
            let timeout = due.map(|due| due.saturating_duration_since(done));
            if poller.wait(self.endpoint.socket(), timeout).is_err() {
                return self.close(CloseReason::IceTimeout);
            }
        }
    }

    fn open_channels(&mut self, now: Instant) {
        for kind in [DataKind::Reliable, DataKind::Lossy] {
            let lossy = kind == DataKind::Lossy;
            self.endpoint.peer().open_channel(now, data::label(kind), !lossy, lossy.then_some(0));
        }
    }

    /// Notes that the other side is there, and says when it was not for too long.
    fn listen(&mut self, now: Instant, received: &io::Result<usize>) {
        let Some(heard) = &mut self.heard else { return };
        if received.as_ref().is_ok_and(|count| *count > 0) {
            *heard = now;
        } else if now >= *heard + SILENCE {
            self.heard = None;
            // The task behind the room reads what it is told; while it reconnects it has no need to.
            let _ = self.tell.try_send(Told::Silent(self.generation));
        }
    }

    /// The connection has ended.
    fn close(&mut self, reason: CloseReason) {
        if !std::mem::replace(&mut self.over, true) {
            self.heard = None;
            let _ = self.tell.try_send(Told::Closed(self.generation, reason));
        }
    }

    /// `false`: it is over.
    fn take_commands(&mut self, now: Instant) -> bool {
        loop {
            match self.queue.try_recv() {
                Ok(Command::Close) | Err(async_channel::TryRecvError::Closed) => return false,
                Ok(command) => self.command(now, command),
                Err(async_channel::TryRecvError::Empty) => return true,
            }
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Agreed(agreed) => self.agreed(now, *agreed),
            Command::Candidate(address) => self.endpoint.peer().add_remote_candidate(now, address),
            Command::Frame(frame) => self.frame(now, &frame),
            Command::Message(message) => self.message(message),
            Command::Keyframe(track) => {
                let mut sections = self.sink.tracks.iter();
                if let Some((mid, _)) = sections.find(|(_, of)| **of == track) {
                    self.endpoint.peer().request_keyframe(now, *mid, 0);
                }
            }
            Command::Restart { generation, seed, socket } => {
                self.generation = generation;
                self.endpoint.restart(now, seed, socket);
            }
            Command::Replay(sequence) => self.replayed = self.sent.after(sequence).into(),
            Command::Replace(replacement) => self.replace(now, *replacement),
            Command::Close => {}
        }
    }

    fn message(&mut self, message: data::Outgoing) {
        if self.messages.len() < MAX_WAITING {
            self.messages.push_back(message);
        } else {
            self.sink.outlet.shared.counters().unsent_messages += 1;
        }
    }

    fn replace(&mut self, now: Instant, replacement: Replacement) {
        self.endpoint.peer().close(now);
        self.endpoint.flush(now);
        self.endpoint = replacement.endpoint;
        self.clock = replacement.clock;
        self.generation = replacement.generation;
        self.tell_ready = Some(replacement.ready);
        self.streams.clear();
        self.sink.tracks.clear();
        self.sink.assemblers.clear();
        // What the earlier session of ours had not got is nobody's now.
        (self.sent, self.replayed) = (data::Sent::default(), VecDeque::new());
        (self.channels, self.remote, self.heard, self.over) = (0, None, None, false);
        self.open_channels(now);
    }

    fn agreed(&mut self, now: Instant, agreed: Agreed) {
        self.sink.outlet.shared.reached(Stage::Answered, now);
        self.sink.assemblers.retain(|mid, of| agreed.tracks.get(mid).is_some_and(|track| of.is_of(track)));
        self.sink.tracks = agreed.tracks;
        self.endpoint.peer().set_sections(now, &agreed.receive, &agreed.send);
        if self.remote.as_ref() != Some(&agreed.remote.credentials) {
            self.endpoint.connect(now, &agreed.remote);
            self.remote = Some(agreed.remote.credentials);
        }
        self.streams.retain(|key, _| agreed.layers.contains(key));
        for (section, key) in agreed.send.iter().zip(agreed.layers) {
            self.streams.entry(key).or_insert_with(|| Stream::new(section));
        }
    }

    fn frame(&mut self, now: Instant, frame: &Outbound) {
        let (packets, bytes) = self.send_frame(now, frame);
        let mut counters = self.sink.outlet.shared.counters();
        counters.sent_packets += packets;
        counters.sent_bytes += bytes;
        counters.unsent_frames += u64::from(packets == 0);
    }

    /// Returns the number of packets and of their bytes.
    fn send_frame(&mut self, now: Instant, frame: &Outbound) -> (u64, u64) {
        let Some(stream) = self.streams.get_mut(&(frame.cid.clone(), frame.layer)) else { return (0, 0) };
        let Some(index) = self.endpoint.peer().send_index(stream.outgoing.mid) else { return (0, 0) };
        let clock = Clock { ntp: self.clock.ntp(now), rtp: frame.timestamp, at: now };
        self.endpoint.peer().set_clock(index, clock);
        stream.outgoing.audio_level = frame.level;
        let packets = match &mut stream.packetizer {
            Packetize::Whole => {
                let sent =
                    self.endpoint.send(now, &mut stream.outgoing, frame.timestamp, false, &frame.payload);
                return (u64::from(sent), if sent { frame.payload.len() as u64 } else { 0 });
            }
            Packetize::Vp8(packetizer) => packetizer.packets(&frame.payload),
            Packetize::H264 => h264::packets(&frame.payload),
        };
        let last = packets.len().saturating_sub(1);
        let (mut count, mut bytes) = (0, 0);
        for (at, packet) in packets.iter().enumerate() {
            let marker = at == last;
            if self.endpoint.send(now, &mut stream.outgoing, frame.timestamp, marker, packet) {
                count += 1;
                bytes += packet.len() as u64;
            }
        }
        (count, bytes)
    }

    fn ask_for_keyframes(&mut self, now: Instant) {
        for mid in std::mem::take(&mut self.sink.starved) {
            self.endpoint.peer().request_keyframe(now, mid, 0);
        }
    }

    fn send_replayed(&mut self, now: Instant) -> bool {
        while let Some(encoded) = self.replayed.front() {
            let label = data::label(DataKind::Reliable);
            if self.endpoint.peer().send_message(now, label, false, encoded).is_err() {
                return false;
            }
            self.replayed.pop_front();
        }
        true
    }

    fn send_messages(&mut self, now: Instant) {
        if !self.send_replayed(now) {
            return;
        }
        while let Some(message) = self.messages.front() {
            let reliable = message.kind == DataKind::Reliable;
            let (label, sequence) = (data::label(message.kind), if reliable { self.sequence + 1 } else { 0 });
            let bytes: Bytes = data::encode(message.clone(), sequence).into();
            match self.endpoint.peer().send_message(now, label, false, &bytes) {
                Ok(()) if reliable => {
                    self.sequence = sequence;
                    self.sent.push(sequence, bytes);
                }
                Ok(()) => {}
                // Not open yet, or full: it goes with a later turn, and everything behind it keeps its order.
                Err(ChannelError::NoSuchChannel) => return,
                Err(ChannelError::Full) if reliable => return,
                Err(ChannelError::Full | ChannelError::TooLarge) => {
                    self.sink.outlet.shared.counters().unsent_messages += 1;
                }
            }
            self.messages.pop_front();
        }
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.peer().poll_event() {
            match event {
                rtc::Event::DtlsConnected => {
                    self.sink.outlet.shared.reached(Stage::Connected, now);
                    self.heard = Some(now);
                }
                rtc::Event::ChannelOpen { .. } => self.channel_open(now),
                rtc::Event::Data { label, payload, .. } => self.sink.data(&label, &payload),
                rtc::Event::KeyframeRequest { mid } => self.keyframe_requested(mid),
                rtc::Event::Closed(reason) => self.close(reason),
                _ => {}
            }
        }
    }

    fn keyframe_requested(&mut self, mid: Mid) {
        let mut streams = self.streams.iter();
        if let Some(((cid, layer), _)) = streams.find(|(_, stream)| stream.outgoing.mid == mid) {
            self.sink.event(Event::KeyframeRequested { cid: cid.clone(), layer: *layer });
        }
    }

    fn channel_open(&mut self, now: Instant) {
        self.channels += 1;
        if self.channels == 2
            && let Some(tell) = self.tell_ready.take()
        {
            self.sink.outlet.shared.reached(Stage::Ready, now);
            // Nobody waits when connecting was given up.
            let _ = tell.send(());
        }
    }
}

impl Sink {
    fn packet(&mut self, received: &Received, payload: &[u8]) {
        let outlet = &self.outlet;
        outlet.shared.reached(Stage::FirstPacket, received.arrival);
        let mut counters = outlet.shared.counters();
        let Some(track) = self.tracks.get(&received.mid) else {
            counters.unknown_packets += 1;
            return;
        };
        counters.count(track, received);
        drop(counters);
        if outlet.packets {
            outlet.media(Event::Packet(Packet {
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
        if outlet.frames {
            let assembler =
                self.assemblers.entry(received.mid).or_insert_with(|| Assembler::new(track.clone()));
            let starved = assembler.push(received, payload, |frame| outlet.media(Event::Frame(frame)));
            if starved && !self.starved.contains(&received.mid) {
                self.starved.push(received.mid);
            }
        }
    }

    fn data(&self, label: &str, payload: &[u8]) {
        let Some(incoming) = data::decode(label, payload) else { return };
        let counted = incoming.sequence > 0 && !incoming.sender.is_empty();
        if !counted || self.outlet.known.receive(&incoming.sender, incoming.sequence) {
            self.event(Event::Data(incoming.message));
        }
    }

    fn event(&self, event: Event) {
        self.outlet.event(event);
    }
}

impl Outlet {
    /// Media leaves places for everything else.
    fn media(&self, event: Event) {
        if self.events.capacity().is_none_or(|capacity| self.events.len() + RESERVED < capacity) {
            self.event(event);
        } else {
            self.shared.counters().events_dropped += 1;
        }
    }

    fn event(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.shared.counters().events_dropped += 1;
        }
    }
}
