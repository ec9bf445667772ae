//! A `str0m` peer in RTP mode: the independent other side.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::channel::ChannelId;
use str0m::config::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpPacket;
use str0m::{Candidate, Event, Input, Output, Rtc};

pub struct Theirs {
    pub rtc: Rtc,
    /// What it believes its address is; the network may show another.
    pub inside: SocketAddr,
    pub packets: Vec<RtpPacket>,
    pub messages: Vec<(ChannelId, Vec<u8>)>,
    pub opened: Vec<(ChannelId, String)>,
    pub closed_channels: Vec<ChannelId>,
    pub keyframe_requests: usize,
    pub connected: bool,
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    pub timeout: Instant,
}

impl Theirs {
    pub fn new(now: Instant, inside: SocketAddr, version: DtlsVersion) -> Self {
        let mut rtc = Rtc::builder().set_rtp_mode(true).set_dtls_version(version).build(now);
        rtc.add_local_candidate(Candidate::host(inside, "udp").expect("a candidate"));
        Self {
            rtc,
            inside,
            packets: Vec::new(),
            messages: Vec::new(),
            opened: Vec::new(),
            closed_channels: Vec::new(),
            keyframe_requests: 0,
            connected: false,
            out: Vec::new(),
            timeout: now,
        }
    }

    pub fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.inside, bytes) else { return };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).expect("str0m takes the datagram");
        }
        self.drain();
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).expect("str0m takes the time");
        self.drain();
    }

    pub fn drain(&mut self) {
        while self.rtc.is_alive() {
            match self.rtc.poll_output().expect("str0m has output") {
                Output::Timeout(at) => {
                    self.timeout = at;
                    break;
                }
                Output::Transmit(transmit) => {
                    self.out.push((transmit.destination, transmit.contents.to_vec()));
                }
                Output::Event(event) => self.take(event),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::RtpPacket(packet) => self.packets.push(packet),
            Event::ChannelOpen(id, label) => self.opened.push((id, label)),
            Event::ChannelClose(id) => self.closed_channels.push(id),
            Event::ChannelData(data) => self.messages.push((data.id, data.data)),
            Event::KeyframeRequest(_) => self.keyframe_requests += 1,
            _ => {}
        }
    }

    pub fn channel(&self, label: &str) -> Option<ChannelId> {
        self.opened.iter().find(|(_, l)| l == label).map(|(id, _)| *id)
    }
}
