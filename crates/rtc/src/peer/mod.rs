//! A peer: the sub-machines composed, and what the worker calls.
//!
//! Each sub-machine has a file of its own and knows nothing of the others: [`crate::ice`], [`crate::dtls`],
//! [`crate::srtp`], [`crate::sctp`], and here `receive` and `send`. `control` lets them act on each other, `rtcp` reads
//! and writes reports and feedback.

mod control;
mod estimate;
mod receive;
mod rtcp;
mod send;
mod snapshot;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use base::Mid;
use base::ring::Slot;
use wire::media::{Received, Rewrite};
use wire::rtp::{Header, is_rtcp};

use self::receive::Receive;
use self::rtcp::Rtcp;
use self::send::{Packet, Send};
use crate::dtls::Dtls;
use crate::ice::Ice;
use crate::sctp::Sctp;
use crate::srtp::OpenError;
use crate::streams::Clock;
use crate::{
    ChannelError, CloseReason, Config, Counters, DtlsRole, Event, Fingerprint, IceCredentials, IceRole,
    ReceiveSection, SendIndex, SendSection, WallClock, srtp,
};

pub use self::rtcp::FeedbackTotals;
pub use self::snapshot::{PeerSnapshot, ReceiveSnapshot, SendSnapshot};

/// Channels that wait for DTLS to be opened.
const MAX_WANTED_CHANNELS: usize = 32;

/// A packet that the receiver asked for again: fetch what is stored in `slot` and hand both to [`Peer::send_rtx`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Resend {
    /// The send section.
    pub index: SendIndex,
    /// Its payload. When the ring has overrun it, nothing can be resent.
    pub slot: Slot,
    /// How it was rewritten when it was sent first.
    pub rewrite: Rewrite,
}

/// One connection to one WebRTC endpoint.
pub struct Peer {
    /// The time of the last call that had one.
    now: Instant,
    clock: WallClock,
    ice: Ice,
    dtls: Dtls,
    keys: Option<Box<Keys>>,
    sctp: Option<Box<Sctp>>,
    /// The association may have something to send.
    sctp_busy: bool,
    /// When an association that ended ends the peer.
    sctp_failed: Option<Instant>,
    channels: Vec<WantedChannel>,
    data_paused: bool,
    receive: Receive,
    send: Send,
    rtcp: Rtcp,
    first_media: bool,
    closed: Option<CloseReason>,
    events: VecDeque<Event>,
    counters: Counters,
}

/// SRTP in both directions.
struct Keys {
    send: srtp::Sender,
    receive: srtp::Receiver,
}

struct WantedChannel {
    label: String,
    ordered: bool,
    max_retransmits: Option<u16>,
}

impl Peer {
    /// Control events that wait at most before data messages stay in SCTP's receive window, and reports and keyframe
    /// requests are left out.
    pub const MAX_EVENTS: usize = 256;

