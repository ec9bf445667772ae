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
    pub(super) fn set_sections(&mut self, sections: &[ReceiveSection]) {
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
                self.learn(*primary, section, layer, false, section.codecs.first());
                if let Some(rtx) = rtx {
                    self.learn(*rtx, section, layer, true, section.codecs.first());
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
        let (kind, media) = (codec.kind, section.media);
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
        let (kind, media) = (codec.kind, section.media);
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
        self.learn(header.ssrc, &section, layer, rtx, Some(&codec));
        self.find(header.ssrc)
    }

    fn section_of(&self, payload_type: u8, extensions: &Extensions) -> Option<&ReceiveSection> {
        if let Some(mid) = extensions.mid {
            return self.section(mid);
        }
        let mut having = self.sections.iter().filter(|s| codec_of(s, payload_type).is_some());
        having.next().filter(|_| having.next().is_none())
    }

    fn learn(&mut self, ssrc: u32, section: &ReceiveSection, layer: u8, rtx: bool, codec: Option<&Codec>) {
        if self.find(ssrc).is_some() {
            return;
        }
        let same = |i: &Incoming| i.mid == section.mid && i.layer == layer && i.rtx == rtx;
        if self.streams.iter().filter(|i| same(i)).count() >= SSRCS_PER_LAYER {
            let oldest = self.streams.iter().filter(|i| same(i)).map(|i| i.age).min();
            self.streams.retain(|i| Some(i.age) != oldest);
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
