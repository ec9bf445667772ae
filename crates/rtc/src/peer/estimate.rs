//! How much the path carries: what is sent and what is heard of it go to the congestion controller.

use std::time::Instant;

use base::{Bitrate, Extension};
use wire::ext::abs_send_time;

use super::Peer;
use crate::WallClock;
use crate::cc::{Config, Controller, ControllerSnapshot, Probe};
use crate::event::Event;
use crate::moment::AtMoment;
use crate::section::SendSection;
use crate::streams::{StreamFeedbackHistory, TransportFeedbackHistory, Written};

/// An estimate is told anew when it has moved by this share of the one told last.
const TOLD_SHARE: f64 = 0.05;

/// The way to the other side.
pub(super) struct Path {
    pub(super) history: TransportFeedbackHistory,
    /// Where feedback by stream was negotiated (RFC 8888), and nothing transport-wide.
    pub(super) by_stream: Option<Box<StreamFeedbackHistory>>,
    send_time: AtMoment<u32>,
    /// Once a send section has negotiated what it needs.
    controller: Option<Box<Controller>>,
    /// The controller hears of single packets; else it has REMB alone.
    feedback: bool,
    /// The estimate that was told last.
    told: Option<Bitrate>,
    /// Sending moved the controller's deadline.
    pub(super) moved: bool,
}

impl Path {
    pub(super) fn new(now: Instant) -> Self {
        let history = TransportFeedbackHistory::new(now);
        let send_time = AtMoment::default();
        Self {
            history,
            by_stream: None,
            send_time,
            controller: None,
            feedback: false,
            told: None,
            moved: false,
        }
    }

    /// What the send sections negotiated: transport-wide feedback if any has it, else that by stream, else REMB, else
    /// nothing.
    pub(super) fn negotiated(&mut self, now: Instant, sections: &[SendSection]) {
        let numbered = |s: &&SendSection| s.extensions.id(Extension::TransportSequence).is_some();
        let transport = sections.iter().filter(numbered).any(|s| s.codecs.iter().any(|c| c.transport_cc));
        let by_stream = !transport && sections.iter().any(|s| s.codecs.iter().any(|c| c.ccfb));
        if by_stream != self.by_stream.is_some() {
            self.by_stream = by_stream.then(Box::default);
        }
        let feedback = transport || by_stream;
        let remb = || sections.iter().any(|s| s.codecs.iter().any(|c| c.remb));
        let known = self.controller.is_some();
        if (feedback && !(known && self.feedback)) || (!known && remb()) {
            self.feedback = feedback;
            let config = Config { feedback, ..Config::default() };
            self.controller = Some(Box::new(Controller::new(now, config)));
        }
    }

    /// A packet leaves; its transport-wide sequence number, where its section has them.
    #[inline]
    pub(super) fn on_sent(&mut self, now: Instant, size: usize, numbered: bool) -> Option<u16> {
        let registered = numbered || self.by_stream.is_some();
        let heard_of = registered || !self.feedback;
        let controller = self.controller.as_mut().filter(|_| heard_of);
        let tag = controller.map_or(0, |controller| {
            self.moved |= controller.moves_deadline();
            controller.on_sent(now, size)
        });
        let number = registered.then(|| self.history.register(now, size, tag));
        number.filter(|_| numbered)
    }

    /// The packet that was announced last by [`Self::on_sent`] is this one.
    #[inline]
    pub(super) fn sent_as(&mut self, written: &Written) {
        if let Some(by_stream) = &mut self.by_stream {
            by_stream.register(&self.history, written.ssrc, written.sequence as u16);
        }
    }

    /// The abs-send-time of packets that leave now.
    #[inline]
    pub(super) fn send_time(&mut self, now: Instant, clock: &WallClock) -> u32 {
        self.send_time.get(now, || abs_send_time(clock.ntp(now)))
    }

    pub(super) fn controller(&mut self) -> Option<&mut Controller> {
        self.controller.as_deref_mut()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.controller.as_ref()?.poll_timeout()
    }

    pub(super) fn snapshot(&self) -> Option<ControllerSnapshot> {
        self.controller.as_ref().map(|controller| controller.snapshot())
    }

    /// An estimate that is worth telling.
    fn changed(&self) -> Option<Bitrate> {
        let target = self.controller.as_ref()?.target();
        let told = self.told.map_or(0.0, |told| told.0 as f64);
        ((target.0 as f64 - told).abs() > told * TOLD_SHARE).then_some(target)
    }
}

impl Peer {
    /// What the path to the other side carries, audio, video, retransmissions and padding together. `None` while nothing
    /// was negotiated by which it could be known.
    pub fn estimate(&self) -> Option<Bitrate> {
        self.send.path.controller.as_ref().map(|controller| controller.target())
    }

    /// What would be sent if the path carried it, all of it together. The estimate is pushed no further by probes; zero,
    /// as at the start, probes nothing.
    pub fn set_wanted(&mut self, now: Instant, wanted: Bitrate) {
        if let Some(controller) = self.send.path.controller() {
            controller.set_wanted(now, wanted);
        }
    }