    /// A peer that answers (or, full, sends) ICE checks from now on. `seed` decides its random numbers.
    pub fn new(now: Instant, clock: WallClock, config: &Arc<Config>, ice: IceRole, seed: u64) -> Self {
        let mut send = Send::new(now, seed);
        let rtcp = Rtcp::new(send.random() as u32);
        Self {
            now,
            clock,
            ice: Ice::new(now, ice),
            dtls: Dtls::new(config.clone()),
            keys: None,
            sctp: None,
            sctp_busy: false,
            sctp_failed: None,
            channels: Vec::new(),
            data_paused: false,
            receive: Receive::new(now),
            send,
            rtcp,
            first_media: false,
            closed: None,
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What the other side said about itself. Said again, it changes the ICE credentials alone. A handshake that the
    /// other side began before is completed now, if its certificate fits.
    pub fn set_remote(
        &mut self,
        now: Instant,
        remote: IceCredentials,
        fingerprint: Fingerprint,
        role: DtlsRole,
    ) {
        self.ice.set_remote(now, remote);
        self.dtls.set_remote(fingerprint, role);
        if self.ice.is_nominated() {
            self.dtls.start(now);
        }
        self.settle(now);
    }

    /// New local ICE credentials; the old ones hold until a check with the new ones nominates.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials) {
        self.ice.restart(now, local);
    }

    /// Whether checks for this user fragment are for this peer: of a lite peer, that of its credentials, and until a restart
    /// is nominated that of those before it. Of a full one, any.
    pub fn answers_to(&self, user: &str) -> bool {
        match &self.ice {
            Ice::Lite(lite) => lite.answers_to(user),
            Ice::Full(_) => true,
        }
    }

    /// To a full agent: an address at which the other side may be reached.
    pub fn add_remote_candidate(&mut self, now: Instant, address: SocketAddr) {
        if let Ice::Full(full) = &mut self.ice {
            full.add_remote_candidate(now, address);
        }
    }

    /// To a full agent: its sockets have other addresses now.
    pub fn replace_candidates(&mut self, now: Instant, candidates: &[SocketAddr]) {
        if let Ice::Full(full) = &mut self.ice {
            full.replace_candidates(now, candidates);
        }
    }

    /// The wanted media sections, all of them. State of a section that stays (same mid and SSRC) is kept.
    pub fn set_sections(&mut self, now: Instant, receive: &[ReceiveSection], send: &[SendSection]) {
        self.receive.set_sections(receive, &mut self.counters);
        self.send.set_sections(now, send, self.keys.as_mut().map(|keys| &mut keys.send));
        self.send.path.negotiated(now, send);
    }

    /// Opens a data channel as soon as SCTP is up; [`Event::ChannelOpen`] follows. `None` for `max_retransmits` =
    /// reliable. Nothing happens when a channel with this label is open.
    pub fn open_channel(&mut self, now: Instant, label: &str, ordered: bool, max_retransmits: Option<u16>) {
        if let Some(sctp) = &mut self.sctp {
            sctp.open(label, ordered, max_retransmits, &mut self.counters);
            self.sctp_busy = true;
            self.settle(now);
        } else if self.channels.len() < MAX_WANTED_CHANNELS {
            self.channels.push(WantedChannel { label: label.to_owned(), ordered, max_retransmits });
        } else {
            self.counters.channels_refused += 1;
        }
    }

    /// Closes a data channel; [`Event::ChannelClosed`] follows when the other side has closed it too.
    pub fn close_channel(&mut self, now: Instant, label: &str) {
        self.channels.retain(|channel| channel.label != label);
        if let Some(sctp) = &mut self.sctp {
            sctp.close(label);
            self.sctp_busy = true;
            self.settle(now);
        }
    }

    /// Sends a message on the open channel with this label.
    pub fn send_message(
        &mut self,
        now: Instant,
        label: &str,
        text: bool,
        payload: &[u8],
    ) -> Result<(), ChannelError> {
        let sctp = self.sctp.as_mut().ok_or(ChannelError::NoSuchChannel)?;
        sctp.send(label, text, payload)?;
        self.sctp_busy = true;
        self.settle(now);
        Ok(())
    }

    /// While paused, messages stay in SCTP's receive window, which slows their sender.
    pub fn pause_data(&mut self, now: Instant, paused: bool) {
        self.data_paused = paused;
        if let Some(sctp) = &mut self.sctp {
            sctp.pause(paused, &mut self.counters);
            self.sctp_busy = true;
            self.settle(now);
        }
    }

    /// Takes a datagram. RTP comes back decrypted in place; everything else is consumed.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Option<Received> {
        self.now = now;
        if self.closed.is_some() {
            return None;
        }
        // RFC 7983 section 7.
        let first = *datagram.first()?;
        match first {
            0..=3 => self.receive_stun(now, from, datagram),
            20..=63 | 128..=191 if !self.ice.is_valid(from) => self.counters.unvalidated_source += 1,
            20..=63 => self.receive_dtls(now, datagram),
            128..=191 => return self.receive_media(now, datagram),
            _ => self.counters.unknown_class += 1,
        }
        None
    }

    fn receive_media(&mut self, now: Instant, datagram: &mut [u8]) -> Option<Received> {
        let Some(keys) = &mut self.keys else {
            self.counters.srtp_before_keys += 1;
            return None;
        };
        if is_rtcp(datagram) {
            match keys.receive.open_rtcp(datagram) {
                Ok(len) => {
                    self.ice.heard(now);
                    self.receive_rtcp(now, &datagram[..len]);
                }
                Err(error) => self.count(error),
            }
            return None;
        }
        let Some(header) = Header::parse_protected(datagram) else {
            self.counters.srtp_malformed += 1;
            return None;
        };
        match keys.receive.open_rtp(header.ssrc, header.sequence, header.header_len, datagram) {
            Ok(opened) => {
                self.counters.srtp_streams_evicted += u64::from(opened.evicted);
                self.receive_rtp(now, header, &datagram[..opened.len])
            }
            Err(error) => {
                self.count(error);
                None
            }
        }
    }

    fn receive_rtp(&mut self, now: Instant, header: Header, packet: &[u8]) -> Option<Received> {
        let Some(header) = header.unprotected(packet) else {
            self.counters.srtp_malformed += 1;
            return None;
        };
        self.counters.rtp_received += 1;
        self.rtcp.media_arrived(now);
        if !std::mem::replace(&mut self.first_media, true) {
            self.events.push_back(Event::FirstMedia);
        }
        self.receive.receive(now, header, packet, &mut self.counters)
    }

