//! Incoming RTP: which section and layer a packet belongs to, and its streams' state.
//!
//! An SSRC is known from SDP, or learned from the first packet whose header extension names its section (and layer), or,
//! where packets carry no mid, whose payload type only one section has (RFC 8843 section 9.2). Each section keeps at
//! most [`SSRCS_PER_LAYER`] SSRCs per layer and kind, so that whoever is on the other side cannot grow the table.

use std::time::Instant;

use base::{Codec, Extension, ExtensionMap, Mid};
use wire::ext::Extensions;
use wire::media::Received;
use wire::rtp::Header;

use crate::streams::{ReceiveStream, TransportFeedbackGenerator, unwrap_rtx};
use crate::{Counters, ReceiveSection};

/// The current SSRC of a layer and its predecessor, whose last packets may still be on the way.
const SSRCS_PER_LAYER: usize = 2;
/// Layers of a section; browsers send three.
const MAX_LAYERS: usize = 4;

/// One SSRC.
pub(super) struct Incoming {
    pub(super) stream: ReceiveStream,
    pub(super) mid: Mid,
    pub(super) layer: u8,
    pub(super) rtx: bool,
    /// Number of the next full intra request.
    pub(super) next_fir: u8,
    /// Grows with every stream that is learned: tells the current SSRC of a layer from its predecessor.
    age: u64,
}

/// All receive sections of a peer.
pub(super) struct Receive {
    sections: Vec<ReceiveSection>,
    /// Sorted by SSRC.
    streams: Vec<Incoming>,
    /// Ids that are used anywhere in the bundle, for packets of unknown streams. RFC 8843 section 15 demands that an id
    /// means the same in all sections.
    bundle: ExtensionMap,
    pub(super) feedback: TransportFeedbackGenerator,
    /// Not later than the first moment at which a stream has packets to ask for.
    pub(super) next_nack: Option<Instant>,
    learned: u64,
}

