//! A peer: the sub-machines composed, and what the worker calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use base::ring::Slot;
use base::{Mid, NtpTime};
use wire::media::{Received, Rewrite};

use crate::{
    ChannelError, Config, Counters, DtlsRole, Event, Fingerprint, IceCredentials, IceRole, ReceiveSection,
    SendIndex, SendSection, WallClock,
};

/// A publisher's clock in the numbers of one send section: `rtp` is the timestamp towards the receiver at `ntp`, which
/// was `at` on our clock.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clock {
    /// Wall-clock time.
    pub ntp: NtpTime,
    /// The same moment in the receiver's RTP timestamps.
    pub rtp: u32,
    /// The same moment on our monotonic clock.
    pub at: Instant,
}

/// A packet that the receiver asked for again.
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
    counters: Counters,
}

impl Peer {
    /// Control events that wait at most before data messages stay in SCTP's receive window.
    pub const MAX_EVENTS: usize = 256;

    /// A peer that answers (or, full, sends) ICE checks from now on. `seed` decides its random numbers.
    pub fn new(now: Instant, clock: WallClock, config: &Arc<Config>, ice: IceRole, seed: u64) -> Self {
        let _ = (now, clock, config, ice, seed);
        Self { counters: Counters::default() }
    }

    /// What the other side said about itself. Called again, it changes the ICE credentials only.
    pub fn set_remote(
        &mut self,
        now: Instant,
        remote: IceCredentials,
        fingerprint: Fingerprint,
        role: DtlsRole,
    ) {
        let _ = (now, remote, fingerprint, role);
    }

    /// New local ICE credentials; the old ones hold until a check with the new ones nominates.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials) {
        let _ = (now, local);
    }

    /// The wanted media sections, all of them. State of a section that stays (same mid and SSRC) is kept.
    pub fn set_sections(&mut self, now: Instant, receive: &[ReceiveSection], send: &[SendSection]) {
        let _ = (now, receive, send);
    }

    /// Opens a data channel as soon as SCTP is up. `None` for `max_retransmits` = reliable.
    pub fn open_channel(&mut self, now: Instant, label: &str, ordered: bool, max_retransmits: Option<u16>) {
        let _ = (now, label, ordered, max_retransmits);
    }

    /// Takes a datagram. RTP comes back decrypted in place; everything else is consumed.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Option<Received> {
        let _ = (now, from, datagram);
        None
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }

    /// Writes the next control datagram (STUN, DTLS, SCTP, RTCP) into `out`, which it clears first.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let _ = now;
        out.clear();
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Where media goes now.
    pub fn destination(&self) -> Option<SocketAddr> {
        None
    }

    /// True when SRTP keys and a nominated pair are there.
    pub fn can_send(&self) -> bool {
        false
    }

    /// The handle of a send section.
    pub fn send_index(&self, mid: Mid) -> Option<SendIndex> {
        let _ = mid;
        None
    }

    /// The mid behind a handle, `None` when the section is gone.
    pub fn send_mid(&self, index: SendIndex) -> Option<Mid> {
        let _ = index;
        None
    }

    /// Length of the SRTP packet that [`Self::send`] would make of a payload of this length, without padding. With it a
    /// caller picks `pad_to` for a run of equal segments.
    pub fn packet_len(&self, index: SendIndex, rewrite: &Rewrite, payload_len: usize) -> usize {
        let _ = (index, rewrite, payload_len);
        0
    }

    /// Appends one protected RTP packet to `out` and returns its length. `pad_to` asks for a total length, reached by RTP
    /// padding when it is 1 to 255 bytes more. `None`: nothing was appended, because the handle is stale, the codec was
    /// not negotiated, keys are missing, or the sequence number was sent before.
    #[expect(clippy::too_many_arguments, reason = "the data path passes plain values")]
    pub fn send(
        &mut self,
        now: Instant,
        index: SendIndex,
        rewrite: &Rewrite,
        slot: Slot,
        payload: &[u8],
        pad_to: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let _ = (now, index, rewrite, slot, payload, pad_to, out);
        None
    }

    /// The next packet that the receiver asked for again and may have again.
    pub fn poll_resend(&mut self, now: Instant) -> Option<Resend> {
        let _ = now;
        None
    }

    /// Appends the RTX packet (RFC 4588) for `resend`, as [`Self::send`] does.
    pub fn send_rtx(
        &mut self,
        now: Instant,
        resend: &Resend,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let _ = (now, resend, payload, out);
        None
    }

    /// Asks the publisher for a keyframe of one layer (PLI, or FIR where PLI was not negotiated).
    pub fn request_keyframe(&mut self, now: Instant, mid: Mid, layer: u8) {
        let _ = (now, mid, layer);
    }

    /// The publisher's clock in the receiver's timestamps, from which sender reports are made.
    pub fn set_clock(&mut self, index: SendIndex, clock: Clock) {
        let _ = (index, clock);
    }

    /// Sends a message on the open channel with this label.
    pub fn send_message(
        &mut self,
        now: Instant,
        label: &str,
        text: bool,
        payload: &[u8],
    ) -> Result<(), ChannelError> {
        let _ = (now, label, text, payload);
        Err(ChannelError::NoSuchChannel)
    }

    /// While paused, messages stay in SCTP's receive window, which slows their sender.
    pub fn pause_data(&mut self, now: Instant, paused: bool) {
        let _ = (now, paused);
    }

    /// Says goodbye (DTLS close_notify) and ends. Drain [`Self::poll_transmit`] once more.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }

    /// True after the end, whatever its reason.
    pub fn is_closed(&self) -> bool {
        false
    }

    /// All counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What a person debugging a call wants to see.
    pub fn snapshot(&self) -> PeerSnapshot {
        PeerSnapshot::default()
    }

    /// To a full agent: an address at which the other side may be reached.
    pub fn add_remote_candidate(&mut self, now: Instant, address: SocketAddr) {
        let _ = (now, address);
    }
}

/// The state of a peer in plain values.
#[derive(Clone, Debug, Default)]
pub struct PeerSnapshot {
    /// Drop reasons and totals.
    pub counters: Counters,
}