    fn count(&mut self, error: OpenError) {
        match error {
            OpenError::Malformed => self.counters.srtp_malformed += 1,
            OpenError::Replayed => self.counters.srtp_replayed += 1,
            OpenError::Unauthenticated => self.counters.srtp_unauthenticated += 1,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.closed.is_none() {
            self.handle_timers(now);
        }
    }

    /// When [`Self::handle_timeout`], followed by [`Self::poll_transmit`], is due. `None`: never, by itself.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if self.closed.is_some() { None } else { self.next_timer() }
    }

    /// Whether [`Self::send`] moved the deadline since this was asked last. Most of the time it does not, and then, alone of all
    /// calls, it needs nothing else to be looked at.
    #[inline]
    pub fn take_deadline_moved(&mut self) -> bool {
        std::mem::take(&mut self.send.path.moved)
    }

    /// Writes the next control datagram (STUN, DTLS, SCTP, RTCP) into `out`, which it clears first. Call until `None`.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        self.write_control(now, out)
    }

    /// The next event. Call until `None`; messages beyond [`Self::MAX_EVENTS`] are read as room is made for them.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() && self.closed.is_none() {
            self.take_sctp_events(self.now);
        }
        self.events.pop_front()
    }

    /// Where media goes now: the latest authenticated nominated address; before there is one, a validated address.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.ice.destination()
    }

    /// True when SRTP keys and an address are there.
    pub fn can_send(&self) -> bool {
        self.keys.is_some() && self.closed.is_none() && self.destination().is_some()
    }

    /// The handle of a send section.
    pub fn send_index(&self, mid: Mid) -> Option<SendIndex> {
        self.send.index(mid)
    }

    /// The mid behind a handle, `None` when the section is gone.
    pub fn send_mid(&self, index: SendIndex) -> Option<Mid> {
        self.send.get(index).map(|outgoing| outgoing.section.mid)
    }

    /// Length of the SRTP packet that [`Self::send`] would make of so many stored bytes, without padding; 0 when it
    /// would make none. With it a caller picks `pad_to` for a run of equal segments.
    pub fn packet_len(&self, index: SendIndex, rewrite: &Rewrite, stored_len: usize) -> usize {
        let (Some(keys), Some(outgoing)) = (&self.keys, self.send.get(index)) else { return 0 };
        outgoing.stream.packet_len(rewrite, stored_len) + keys.send.profile().rtp_overhead()
    }

    /// Appends one protected RTP packet to `out` and returns its length. `stored` is the payload, behind the dependency
    /// descriptor that `rewrite` announces; the descriptor is left out where the section did not negotiate it. `pad_to`
    /// asks for a total length, reached by RTP padding when it is 1 to 255 bytes more. `None`: nothing was appended, because the handle is stale, the codec
    /// was not negotiated, keys are missing, or the sequence number was sent before.
    #[expect(clippy::too_many_arguments, reason = "the data path passes plain values")]
    pub fn send(
        &mut self,
        now: Instant,
        index: SendIndex,
        rewrite: &Rewrite,
        slot: Slot,
        stored: &[u8],
        pad_to: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let keys = self.keys.as_mut().filter(|_| self.closed.is_none())?;
        let packet = Packet { index, rewrite, slot, stored, pad_to };
        self.send.send(now, &self.clock, &mut keys.send, &packet, out, &mut self.counters)
    }

    /// Whether [`Self::poll_resend`] may have one.
    #[inline]
    pub fn has_resends(&self) -> bool {
        self.send.has_resends()
    }

    /// The next packet that the receiver asked for again and may have again.
    pub fn poll_resend(&mut self, now: Instant) -> Option<Resend> {
        self.send.poll_resend(now)
    }

    /// Appends the RTX packet (RFC 4588) for `resend`, as [`Self::send`] does.
    pub fn send_rtx(
        &mut self,
        now: Instant,
        resend: &Resend,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let keys = self.keys.as_mut().filter(|_| self.closed.is_none())?;
        self.send.send_rtx(now, &self.clock, &mut keys.send, resend, stored, out, &mut self.counters)
    }

    /// Asks the publisher for a keyframe of one layer (PLI, or FIR where PLI was not negotiated). Not limited in rate:
    /// the caller merges requests.
    pub fn request_keyframe(&mut self, now: Instant, mid: Mid, layer: u8) {
        self.now = now;
        self.rtcp.request_keyframe(mid, layer);
    }

    /// The publisher's clock in the receiver's timestamps, from which sender reports are made: the first with the first
    /// packets, then one each second.
    pub fn set_clock(&mut self, index: SendIndex, clock: Clock) {
        self.send.set_clock(index, clock);
    }

    /// Says goodbye (DTLS close_notify) and ends. Drain [`Self::poll_transmit`] once more.
    pub fn close(&mut self, now: Instant) {
        self.now = now;
        self.end(CloseReason::Local);
    }

    /// True after the end, whatever its reason.
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// All counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