    /// Padding that a probe needs now: hand its bytes to [`Self::send_padding`] and ask again, until `None`. Ask after
    /// media was sent, too, and at [`Self::poll_timeout`].
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        // Nearly always there is none: whether it could be sent is looked at then alone.
        let probe = self.send.path.controller()?.poll_probe(now)?;
        (self.can_send() && self.send.can_pad()).then_some(probe)
    }

    /// Appends one protected packet of padding, of `bytes` or, where that is outside, of 64 or 280, and returns its length. It goes
    /// by an RTX stream, whose receivers are used to packets without content. `None`: no section has one.
    pub fn send_padding(&mut self, now: Instant, bytes: usize, out: &mut Vec<u8>) -> Option<usize> {
        let keys = self.keys.as_mut().filter(|_| self.closed.is_none())?;
        self.send.send_padding(now, &self.clock, &mut keys.send, bytes, out, &mut self.counters)
    }

    /// Tells a new estimate, in place of one that was not read yet.
    pub(super) fn tell_estimate(&mut self) {
        let Some(estimate) = self.send.path.changed() else { return };
        let full = self.events.len() >= Self::MAX_EVENTS;
        let waiting = self.events.iter_mut().find(|event| matches!(event, Event::Estimate(_)));
        match waiting {
            Some(event) => *event = Event::Estimate(estimate),
            // It counts as told only when it is: else the owner would go on with an old one.
            None if full => return,
            None => self.events.push_back(Event::Estimate(estimate)),
        }
        self.send.path.told = Some(estimate);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{Codec, CodecKind, ExtensionMap, MediaKind, Mid};

    use super::*;

    fn section(transport_cc: bool, remb: bool, ccfb: bool) -> SendSection {
        let mut extensions = ExtensionMap::default();
        if transport_cc {
            extensions.set(Extension::TransportSequence, 3);
        }
        let kind = CodecKind::Vp8;
        let codec = Codec {
            kind,
            payload_type: 96,
            rtx: None,
            nack: true,
            pli: true,
            fir: false,
            transport_cc,
            remb,
            ccfb,
        };
        SendSection {
            mid: Mid::new(b"v").expect("a mid"),
            media: MediaKind::Video,
            ssrc: 7,
            rtx_ssrc: None,
            codecs: vec![codec],
            extensions,
            cname: "c".into(),
            strips_trailers: false,
        }
    }

    fn path(section: SendSection) -> Path {
        let now = Instant::now();
        let mut path = Path::new(now);
        path.negotiated(now, &[section]);
        path
    }

    #[test]
    fn feedback_by_stream_is_used_where_there_is_nothing_transport_wide() {
        let now = Instant::now();
        let mut by_stream = path(section(false, true, true));
        assert!(by_stream.feedback && by_stream.by_stream.is_some());
        assert_eq!(by_stream.on_sent(now, 1_000, false), None, "no number is written into the packet");
        by_stream.sent_as(&Written { ssrc: 7, sequence: 65_536, header_len: 12, len: 1_000 });
        assert_eq!(by_stream.history.in_flight(), 1_000);
        assert!(by_stream.poll_timeout().is_some(), "silence would be noticed");
        let mut both = path(section(true, true, true));
        assert!(both.feedback && both.by_stream.is_none());
        assert!(both.on_sent(now, 1_000, true).is_some());
    }

    #[test]
    fn an_estimate_that_found_no_room_among_the_events_is_told_later() {
        let now = Instant::now();
        let wall = WallClock { at: now, ntp: base::NtpTime(0) };
        let certificate = crate::Certificate::generate([9; 16]).expect("a certificate");
        let config = Arc::new(crate::Config::new(certificate).expect("a configuration"));
        let local =
            crate::IceCredentials { ufrag: "user".into(), password: "password of 22 characters".into() };
        let ice = crate::IceRole::Lite { local, candidate: ([10, 0, 0, 1], 7_882).into() };
        let mut peer = Peer::new(now, wall, &config, ice, 1);
        peer.set_sections(now, &[], &[section(true, false, false)]);
        peer.events.extend((0..Peer::MAX_EVENTS).map(|_| Event::FirstMedia));
        peer.tell_estimate();
        while let Some(event) = peer.poll_event() {
            assert!(matches!(event, Event::FirstMedia), "{event:?}");
        }
        peer.tell_estimate();
        let told = peer.poll_event();
        let told = if let Some(Event::Estimate(estimate)) = told { Some(estimate) } else { None };
        assert!(told.is_some() && told == peer.estimate(), "{told:?}");
    }

    #[test]
    fn without_any_feedback_there_is_no_estimate() {
        let mut nothing = path(section(false, false, false));
        assert!(nothing.controller().is_none() && nothing.poll_timeout().is_none());
        assert!(path(section(false, true, false)).controller().is_some(), "REMB");
    }
}
