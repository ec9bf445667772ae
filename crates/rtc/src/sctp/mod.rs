//! Data channels: SCTP on `sctp-proto` (RFC 8831), opened with DCEP (RFC 8832).
//!
//! The side that is DTLS client opens the association and has the even stream ids; the other side waits and has the odd
//! ones. Messages are read from the association only while the owner takes them: what is not read shrinks the receive
//! window that the sender sees.

mod dcep;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dcep::{Message, Reliability};
use sctp_proto::{
    Association, AssociationHandle, Chunks, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig, Stream, StreamEvent, TransportConfig,
};

use crate::{Counters, DtlsRole};

/// Largest message that is sent or accepted, in bytes. Announce it in SDP (`a=max-message-size`).
pub const MAX_MESSAGE: usize = 65_536;
/// Bytes that may wait to be sent on one channel: four of the largest messages.
const MAX_BUFFERED: usize = 4 * MAX_MESSAGE;
/// What the other side may have on the way or unread: several of the largest messages, and 40 Mbit/s at 100 ms.
const RECEIVE_WINDOW: u32 = 512 * 1_024;
/// Open channels, ours and theirs. Applications use a handful.
const MAX_CHANNELS: usize = 64;
/// Streams in each direction, as announced: an id of either side for each of [`MAX_CHANNELS`], and as many whose reset is
/// still under way. The library takes every id, keeps state for each and looks through all of them with every DATA chunk,
/// so whoever uses others is cut off.
const MAX_STREAMS: u16 = 4 * MAX_CHANNELS as u16;
/// Data in an SCTP packet: what fits into [`crate::dtls::MTU`] with DTLS 1.2's record and explicit nonce, less SCTP's and
/// DATA's headers; a multiple of 4, since chunks are padded to one.
const MAX_PAYLOAD: u32 = (crate::dtls::MTU as u32 - 13 - 8 - 16 - 12 - 16) / 4 * 4;

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelError {
    /// No channel with this label is open.
    NoSuchChannel,
    /// Larger than [`MAX_MESSAGE`].
    TooLarge,
    /// The channel's send buffer is full: the receiver is slower than the sender.
    Full,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchChannel => "no channel with this label is open",
            Self::TooLarge => "the message is larger than 65,536 bytes",
            Self::Full => "the channel's send buffer is full",
        })
    }
}

impl std::error::Error for ChannelError {}

