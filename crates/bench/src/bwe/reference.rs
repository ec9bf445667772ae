//! `str0m` at both ends, as a whole: its estimator is not to be had without its pacer and its feedback. It is connected
//! before the case begins, over a way that takes no time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Bitrate;
use sim::{Endpoint, Transmit};
use str0m::bwe::{Bitrate as Rate, BweKind};
use str0m::format::Codec;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc};

use super::encoder::{Encoder, Frame};
use super::node::{Arrivals, Kind, OVERHEAD, Payload, SenderLog, Wire};

const MEDIA: u32 = 42;
const RTX: u32 = 43;
/// Header, extensions and authentication tag of a packet: what of its size is not payload.
const HEADER_BYTES: usize = 44;
/// So long before its beginning a flow's connection is made.
const LEAD: Duration = Duration::from_millis(500);

fn address(near: bool) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, if near { 1 } else { 2 }), 5_000).into()
}

/// One end, without anything to send.
struct End {
    rtc: Rtc,
    near: bool,
    timeout: Instant,
    out: VecDeque<Vec<u8>>,
    /// The estimate that it told last.
    estimate: Option<Rate>,
}

impl End {
    fn new(now: Instant, near: bool, start: Option<Bitrate>) -> Self {
        let builder = Rtc::builder().set_rtp_mode(true);
        let builder = match start {
            Some(start) => builder.enable_bwe(Some(Rate::from(start.0))),
            None => builder,
        };
        Self { rtc: builder.build(now), near, timeout: now, out: VecDeque::new(), estimate: None }
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let (from, to) = (address(!self.near), address(self.near));
        if let Ok(receive) = Receive::new(Protocol::Udp, from, to, bytes) {
            self.give(Input::Receive(now, receive));
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.give(Input::Timeout(now));
    }

    fn give(&mut self, input: Input<'_>) {
        self.rtc.handle_input(input).expect("str0m takes what str0m sent");
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(transmit) => self.out.push_back(transmit.contents.to_vec()),
                Output::Event(Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. })) => {
                    self.estimate = Some(estimate);
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// Two ends that are connected, a while before `begins`.
fn connect(begins: Instant, start: Bitrate) -> (End, End) {
    let now = begins - LEAD;
    let mut ends = (End::new(now, true, Some(start)), End::new(now, false, None));
    introduce(&mut ends.0, &mut ends.1);
    let mut now = now;
    while !(ends.0.rtc.is_connected() && ends.1.rtc.is_connected()) {
        assert!(now < begins, "two ends with nothing between them connect at once");
        ends.0.handle_timeout(now);
        ends.1.handle_timeout(now);
        let packets: (Vec<_>, Vec<_>) = (ends.0.out.drain(..).collect(), ends.1.out.drain(..).collect());
        now += Duration::from_millis(1);
        packets.0.iter().for_each(|bytes| ends.1.receive(now, bytes));
        packets.1.iter().for_each(|bytes| ends.0.receive(now, bytes));
    }
    ends
}

fn introduce(near: &mut End, far: &mut End) {
    let candidate = |near| Candidate::host(address(near), "udp").expect("a candidate");
    for end in [&mut *near, &mut *far] {
        end.rtc.add_local_candidate(candidate(end.near));
        end.rtc.add_remote_candidate(candidate(!end.near));
    }
    let (mut a, mut b) = (near.rtc.direct_api(), far.rtc.direct_api());
    a.set_remote_fingerprint(b.local_dtls_fingerprint().clone());
    b.set_remote_fingerprint(a.local_dtls_fingerprint().clone());
    a.set_remote_ice_credentials(b.local_ice_credentials());
    b.set_remote_ice_credentials(a.local_ice_credentials());
    a.set_ice_controlling(true);
    b.set_ice_controlling(false);
    a.start_dtls(true).expect("the first start");
    b.start_dtls(false).expect("the first start");
    let mid = Mid::from("vid");
    a.declare_media(mid, MediaKind::Video);
    a.declare_stream_tx(MEDIA.into(), Some(RTX.into()), mid, None);
    b.declare_media(mid, MediaKind::Video);
    // Losses are not repaired, as they are not with our own.
    b.expect_stream_rx(MEDIA.into(), Some(RTX.into()), mid, None).suppress_nack(true);
    b.enable_twcc_feedback();
}

/// A source under `str0m`'s congestion control.
pub struct Sender {
    end: End,
    begins: Instant,
    encoder: Encoder,
    wanted: Option<Bitrate>,
    target: Bitrate,
    payload_type: Pt,
    sequence: u64,
    /// Packets that were written and have not left, in their order: the frame and the size.
    waiting: VecDeque<(u32, usize)>,
    log: SenderLog,
}

/// A sender and its receiver.
pub fn pair(begins: Instant, start: Bitrate, encoder: Encoder) -> (Sender, Receiver) {
    let (near, far) = connect(begins, start);
    let vp8 = near.rtc.codec_config().find(|params| params.spec().codec == Codec::Vp8);
    let payload_type = vp8.expect("VP8 is configured").pt();
    let sender = Sender {
        end: near,
        begins,
        encoder,
        wanted: None,
        target: start,
        payload_type,
        sequence: 1_000,
        waiting: VecDeque::new(),
        log: SenderLog::default(),
    };
    (sender, Receiver { end: far, begins, arrivals: Vec::new() })
}

impl Sender {
    pub fn log(&self) -> &SenderLog {
        &self.log
    }

    fn want(&mut self, now: Instant) {
        let wanted = self.encoder.wanted(now);
        if self.wanted != Some(wanted) {
            self.wanted = Some(wanted);
            self.end.rtc.bwe().set_bitrate(Rate::ZERO, Rate::from(wanted.0));
            self.end.drain();
        }
    }

    fn note(&mut self, now: Instant) {
        if let Some(estimate) = self.end.estimate {
            self.target = Bitrate(estimate.as_u64());
        }
        self.log.note(now, self.target);
    }

    fn write(&mut self, now: Instant, frame: &Frame) {
        let time = (now.saturating_duration_since(self.begins).as_micros() * 9 / 100) as u32;
        for (index, size) in frame.packets.iter().enumerate() {
            let payload: Arc<[u8]> = vec![0x10; size.saturating_sub(HEADER_BYTES).max(1)].into();
            let write = RtpWrite::new(self.payload_type, self.sequence.into(), time, now, payload)
                .marker(index + 1 == frame.packets.len())
                .nackable(true);
            self.sequence += 1;
            self.waiting.push_back((frame.number, *size));
            let mut api = self.end.rtc.direct_api();
            api.stream_tx(&MEDIA.into()).expect("it was declared").write_rtp(write);
            self.end.drain();
        }
    }

    fn kind(&mut self, bytes: &[u8]) -> Kind {
        // RFC 5761 section 4: RTCP has packet types of 192 to 223 here.
        let is_rtp = bytes.len() > 12 && bytes[0] >> 6 == 2 && !(192..=223).contains(&bytes[1]);
        if !is_rtp {
            return Kind::Control;
        }
        let ssrc = Ssrc::from(u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]));
        let media = (ssrc == MEDIA.into()).then(|| self.waiting.pop_front()).flatten();
        media.map_or(Kind::Padding, |(frame, _)| Kind::Media(frame))
    }
}