impl Receive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sections: Vec::new(),
            streams: Vec::new(),
            bundle: ExtensionMap::default(),
            feedback: TransportFeedbackGenerator::new(now),
            next_nack: None,
            learned: 0,
        }
    }

    /// Takes over the wanted sections. Streams of a mid that stays are kept.
    pub(super) fn set_sections(&mut self, sections: &[ReceiveSection], counters: &mut Counters) {
        self.sections = sections.to_vec();
        self.bundle = ExtensionMap::default();
        for section in sections {
            for extension in Extension::ALL {
                if let Some(id) = section.extensions.id(extension) {
                    self.bundle.set(extension, id);
                }
            }
        }
        self.streams.retain(|incoming| sections.iter().any(|section| section.mid == incoming.mid));
        for section in sections {
            for (layer, (primary, rtx)) in section.ssrcs.iter().take(MAX_LAYERS).enumerate() {
                let layer = if section.rids.is_empty() { 0 } else { layer as u8 };
                self.learn(*primary, section, layer, false, section.codecs.first(), counters);
                if let Some(rtx) = rtx {
                    self.learn(*rtx, section, layer, true, section.codecs.first(), counters);
                }
            }
        }
    }

    /// An authenticated, decrypted packet. `None`: it is of no section, or nothing new.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        header: Header,
        packet: &[u8],
        counters: &mut Counters,
    ) -> Option<Received> {
        let place = self.find(header.ssrc);
        let known = place.and_then(|place| self.section(self.streams[place].mid));
        let map = known.map_or(&self.bundle, |section| &section.extensions);
        let extensions = Extensions::parse(packet, &header, map);
        if let Some(sequence) = extensions.transport_sequence {
            self.feedback.receive(now, header.ssrc, sequence);
        }
        let place = match place {
            Some(place) => place,
            None => self.resolve(&header, &extensions, counters)?,
        };
        if self.streams[place].rtx {
            self.receive_rtx(now, place, header, extensions, packet, counters)
        } else {
            self.receive_primary(now, place, &header, extensions, counters)
        }
    }

    fn receive_primary(
        &mut self,
        now: Instant,
        place: usize,
        header: &Header,
        extensions: Extensions,
        counters: &mut Counters,
    ) -> Option<Received> {
        let section = self.section(self.streams[place].mid)?;
        let Some(codec) = section.codecs.iter().find(|c| c.payload_type == header.payload_type) else {
            counters.rtp_unknown_payload_type += 1;
            return None;
        };
        let (kind, media, simulcast) = (codec.kind, section.media, section.rids.len() > 1);
        let incoming = &mut self.streams[place];
        let Some(sequence) = incoming.stream.receive(now, header.sequence, header.timestamp) else {
            counters.rtx_redundant += 1;
            return None;
        };
        let due = incoming.stream.poll_timeout();
        let (mid, layer) = (incoming.mid, incoming.layer);
        self.next_nack = earlier(self.next_nack, due);
        Some(Received {
            mid,
            media,
            layer,
            simulcast,
            codec: kind,
            ssrc: header.ssrc,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            retransmitted: false,
            extensions,
            payload: header.payload.clone(),
            arrival: now,
        })
    }

    fn receive_rtx(
        &mut self,
        now: Instant,
        place: usize,
        mut header: Header,
        extensions: Extensions,
        packet: &[u8],
        counters: &mut Counters,
    ) -> Option<Received> {
        let rtx = &mut self.streams[place];
        let (mid, layer) = (rtx.mid, rtx.layer);
        rtx.stream.receive(now, header.sequence, header.timestamp);
        let section = self.section(mid)?;
        let Some(codec) = section.codecs.iter().find(|c| c.rtx == Some(header.payload_type)) else {
            counters.rtp_unknown_payload_type += 1;
            return None;
        };
        let (kind, media, simulcast) = (codec.kind, section.media, section.rids.len() > 1);
        let unwrapped = unwrap_rtx(&mut header, packet).and_then(|()| self.current_mut(mid, layer, false));
        let repaired = unwrapped.and_then(|primary| {
            let sequence = primary.stream.receive_repaired(now, header.sequence)?;
            Some((primary.stream.ssrc(), sequence))
        });
        let Some((ssrc, sequence)) = repaired else {
            counters.rtx_redundant += 1;
            return None;
        };
        Some(Received {
            mid,
            media,
            layer,
            simulcast,
            codec: kind,
            ssrc,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            retransmitted: true,
            extensions,
            payload: header.payload,
            arrival: now,
        })
    }

    /// Learns the SSRC of a packet; its place.
    fn resolve(
        &mut self,
        header: &Header,
        extensions: &Extensions,
        counters: &mut Counters,
    ) -> Option<usize> {
        let found = self.section_of(header.payload_type, extensions).and_then(|section| {
            let (codec, rtx) = codec_of(section, header.payload_type)?;
            let rid = if rtx { extensions.repaired_rid.or(extensions.rid) } else { extensions.rid };
            let layer = match rid {
                _ if section.rids.is_empty() => 0,
                Some(rid) => section.rids.iter().take(MAX_LAYERS).position(|r| *r == rid)?,
                None => return None,
            };
            Some((section.clone(), layer as u8, rtx, *codec))
        });
        let Some((section, layer, rtx, codec)) = found else {
            counters.rtp_unknown_stream += 1;
            return None;
        };
        self.learn(header.ssrc, &section, layer, rtx, Some(&codec), counters);
        self.find(header.ssrc)
    }

    fn section_of(&self, payload_type: u8, extensions: &Extensions) -> Option<&ReceiveSection> {
        if let Some(mid) = extensions.mid {
            return self.section(mid);
        }
        let mut having = self.sections.iter().filter(|s| codec_of(s, payload_type).is_some());
        having.next().filter(|_| having.next().is_none())
    }

    fn learn(
        &mut self,
        ssrc: u32,
        section: &ReceiveSection,
        layer: u8,
        rtx: bool,
        codec: Option<&Codec>,
        counters: &mut Counters,
    ) {
        if self.find(ssrc).is_some() {
            return;
        }
        let same = |i: &Incoming| i.mid == section.mid && i.layer == layer && i.rtx == rtx;
        if self.streams.iter().filter(|i| same(i)).count() >= SSRCS_PER_LAYER {
            let oldest = self.streams.iter().filter(|i| same(i)).map(|i| i.age).min();
            self.streams.retain(|i| Some(i.age) != oldest);
            counters.rtp_streams_replaced += 1;
        }
        self.learned += 1;
        let nack = !rtx && section.codecs.iter().any(|codec| codec.nack);
        let clock_rate = codec.map_or(90_000, |codec| codec.kind.clock_rate());
        let incoming = Incoming {
            stream: ReceiveStream::new(ssrc, clock_rate, nack),
            mid: section.mid,
            layer,
            rtx,
            next_fir: 0,
            age: self.learned,
        };
        let at = self.streams.partition_point(|other| other.stream.ssrc() < ssrc);
        self.streams.insert(at, incoming);
    }

    fn find(&self, ssrc: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&ssrc, |incoming| incoming.stream.ssrc()).ok()
    }

    pub(super) fn section(&self, mid: Mid) -> Option<&ReceiveSection> {
        self.sections.iter().find(|section| section.mid == mid)
    }

    /// The stream with this SSRC.
    pub(super) fn by_ssrc(&mut self, ssrc: u32) -> Option<&mut Incoming> {
        self.find(ssrc).map(|place| &mut self.streams[place])
    }

    /// The newest stream of a layer.
    pub(super) fn current_mut(&mut self, mid: Mid, layer: u8, rtx: bool) -> Option<&mut Incoming> {
        let same = |i: &&mut Incoming| i.mid == mid && i.layer == layer && i.rtx == rtx;
        // A stream announced in SDP but never heard must not hide the one that is sent.
        self.streams.iter_mut().filter(same).max_by_key(|i| (i.stream.received() > 0, i.age))
    }

    /// All streams, in the order of their SSRCs.
    pub(super) fn streams(&self) -> &[Incoming] {
        &self.streams
    }

    pub(super) fn streams_mut(&mut self) -> &mut [Incoming] {
        &mut self.streams
    }
}