/// What the association tells the peer.
pub(crate) enum SctpEvent {
    Open { label: Arc<str>, ordered: bool, max_retransmits: Option<u16> },
    Closed { label: Arc<str> },
    Data { label: Arc<str>, text: bool, payload: Bytes },
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ChannelState {
    /// Our OPEN waits for its ACK.
    Opening,
    Open,
    /// We reset our side and wait for theirs.
    Closing,
}

struct Channel {
    id: u16,
    label: Arc<str>,
    ordered: bool,
    reliability: Reliability,
    state: ChannelState,
}

/// A channel that is to be opened.
struct Wanted {
    label: Arc<str>,
    ordered: bool,
    reliability: Reliability,
}

/// The association with its channels.
pub(crate) struct Sctp {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    role: DtlsRole,
    established: bool,
    channels: Vec<Channel>,
    wanted: Vec<Wanted>,
    /// Streams with something to read.
    readable: BTreeSet<u16>,
    paused: bool,
    events: VecDeque<SctpEvent>,
    out: VecDeque<Bytes>,
}

/// The library wants addresses; ours live in ICE.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5_000);

impl Sctp {
    /// DTLS is up. The DTLS client opens the association at once.
    pub(crate) fn new(role: DtlsRole) -> Self {
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PAYLOAD);
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport());
        let mut endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)));
        let association = (role == DtlsRole::Client)
            .then(|| {
                let mut client = ClientConfig::new();
                client.transport = Arc::new(transport());
                endpoint.connect(client, NOWHERE).ok()
            })
            .flatten();
        Self {
            endpoint,
            association,
            role,
            established: false,
            channels: Vec::new(),
            wanted: Vec::new(),
            readable: BTreeSet::new(),
            paused: false,
            events: VecDeque::new(),
            out: VecDeque::new(),
        }
    }

    /// One SCTP packet out of DTLS.
    pub(crate) fn receive(&mut self, now: Instant, packet: Bytes, counters: &mut Counters) {
        match self.endpoint.handle(now, NOWHERE, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) if self.association.is_none() => {
                self.association = Some((handle, association));
                // WebRTC has one association; others would only cost memory.
                self.endpoint.reject_new_associations();
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => match &mut self.association {
                Some((ours, association)) if *ours == handle => association.handle_event(event),
                _ => counters.sctp_unexpected += 1,
            },
            _ => counters.sctp_unexpected += 1,
        }
        self.pump(counters);
    }

    /// Opens a channel as soon as the association is up. Nothing happens when one with this label is there or wanted.
    pub(crate) fn open(
        &mut self,
        label: &str,
        ordered: bool,
        max_retransmits: Option<u16>,
        counters: &mut Counters,
    ) {
        let known = self.channels.iter().any(|c| c.state != ChannelState::Closing && *c.label == *label)
            || self.wanted.iter().any(|w| *w.label == *label);
        if known {
            return;
        }
        if self.wanted.len() + self.channels.len() >= MAX_CHANNELS || label.len() > dcep::MAX_LABEL {
            counters.channels_refused += 1;
            return;
        }
        let reliability =
            max_retransmits.map_or(Reliability::Reliable, |n| Reliability::Retransmits(u32::from(n)));
        self.wanted.push(Wanted { label: label.into(), ordered, reliability });
        self.open_wanted(counters);
    }

    /// Closes a channel from our side; the event follows when the other side has done the same.
    pub(crate) fn close(&mut self, label: &str) {
        self.wanted.retain(|wanted| *wanted.label != *label);
        let Some((_, association)) = &mut self.association else { return };
        let found = self.channels.iter_mut().find(|c| *c.label == *label && c.state != ChannelState::Closing);
        if let Some(channel) = found
            && let Ok(mut stream) = association.stream(channel.id)
            && stream.close().is_ok()
        {
            channel.state = ChannelState::Closing;
        }
    }

    pub(crate) fn send(&mut self, label: &str, text: bool, payload: &[u8]) -> Result<(), ChannelError> {
        if payload.len() > MAX_MESSAGE {
            return Err(ChannelError::TooLarge);
        }
        let open = |c: &&Channel| c.state == ChannelState::Open && *c.label == *label;
        let channel = self.channels.iter().find(open).ok_or(ChannelError::NoSuchChannel)?;
        let (_, association) = self.association.as_mut().ok_or(ChannelError::NoSuchChannel)?;
        let mut stream = association.stream(channel.id).map_err(|_| ChannelError::NoSuchChannel)?;
        if stream.buffered_amount().unwrap_or(0) + payload.len() > MAX_BUFFERED {
            return Err(ChannelError::Full);
        }
        // SCTP has no empty messages; RFC 8831 section 6.6 sends a byte that does not count.
        let (ppid, bytes) = match (text, payload.is_empty()) {
            (true, true) => (PayloadProtocolIdentifier::StringEmpty, &[0][..]),
            (false, true) => (PayloadProtocolIdentifier::BinaryEmpty, &[0][..]),
            (true, false) => (PayloadProtocolIdentifier::String, payload),
            (false, false) => (PayloadProtocolIdentifier::Binary, payload),
        };
        stream.write_with_ppi(bytes, ppid).map_err(|_| ChannelError::NoSuchChannel)?;
        Ok(())
    }

    /// While paused nothing is read.
    pub(crate) fn pause(&mut self, paused: bool, counters: &mut Counters) {
        self.paused = paused;
        self.pump(counters);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, counters: &mut Counters) {
        if let Some((_, association)) = &mut self.association
            && association.poll_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
        }
        self.pump(counters);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    pub(crate) fn poll_event(&mut self) -> Option<SctpEvent> {
        self.events.pop_front()
    }

    /// The next SCTP packet, for one DTLS record.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        while self.out.is_empty() {
            let from_endpoint = self.endpoint.poll_transmit();
            let association = self.association.as_mut();
            let transmit = from_endpoint.or_else(|| association.and_then(|(_, a)| a.poll_transmit(now)))?;
            if let Payload::RawEncode(packets) = transmit.payload {
                self.out.extend(packets);
            }
        }
        self.out.pop_front()
    }

    /// Labels of the channels that can be written to.
    pub(crate) fn open_labels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.iter().filter(|c| c.state == ChannelState::Open).map(|c| &c.label)
    }

    /// Takes what the association has to say, and reads messages while they are wanted. At most one batch of messages
    /// is queued: the owner drains the events and calls again.
    pub(crate) fn pump(&mut self, counters: &mut Counters) {
        self.take_events(counters);
        const BATCH: usize = 16;
        while !self.paused && self.events.len() < BATCH {
            let Some(id) = self.readable.first().copied() else { break };
            if !self.read_one(id, counters) {
                self.readable.remove(&id);
            }
            self.take_events(counters);
        }
    }

    fn take_events(&mut self, counters: &mut Counters) {
        while let Some((handle, association)) = &mut self.association {
            if let Some(event) = association.poll_endpoint_event() {
                if let Some(event) = self.endpoint.handle_event(*handle, event) {
                    association.handle_event(event);
                }
                continue;
            }
            let Some(event) = association.poll() else { break };
            self.handle_event(event, counters);
        }
    }

    fn handle_event(&mut self, event: Event, counters: &mut Counters) {
        match event {
            Event::Connected => {
                self.established = true;
                self.open_wanted(counters);
            }
            Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => {
                self.association = None;
                self.events.push_back(SctpEvent::Failed);
            }
            Event::Stream(StreamEvent::Readable { id }) => {
                self.readable.insert(id);
            }
            Event::Stream(StreamEvent::Opened { id }) if id >= MAX_STREAMS => {
                counters.sctp_unexpected += 1;
                self.association = None;
                self.events.push_back(SctpEvent::Failed);
            }
            Event::Stream(StreamEvent::Opened { id }) => {
                while self.association.as_mut().is_some_and(|(_, a)| a.accept_stream().is_some()) {}
                self.readable.insert(id);
            }
            Event::Stream(StreamEvent::Finished { id }) => self.finished(id),
            _ => {}
        }
    }

    fn finished(&mut self, id: u16) {
        self.readable.remove(&id);
        if let Some(at) = self.channels.iter().position(|channel| channel.id == id) {
            let channel = self.channels.remove(at);
            self.events.push_back(SctpEvent::Closed { label: channel.label });
        }
    }

    /// Reads one message; `false` when there is none.
    fn read_one(&mut self, id: u16, counters: &mut Counters) -> bool {
        let Some((_, association)) = &mut self.association else { return false };
        let Ok(mut stream) = association.stream(id) else { return false };
        let Ok(Some(chunks)) = stream.read_sctp() else { return false };
        let Some(payload) = contents(&chunks) else {
            counters.messages_dropped += 1;
            return true;
        };
        match chunks.ppi {
            PayloadProtocolIdentifier::Dcep => self.receive_dcep(id, &payload, counters),
            PayloadProtocolIdentifier::String => self.receive_data(id, true, payload, counters),
            PayloadProtocolIdentifier::Binary => self.receive_data(id, false, payload, counters),
            PayloadProtocolIdentifier::StringEmpty => self.receive_data(id, true, Bytes::new(), counters),
            PayloadProtocolIdentifier::BinaryEmpty => self.receive_data(id, false, Bytes::new(), counters),
            PayloadProtocolIdentifier::Unknown => counters.messages_dropped += 1,
        }
        true
    }

    fn receive_data(&mut self, id: u16, text: bool, payload: Bytes, counters: &mut Counters) {
        match self.channels.iter().find(|channel| channel.id == id) {
            Some(channel) => {
                self.events.push_back(SctpEvent::Data { label: channel.label.clone(), text, payload });
            }
            None => counters.messages_dropped += 1,
        }
    }

    fn receive_dcep(&mut self, id: u16, message: &[u8], counters: &mut Counters) {
        match Message::parse(message) {
            Some(Message::Open { label, ordered, reliability }) => {
                self.receive_open(id, label.into(), ordered, reliability, counters);
            }
            Some(Message::Ack) => self.acknowledged(id),
            None => {
                counters.dcep_malformed += 1;
                self.refuse(id);
            }
        }
    }

    fn receive_open(
        &mut self,
        id: u16,
        label: Arc<str>,
        ordered: bool,
        reliability: Reliability,
        counters: &mut Counters,
    ) {
        if self.channels.iter().any(|channel| channel.id == id) {
            counters.dcep_malformed += 1;
            return;
        }
        if self.channels.len() >= MAX_CHANNELS {
            counters.channels_refused += 1;
            return self.refuse(id);
        }
        let Some((_, association)) = &mut self.association else { return };
        let Ok(mut stream) = association.stream(id) else { return };
        // The ACK goes in order, before anything that we send.
        let ack = Message::Ack.to_bytes();
        let _ = stream.write_with_ppi(&ack, PayloadProtocolIdentifier::Dcep);
        set_reliability(&mut stream, ordered, reliability);
        self.channels.push(Channel { id, label, ordered, reliability, state: ChannelState::Open });
        self.announce(self.channels.len() - 1);
    }

    fn acknowledged(&mut self, id: u16) {
        let opening = |c: &Channel| c.id == id && c.state == ChannelState::Opening;
        let Some(at) = self.channels.iter().position(opening) else { return };
        let (ordered, reliability) = (self.channels[at].ordered, self.channels[at].reliability);
        // Unordered only from now on: nothing may overtake the OPEN (RFC 8832 section 6).
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(id)
        {
            set_reliability(&mut stream, ordered, reliability);
        }
        self.channels[at].state = ChannelState::Open;
        self.announce(at);
    }

    fn announce(&mut self, at: usize) {
        let channel = &self.channels[at];
        let max_retransmits = match channel.reliability {
            Reliability::Retransmits(count) => Some(u16::try_from(count).unwrap_or(u16::MAX)),
            Reliability::Reliable | Reliability::Lifetime(_) => None,
        };
        let (label, ordered) = (channel.label.clone(), channel.ordered);
        self.events.push_back(SctpEvent::Open { label, ordered, max_retransmits });
    }

    fn refuse(&mut self, id: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(id)
        {
            let _ = stream.close();
        }
    }

    fn open_wanted(&mut self, counters: &mut Counters) {
        if !self.established {
            return;
        }
        for wanted in std::mem::take(&mut self.wanted) {
            if !self.open_now(wanted) {
                counters.channels_refused += 1;
            }
        }
    }

    fn open_now(&mut self, wanted: Wanted) -> bool {
        let first = if self.role == DtlsRole::Client { 0 } else { 1 };
        let Some((_, association)) = &mut self.association else { return false };
        for id in (first..u16::MAX).step_by(2).take(2 * MAX_CHANNELS) {
            // An id whose reset is still under way is taken too.
            let Ok(mut stream) = association.open_stream(id, PayloadProtocolIdentifier::Unknown) else {
                continue;
            };
            let Wanted { label, ordered, reliability } = wanted;
            let open = Message::Open { label: label.to_string(), ordered, reliability }.to_bytes();
            if stream.write_with_ppi(&open, PayloadProtocolIdentifier::Dcep).is_err() {
                return false;
            }
            self.channels.push(Channel { id, label, ordered, reliability, state: ChannelState::Opening });
            return true;
        }
        false
    }
}

