//! How ICE, DTLS and SCTP act on each other, and everything that is not on the data path: timers, events, control
//! datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::receive::earlier;
use super::{Keys, Peer};
use crate::dtls::DtlsEvent;
use crate::event::{CloseReason, Event};
use crate::ice::IceEvent;
use crate::sctp::{Sctp, SctpEvent};
use crate::{DtlsRole, srtp};

/// An association that ends is mostly followed by close_notify, which tells why. It is given this long.
const SCTP_GRACE: Duration = Duration::from_secs(1);

impl Peer {
    /// STUN.
    pub(super) fn receive_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.ice.receive(now, from, datagram, &mut self.counters);
        self.settle(now);
    }

    /// DTLS from a validated address.
    pub(super) fn receive_dtls(&mut self, now: Instant, datagram: &[u8]) {
        self.dtls.receive(now, datagram, &mut self.counters);
        self.settle(now);
    }

    /// Lets what happened in one sub-machine act on the others, until nothing more happens.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(event) = self.ice.poll_event() {
            self.handle_ice(now, event);
        }
        while let Some(event) = self.dtls.poll_event() {
            self.handle_dtls(now, event);
        }
        self.take_sctp_events(now);
    }

    fn handle_ice(&mut self, now: Instant, event: IceEvent) {
        match event {
            IceEvent::Validated(address) => self.events.push_back(Event::SourceValidated(address)),
            IceEvent::Forgotten(address) => self.events.push_back(Event::SourceForgotten(address)),
            IceEvent::Connected => {
                self.events.push_back(Event::IceConnected);
                self.dtls.start(now);
            }
            IceEvent::Interrupted => self.events.push_back(Event::Interrupted),
            IceEvent::TimedOut => self.end(CloseReason::IceTimeout),
        }
    }

    fn handle_dtls(&mut self, now: Instant, event: DtlsEvent) {
        match event {
            DtlsEvent::Connected { send, receive } => {
                let mut keys =
                    Keys { send: srtp::Sender::new(&send), receive: srtp::Receiver::new(&receive) };
                self.send.set_keys(&mut keys.send);
                self.keys = Some(Box::new(keys));
                self.start_sctp(self.dtls.role().unwrap_or(DtlsRole::Server));
                self.events.push_back(Event::DtlsConnected);
            }
            DtlsEvent::Data(packet) => {
                if let Some(sctp) = &mut self.sctp {
                    sctp.receive(now, packet, &mut self.counters);
                    self.sctp_busy = true;
                }
            }
            DtlsEvent::Closed => self.end(CloseReason::Remote),
            DtlsEvent::Failed => self.end(CloseReason::DtlsFailed),
            DtlsEvent::WrongFingerprint => self.end(CloseReason::WrongFingerprint),
        }
    }

    fn start_sctp(&mut self, role: DtlsRole) {
        let mut sctp = Sctp::new(role);
        for channel in self.channels.drain(..) {
            sctp.open(&channel.label, channel.ordered, channel.max_retransmits, &mut self.counters);
        }
        sctp.pause(self.data_paused, &mut self.counters);
        self.sctp = Some(Box::new(sctp));
        self.sctp_busy = true;
    }

    /// Moves events out of the association while there is room for them.
    pub(super) fn take_sctp_events(&mut self, now: Instant) {
        let Some(sctp) = self.sctp.as_mut().filter(|_| self.closed.is_none()) else { return };
        while self.events.len() < Self::MAX_EVENTS {
            let event = sctp.poll_event().or_else(|| {
                sctp.pump(&mut self.counters);
                sctp.poll_event()
            });
            match event {
                Some(SctpEvent::Open { label, ordered, max_retransmits }) => {
                    self.events.push_back(Event::ChannelOpen { label, ordered, max_retransmits });
                }
                Some(SctpEvent::Closed { label }) => {
                    self.events.push_back(Event::ChannelClosed { label });
                }
                Some(SctpEvent::Data { label, text, payload }) => {
                    self.events.push_back(Event::Data { label, text, payload });
                }
                Some(SctpEvent::Failed) => self.sctp_failed = Some(now + SCTP_GRACE),
                None => break,
            }
            self.sctp_busy = true;
        }
    }

    /// Queues an event that may be left out when the owner is behind.
    pub(super) fn push_minor(&mut self, event: Event) {
        if self.events.len() < Self::MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    /// The end, once.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            // What was said before the goodbye is heard.
            self.take_sctp_events(self.now);
            self.closed = Some(reason);
            self.dtls.close();
            self.events.push_back(Event::Closed(reason));
        }
    }

    pub(super) fn handle_timers(&mut self, now: Instant) {
        if self.ice.poll_timeout().is_some_and(|at| at <= now) {
            self.ice.handle_timeout(now);
        }
        if self.dtls.poll_timeout().is_some_and(|at| at <= now) {
            self.dtls.handle_timeout(now, &mut self.counters);
        }
        if let Some(sctp) = &mut self.sctp
            && sctp.poll_timeout().is_some_and(|at| at <= now)
        {
            sctp.handle_timeout(now, &mut self.counters);
            self.sctp_busy = true;
        }
        if self.send.path.poll_timeout().is_some_and(|at| at <= now)
            && let Some(controller) = self.send.path.controller()
        {
            controller.handle_timeout(now);
            self.tell_estimate();
        }
        self.settle(now);
        if self.sctp_failed.is_some_and(|at| at <= now) {
            self.end(CloseReason::SctpFailed);
        }
    }

    pub(super) fn next_timer(&mut self) -> Option<Instant> {
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.poll_timeout());
        let control = earlier(self.ice.poll_timeout(), earlier(self.dtls.poll_timeout(), sctp));
        let media = earlier(self.rtcp_timeout(), self.send.path.poll_timeout());
        let media = media.filter(|_| self.can_send_rtcp());
        earlier(earlier(control, self.sctp_failed), media)
    }

    fn can_send_rtcp(&self) -> bool {
        self.keys.is_some() && self.ice.destination().is_some()
    }

    /// Writes the next control datagram into `out`, which is empty.
    pub(super) fn write_control(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some(to) = self.ice.poll_transmit(out) {
            return Some(to);
        }
        let to = self.ice.destination()?;
        if self.dtls.poll_transmit(out) {
            return Some(to);
        }
        if self.closed.is_some() {
            return None;
        }
        self.encrypt_sctp(now);
        if self.dtls.poll_transmit(out) {
            return Some(to);
        }
        (self.keys.is_some() && self.write_srtcp(now, out)).then_some(to)
    }

    /// Pulls one SCTP packet through DTLS. One at a time, so that neither has to queue what the other makes.
    fn encrypt_sctp(&mut self, now: Instant) {
        if !self.sctp_busy {
            return;
        }
        let Some(sctp) = &mut self.sctp else { return };
        match sctp.poll_transmit(now) {
            Some(packet) => self.dtls.send(&packet, &mut self.counters),
            None => self.sctp_busy = false,
        }
        self.settle(now);
    }

    fn write_srtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if !self.write_rtcp(now, out) {
            return false;
        }
        let sealed = self.keys.as_mut().is_some_and(|keys| keys.send.seal_rtcp(out, 0).is_ok());
        if sealed {
            self.counters.rtcp_sent += 1;
        } else {
            out.clear();
        }
        sealed
    }
}
