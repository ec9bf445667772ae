//! Unprotecting what we receive.

use super::cipher::{Cipher, RTCP_HEADER};
use super::table::Table;
use super::window::Window;
use super::{MasterKey, Profile};

/// SSRCs whose replay state is kept: more than 64 publications with three layers, their retransmissions and their
/// predecessors need. Only authenticated packets make state, so nobody but the peer itself can push one out, and what it
/// could then replay is a stream that belongs to no section any more.
const MAX_STREAMS: u16 = 512;

/// Why a packet was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Too short to be what it says.
    Malformed,
    /// Received before, or too old to tell.
    Replayed,
    /// Not sealed with our peer's key.
    Unauthenticated,
}

/// An accepted RTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Packet index: the sequence number, extended over wraps.
    pub index: u64,
    /// Length of the packet in the clear.
    pub len: usize,
    /// The state of another SSRC was forgotten for this one.
    pub evicted: bool,
}

/// The receiving direction of one key.
pub struct Receiver {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_streams: Table<Window>,
    rtcp_streams: Table<Window>,
}

impl Receiver {
    /// A receiver.
    pub fn new(master: &MasterKey) -> Self {
        Self {
            profile: master.profile(),
            rtp: Cipher::rtp(master),
            rtcp: Cipher::rtcp(master),
            rtp_streams: Table::new(MAX_STREAMS),
            rtcp_streams: Table::new(MAX_STREAMS),
        }
    }

    /// The profile.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Unprotects an RTP packet in place. `ssrc`, `sequence` and `header_len` are those of its header.
    pub fn open_rtp(
        &mut self,
        ssrc: u32,
        sequence: u16,
        header_len: usize,
        packet: &mut [u8],
    ) -> Result<Opened, OpenError> {
        let window = self.rtp_streams.get(ssrc);
        let highest = window.and_then(Window::highest);
        let index = estimate_index(highest, sequence).ok_or(OpenError::Replayed)?;
        if window.is_some_and(|window| !window.is_new(index)) {
            return Err(OpenError::Replayed);
        }
        let len = self.rtp.open_rtp(ssrc, index, packet, header_len).ok_or(OpenError::Unauthenticated)?;
        let (window, evicted) = self.rtp_streams.get_or_insert(ssrc, Window::new);
        window.mark(index);
        Ok(Opened { index, len, evicted })
    }

    /// Unprotects an RTCP compound packet in place and returns its length in the clear.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let header = packet.first_chunk::<RTCP_HEADER>().ok_or(OpenError::Malformed)?;
        let ssrc = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let index = self.rtcp.rtcp_index(packet).ok_or(OpenError::Malformed)?;
        if self.rtcp_streams.get(ssrc).is_some_and(|window| !window.is_new(u64::from(index))) {
            return Err(OpenError::Replayed);
        }
        let len = self.rtcp.open_rtcp(ssrc, index, packet).ok_or(OpenError::Unauthenticated)?;
        let (window, _) = self.rtcp_streams.get_or_insert(ssrc, Window::new);
        window.mark(u64::from(index));
        Ok(len)
    }
}

/// The index nearest to the highest one that has this sequence number (RFC 3711 section 3.3.1 and appendix A). `None`:
/// it would lie before the first.
fn estimate_index(highest: Option<u64>, sequence: u16) -> Option<u64> {
    let Some(highest) = highest else { return Some(u64::from(sequence)) };
    let difference = sequence.wrapping_sub(highest as u16) as i16;
    highest.checked_add_signed(i64::from(difference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollover_counter_follows_the_stream() {
        assert_eq!(estimate_index(None, 65_535), Some(65_535));
        assert_eq!(estimate_index(Some(65_535), 0), Some(65_536));
        assert_eq!(estimate_index(Some(65_536), 65_535), Some(65_535));
        assert_eq!(estimate_index(Some(3 * 65_536 + 10), 5), Some(3 * 65_536 + 5));
        assert_eq!(estimate_index(Some(10), 65_535), None);
    }
}
