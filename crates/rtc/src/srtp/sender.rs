//! Protecting what we send.

use std::fmt;

use super::cipher::{Cipher, RTCP_HEADER};
use super::window::Window;
use super::{MasterKey, Profile};

/// SSRCs that one key may protect in its life. State is never forgotten, since a forgotten index could be sealed again;
/// a peer that has used up this many must be connected anew.
const MAX_STREAMS: usize = 8_192;
/// SRTCP indices have 31 bits (RFC 3711 section 3.4).
const RTCP_INDEX_END: u32 = 1 << 31;
/// RTP packet indices have 48 bits.
const RTP_INDEX_END: u64 = 1 << 48;

/// The packet was not sealed, because its index was sealed before or is too old to tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this packet index was sealed before, or is too old to tell")
    }
}

impl std::error::Error for Refused {}

/// Names an SSRC of one [`Sender`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamHandle(u16);

struct Stream {
    ssrc: u32,
    /// Rollover count of the first packet. Receivers begin to count at 0 (RFC 3711 section 3.3.1), so ours is relative.
    base: Option<u64>,
    sealed: Window,
}

/// The sending direction of one key.
pub struct Sender {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    streams: Vec<Stream>,
    rtcp_index: u32,
}

impl Sender {
    /// A sender for a key that no other sender uses.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            profile: master.profile(),
            rtp: Cipher::rtp(master),
            rtcp: Cipher::rtcp(master),
            streams: Vec::new(),
            rtcp_index: 0,
        }
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The handle of an SSRC, for [`Self::seal_rtp`]. `None` when this key has protected too many.
    pub fn stream(&mut self, ssrc: u32) -> Option<StreamHandle> {
        let found = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let place = found.or_else(|| {
            let room = self.streams.len() < MAX_STREAMS;
            room.then(|| {
                self.streams.push(Stream { ssrc, base: None, sealed: Window::new() });
                self.streams.len() - 1
            })
        })?;
        Some(StreamHandle(place as u16))
    }

    /// One above the highest sequence number (extended, as [`Self::seal_rtp`] was given it) that was sealed for `stream`;
    /// `None` before the first. Whoever takes up an SSRC again must go on from there.
    pub fn next_sequence(&self, stream: StreamHandle) -> Option<u64> {
        let stream = self.streams.get(usize::from(stream.0))?;
        Some(stream.base? + stream.sealed.highest()? + 1)
    }

    /// Protects the RTP packet that begins at `start` in `packet` and ends with it, and appends the tag. Its header,
    /// `header_len` bytes, carries the SSRC of `stream` and the low 16 bits of `sequence`, which is extended over wraps.
    pub fn seal_rtp(
        &mut self,
        stream: StreamHandle,
        sequence: u64,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
    ) -> Result<(), Refused> {
        let stream = self.streams.get_mut(usize::from(stream.0)).ok_or(Refused)?;
        let base = *stream.base.get_or_insert(sequence & !0xFFFF);
        let index = sequence.checked_sub(base).filter(|index| *index < RTP_INDEX_END).ok_or(Refused)?;
        if !stream.sealed.is_new(index) {
            return Err(Refused);
        }
        stream.sealed.mark(index);
        self.rtp.seal_rtp(stream.ssrc, index, packet, start, header_len);
        Ok(())
    }

    /// Protects the RTCP compound packet that begins at `start` in `packet` and ends with it, and appends index and tag.
    /// Refuses one that is too short, and everything after 2^31 packets.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), Refused> {
        let header = packet.get(start..).and_then(|p| p.first_chunk::<RTCP_HEADER>()).ok_or(Refused)?;
        let ssrc = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if self.rtcp_index >= RTCP_INDEX_END {
            return Err(Refused);
        }
        // One counter for all our SSRCs: no (SSRC, index) repeats, and receivers only need it to grow.
        let index = self.rtcp_index;
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(ssrc, index, packet, start);
        Ok(())
    }
}