fn transport() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_WINDOW)
        .with_max_receive_message_size(MAX_MESSAGE as u32)
        .with_max_send_message_size(MAX_MESSAGE as u32)
        .with_max_num_inbound_streams(MAX_STREAMS)
        .with_max_num_outbound_streams(MAX_STREAMS)
        // ICE decides whether the other side is there.
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        // As browsers have it: above the 200 ms of delayed acknowledgements, far below TCP's second.
        .with_rto_initial_ms(500)
        .with_rto_min_ms(400)
        .with_rto_max_ms(5_000)
}

fn set_reliability(stream: &mut Stream<'_>, ordered: bool, reliability: Reliability) {
    let (kind, value) = match reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
        Reliability::Lifetime(millis) => (ReliabilityType::Timed, millis),
    };
    let _ = stream.set_reliability_params(!ordered, kind, value);
}

fn contents(chunks: &Chunks) -> Option<Bytes> {
    let mut bytes = vec![0; chunks.len()];
    let len = chunks.read(&mut bytes).ok()?;
    bytes.truncate(len);
    (len <= MAX_MESSAGE).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Pair {
        now: Instant,
        client: Sctp,
        server: Sctp,
        counters: Counters,
        /// Packets that the client sent.
        record: Vec<Bytes>,
        /// Messages that the server received.
        received: Vec<Bytes>,
    }

    impl Pair {
        fn new() -> Self {
            let (client, server) = (Sctp::new(DtlsRole::Client), Sctp::new(DtlsRole::Server));
            let (counters, record) = (Counters::default(), Vec::new());
            Self { now: Instant::now(), client, server, counters, record, received: Vec::new() }
        }

        fn run(&mut self) {
            for _ in 0..40 {
                while let Some(packet) = self.client.poll_transmit(self.now) {
                    self.record.push(packet.clone());
                    self.server.receive(self.now, packet, &mut self.counters);
                }
                while let Some(packet) = self.server.poll_transmit(self.now) {
                    self.client.receive(self.now, packet, &mut self.counters);
                }
                self.now += Duration::from_millis(10);
                self.client.handle_timeout(self.now, &mut self.counters);
                self.server.handle_timeout(self.now, &mut self.counters);
                self.drain();
            }
        }

        fn drain(&mut self) {
            while self.client.poll_event().is_some() {
                self.client.pump(&mut self.counters);
            }
            while let Some(event) = self.server.poll_event() {
                if let SctpEvent::Data { payload, .. } = event {
                    self.received.push(payload);
                }
                self.server.pump(&mut self.counters);
            }
        }
    }

    fn opened() -> Pair {
        let mut pair = Pair::new();
        pair.client.open("chat", true, None, &mut pair.counters);
        pair.run();
        assert_eq!(pair.client.open_labels().count(), 1);
        pair
    }

    #[test]
    fn a_packet_fits_the_mtu_of_dtls() {
        let mut pair = opened();
        pair.client.send("chat", false, &vec![1; MAX_MESSAGE]).unwrap();
        pair.run();
        let longest = pair.record.iter().map(Bytes::len).max().unwrap();
        assert!((1_100..=crate::dtls::MTU - 37).contains(&longest), "{longest}");
        assert_eq!(pair.received, [vec![1; MAX_MESSAGE]]);
    }

    #[test]
    fn labels_are_not_opened_twice_and_not_without_end() {
        let mut pair = opened();
        pair.client.open("chat", true, None, &mut pair.counters);
        for number in 0..100 {
            pair.client.open(&number.to_string(), true, None, &mut pair.counters);
        }
        pair.run();
        assert_eq!(pair.client.open_labels().count(), MAX_CHANNELS);
        assert_eq!(pair.server.open_labels().count(), MAX_CHANNELS);
        assert_eq!(pair.counters.channels_refused, 101 - MAX_CHANNELS as u64);
    }

    #[test]
    fn the_other_side_cannot_open_channels_without_end() {
        let mut pair = opened();
        for number in 0..MAX_CHANNELS {
            let id = 100 + 2 * number as u16;
            let open = Message::Open {
                label: number.to_string(),
                ordered: true,
                reliability: Reliability::Reliable,
            };
            let (_, association) = pair.client.association.as_mut().unwrap();
            let mut stream = association.open_stream(id, PayloadProtocolIdentifier::Dcep).unwrap();
            stream.write_with_ppi(&open.to_bytes(), PayloadProtocolIdentifier::Dcep).unwrap();
        }
        pair.run();
        assert_eq!(pair.server.channels.len(), MAX_CHANNELS);
        assert_eq!(pair.counters.channels_refused, 1);
    }

    #[test]
    fn the_other_side_cannot_have_streams_without_end() {
        let mut pair = opened();
        for id in [MAX_STREAMS - 1, MAX_STREAMS] {
            assert!(pair.server.association.is_some());
            let (_, association) = pair.client.association.as_mut().unwrap();
            let mut stream = association.open_stream(id, PayloadProtocolIdentifier::Binary).unwrap();
            stream.write_with_ppi(b"x", PayloadProtocolIdentifier::Binary).unwrap();
            pair.run();
        }
        assert!(pair.server.association.is_none());
        assert!(pair.counters.sctp_unexpected > 0);
        pair.run();
        assert!(pair.server.association.is_none(), "it does not come back");
    }

    #[test]
    fn data_on_a_channel_that_was_never_opened_is_dropped() {
        let mut pair = opened();
        let (_, association) = pair.client.association.as_mut().unwrap();
        let mut stream = association.open_stream(40, PayloadProtocolIdentifier::Binary).unwrap();
        stream.write_with_ppi(b"who am I", PayloadProtocolIdentifier::Binary).unwrap();
        stream.write_with_ppi(b"\x03\x00", PayloadProtocolIdentifier::Dcep).unwrap();
        pair.run();
        assert_eq!(pair.received, Vec::<Bytes>::new());
        assert_eq!((pair.counters.messages_dropped, pair.counters.dcep_malformed), (1, 1));
    }

    /// Packets of an authenticated peer that means ill: truncated, changed (with a correct checksum), repeated.
    #[test]
    fn any_packets_are_survived() {
        let mut state = 3u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..60 {
            let mut pair = opened();
            for number in 0..5u8 {
                pair.client.send("chat", false, &vec![number; 3_000]).unwrap();
            }
            pair.run();
            let record = std::mem::take(&mut pair.record);
            for _ in 0..200 {
                let mut bytes = record[random(record.len())].to_vec();
                match random(3) {
                    0 => bytes.truncate(random(bytes.len())),
                    1 => bytes.iter_mut().skip(12).take(40).for_each(|b| {
                        if random(8) == 0 {
                            *b = random(256) as u8;
                        }
                    }),
                    _ => bytes.extend((0..random(30)).map(|_| 0xC0)),
                }
                checksum(&mut bytes);
                pair.server.receive(pair.now, bytes.into(), &mut pair.counters);
                while pair.server.poll_transmit(pair.now).is_some() {}
            }
            pair.run();
        }
    }

    /// CRC-32C, so that a changed packet is looked at (RFC 9260 appendix A).
    fn checksum(packet: &mut [u8]) {
        if let Some(place) = packet.get_mut(8..12) {
            place.fill(0);
            let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(packet);
            packet[8..12].copy_from_slice(&crc.to_le_bytes());
        }
    }
}