fn codec_of(section: &ReceiveSection, payload_type: u8) -> Option<(&Codec, bool)> {
    let primary = section.codecs.iter().find(|codec| codec.payload_type == payload_type);
    let rtx = || section.codecs.iter().find(|codec| codec.rtx == Some(payload_type));
    primary.map(|codec| (codec, false)).or_else(|| rtx().map(|codec| (codec, true)))
}

/// The earlier of two deadlines.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use base::{CodecKind, MediaKind, Rid};
    use wire::ext::Values;

    use super::*;

    fn mid(text: &str) -> Mid {
        Mid::new(text.as_bytes()).unwrap()
    }

    fn section(name: &str, payload_type: u8) -> ReceiveSection {
        let codec = Codec {
            kind: CodecKind::Vp8,
            payload_type,
            rtx: Some(payload_type + 1),
            nack: true,
            pli: true,
            fir: false,
            transport_cc: true,
            remb: false,
            ccfb: false,
        };
        let mut extensions = ExtensionMap::default();
        extensions.set(Extension::Mid, 1);
        extensions.set(Extension::Rid, 2);
        extensions.set(Extension::RepairedRid, 3);
        let rids = Vec::new();
        ReceiveSection {
            mid: mid(name),
            media: MediaKind::Video,
            codecs: vec![codec],
            extensions,
            rids,
            ssrcs: Vec::new(),
        }
    }

    fn simulcast(name: &str) -> ReceiveSection {
        let mut section = section(name, 96);
        section.rids = ["q", "h", "f"].map(|rid| Rid::new(rid.as_bytes()).unwrap()).to_vec();
        section
    }

    #[derive(Clone, Copy, Default)]
    struct Named<'a> {
        mid: Option<&'a str>,
        rid: Option<&'a str>,
        repaired: Option<&'a str>,
    }

    fn packet(ssrc: u32, payload_type: u8, sequence: u16, named: Named<'_>) -> Vec<u8> {
        let mut packet = vec![0x90, payload_type];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&[0; 4]);
        packet.extend_from_slice(&ssrc.to_be_bytes());
        let short = |text: Option<&str>| text.and_then(|t| Mid::new(t.as_bytes()));
        let values = Values {
            mid: short(named.mid),
            rid: short(named.rid),
            repaired_rid: short(named.repaired),
            ..Values::default()
        };
        let mut extension = [0; 64];
        let len = wire::ext::write(&mut extension, &values, &section("x", 96).extensions);
        if len == 0 {
            packet[0] = 0x80;
        }
        packet.extend_from_slice(&extension[..len]);
        packet
    }

    struct Bench {
        receive: Receive,
        counters: Counters,
        now: Instant,
    }

    impl Bench {
        fn new(sections: &[ReceiveSection]) -> Self {
            let now = Instant::now();
            let mut bench = Self { receive: Receive::new(now), counters: Counters::default(), now };
            bench.receive.set_sections(sections, &mut bench.counters);
            bench
        }

        fn receive(&mut self, mut packet: Vec<u8>, payload: &[u8]) -> Option<Received> {
            packet.extend_from_slice(payload);
            let header = Header::parse(&packet).expect("well formed");
            self.receive.receive(self.now, header, &packet, &mut self.counters)
        }
    }

    #[test]
    fn a_stream_is_learned_by_its_mid_and_rid_and_known_from_then_on() {
        let mut bench = Bench::new(&[simulcast("0"), section("1", 98)]);
        let named = Named { mid: Some("0"), rid: Some("h"), repaired: None };
        let first = bench.receive(packet(7, 96, 10, named), b"x").expect("learned");
        assert_eq!((first.mid, first.layer), (mid("0"), 1));
        let second = bench.receive(packet(7, 96, 11, Named::default()), b"x").expect("known");
        assert_eq!((second.mid, second.layer, second.sequence), (mid("0"), 1, first.sequence + 1));
        assert!(bench.receive(packet(8, 96, 1, Named { mid: Some("9"), ..named }), b"x").is_none());
        assert!(bench.receive(packet(8, 96, 1, Named { rid: Some("z"), ..named }), b"x").is_none());
        assert!(bench.receive(packet(8, 96, 1, Named { rid: None, ..named }), b"x").is_none());
        assert_eq!(bench.counters.rtp_unknown_stream, 3);
    }

    #[test]
    fn a_retransmission_comes_out_as_the_packet_it_repairs() {
        let mut bench = Bench::new(&[simulcast("0")]);
        let named = Named { mid: Some("0"), rid: Some("f"), repaired: None };
        bench.receive(packet(7, 96, 10, named), b"x").expect("learned");
        bench.receive(packet(7, 96, 12, named), b"x").expect("newer");
        let rtx = Named { mid: Some("0"), rid: None, repaired: Some("f") };
        let repaired = bench.receive(packet(70, 97, 500, rtx), b"\x00\x0brepaired").expect("packet 11");
        assert!(repaired.retransmitted);
        assert_eq!((repaired.ssrc, repaired.layer, repaired.payload.len()), (7, 2, 8));
        assert!(bench.receive(packet(70, 97, 501, rtx), b"\x00\x0brepaired").is_none(), "again");
        assert!(bench.receive(packet(70, 97, 502, rtx), b"").is_none(), "a probe");
        assert_eq!(bench.counters.rtx_redundant, 2);
    }

    #[test]
    fn without_mid_the_payload_type_decides_where_it_is_in_one_section_alone() {
        let mut bench = Bench::new(&[section("0", 96), section("1", 98)]);
        let received = bench.receive(packet(7, 98, 1, Named::default()), b"x").expect("section 1");
        assert_eq!(received.mid, mid("1"));
        let mut bench = Bench::new(&[section("0", 96), section("1", 96)]);
        assert!(bench.receive(packet(7, 96, 1, Named::default()), b"x").is_none());
    }

    #[test]
    fn ssrcs_from_sdp_need_no_extension_and_rtx_finds_its_stream() {
        let mut video = section("0", 96);
        video.ssrcs = vec![(7, Some(70))];
        let mut bench = Bench::new(&[video, section("1", 96)]);
        bench.receive(packet(7, 96, 1, Named::default()), b"x").expect("named in SDP");
        bench.receive(packet(7, 96, 3, Named::default()), b"x").expect("newer");
        let repaired = bench.receive(packet(70, 97, 9, Named::default()), b"\x00\x02repaired");
        assert!(repaired.is_some_and(|r| r.retransmitted && r.mid == mid("0")));
        assert!(bench.receive(packet(7, 50, 4, Named::default()), b"x").is_none());
        assert_eq!(bench.counters.rtp_unknown_payload_type, 1);
    }

    #[test]
    fn new_ssrcs_replace_old_ones_and_the_table_stays_small() {
        let mut bench = Bench::new(&[simulcast("0"), section("1", 98)]);
        for ssrc in 1..5_000 {
            let rid = ["q", "h", "f"][ssrc as usize % 3];
            let named = Named { mid: Some("0"), rid: Some(rid), repaired: None };
            assert!(bench.receive(packet(ssrc, 96, 1, named), b"x").is_some());
        }
        assert_eq!(bench.receive.streams().len(), 3 * SSRCS_PER_LAYER);
        let current = bench.receive.current_mut(mid("0"), 1, false).expect("layer h");
        assert_eq!(current.stream.ssrc(), 4_999);
        assert_eq!(bench.counters.rtp_streams_replaced, 4_999 - 6);
    }

    #[test]
    fn sections_that_stay_keep_their_streams() {
        let mut bench = Bench::new(&[section("0", 96), section("1", 98)]);
        let first = bench.receive(packet(7, 96, 1, Named { mid: Some("0"), ..Named::default() }), b"x");
        bench.receive(packet(8, 98, 1, Named { mid: Some("1"), ..Named::default() }), b"x");
        bench.receive.set_sections(&[section("0", 96)], &mut bench.counters);
        let second = bench.receive(packet(7, 96, 2, Named::default()), b"x").expect("known");
        assert_eq!(second.sequence, first.expect("learned").sequence + 1);
        assert!(bench.receive(packet(8, 98, 2, Named::default()), b"x").is_none(), "its section is gone");
        assert_eq!(bench.receive.streams().len(), 1);
    }

    #[test]
    fn any_authenticated_packet_is_survived() {
        let mut bench = Bench::new(&[simulcast("0"), section("1", 98)]);
        let mut state = 5u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        for round in 0..50_000u32 {
            let named = Named { mid: Some("0"), rid: Some("q"), repaired: None };
            let payload_type = 96 + (round % 4) as u8;
            let mut bytes = packet(round % 5, payload_type, round as u16, named);
            let more = random() % 20;
            bytes.extend((0..more).map(|_| random()));
            for _ in 0..random() % 4 {
                let at = usize::from(random()) % bytes.len();
                bytes[at] = random();
            }
            if let Some(header) = Header::parse(&bytes) {
                bench.receive.receive(bench.now, header, &bytes, &mut bench.counters);
            }
        }
    }
}