impl Endpoint for Sender {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        if let Payload::Answer(bytes) = payload {
            self.end.receive(now, &bytes);
            self.note(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now < self.begins {
            return;
        }
        self.end.handle_timeout(now);
        self.want(now);
        while self.encoder.poll_timeout() <= now {
            let waiting = self.waiting.iter().map(|(_, size)| size).sum();
            if let Some(frame) = self.encoder.poll(now, self.target, waiting) {
                self.write(now, &frame);
                self.end.handle_timeout(now);
            }
        }
        self.note(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Some(self.encoder.poll_timeout().min(self.end.timeout).max(self.begins))
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Payload>> {
        let bytes = self.end.out.pop_front()?;
        let kind = self.kind(&bytes);
        Some(self.log.send(now, bytes.len(), kind, Wire::Datagram(bytes.into())))
    }
}

/// Receives with `str0m`, which answers with transport-wide feedback.
pub struct Receiver {
    end: End,
    begins: Instant,
    arrivals: Arrivals,
}

impl Receiver {
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Endpoint for Receiver {
    type Payload = Payload;

    fn receive(&mut self, now: Instant, _: usize, payload: Payload) {
        if let Payload::Media { id, wire: Wire::Datagram(bytes), .. } = payload {
            self.arrivals.push((id, now));
            self.end.receive(now, &bytes);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.end.handle_timeout(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        Some(self.end.timeout.max(self.begins))
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<Transmit<Payload>> {
        let bytes = self.end.out.pop_front()?;
        Some(Transmit { port: 0, size: bytes.len() + OVERHEAD, payload: Payload::Answer(bytes.into()) })
    }
}
