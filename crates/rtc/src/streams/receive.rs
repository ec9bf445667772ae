//! A received RTP stream.

use std::time::{Duration, Instant};

use base::NtpTime;
use wire::rtcp::ReportBlock;
use wire::rtp::{Header, RTX_HEADER_LEN, original_sequence};

use super::missing::MissingList;
use super::sequence::{Arrival, SequenceWindow};

/// Jumps of the transit time above this come from a pause of the sender, not from the network.
const MAX_TRANSIT_CHANGE_S: i64 = 5;

/// One received SSRC: a track, a simulcast layer, or (for its reports alone) an RTX stream.
///
/// Packets are put in after authentication. Replayed packets must not come here (SRTP refuses them): a number that
/// comes twice is taken for a packet that arrived after its own retransmission.
#[derive(Clone, Debug)]
pub struct ReceiveStream {
    ssrc: u32,
    clock_rate: u32,
    window: SequenceWindow,
    missing: Option<MissingList>,
    first: Option<u64>,
    received: u64,
    repaired: u64,
    /// Expected and received packets at the last report.
    reported: (u64, u64),
    /// Jitter in sixteenths of timestamp units.
    jitter: i64,
    /// Arrival and timestamp of the first packet of the newest frame.
    newest: Option<(Instant, u32)>,
    last_arrival: Option<Instant>,
    /// Middle bits of the last sender report's time, and when it came.
    sender_report: Option<(u32, Instant)>,
}

impl ReceiveStream {
    /// `clock_rate` in Hz. `nack`: missing packets are asked for.
    pub fn new(ssrc: u32, clock_rate: u32, nack: bool) -> Self {
        Self {
            ssrc,
            clock_rate,
            window: SequenceWindow::default(),
            missing: nack.then(MissingList::default),
            first: None,
            received: 0,
            repaired: 0,
            reported: (0, 0),
            jitter: 0,
            newest: None,
            last_arrival: None,
            sender_report: None,
        }
    }

    /// The stream's SSRC.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// A packet of this SSRC arrived. Its extended sequence number, or `None` when it is of no more use: repaired
    /// before, or too old to tell.
    #[inline]
    pub fn receive(&mut self, now: Instant, sequence: u16, timestamp: u32) -> Option<u64> {
        let extended = self.window.extend(sequence);
        self.received += 1;
        self.last_arrival = Some(now);
        self.first.get_or_insert(extended);
        match self.window.insert(extended) {
            Arrival::Newest { skipped_from } => {
                if let Some(missing) = &mut self.missing {
                    missing.skipped(now, skipped_from..extended);
                }
                self.update_jitter(now, timestamp);
            }
            Arrival::Late => self.found(now, extended, false),
            Arrival::Duplicate | Arrival::TooOld => return None,
        }
        Some(extended)
    }

    /// A packet of this stream arrived as a retransmission; `sequence` is its original number ([`unwrap_rtx`]). Its
    /// extended number, or `None` when it had arrived, is too old, or is ahead of all that came (which a repair cannot
    /// be, while letting it in would let the RTX stream move the window).
    pub fn receive_repaired(&mut self, now: Instant, sequence: u16) -> Option<u64> {
        let extended = self.window.extend(sequence);
        if self.window.highest().is_none_or(|highest| extended > highest) {
            return None;
        }
        if self.window.insert(extended) != Arrival::Late {
            return None;
        }
        self.repaired += 1;
        self.found(now, extended, true);
        Some(extended)
    }

    fn found(&mut self, now: Instant, sequence: u64, repaired: bool) {
        if let Some(missing) = &mut self.missing {
            missing.arrived(now, sequence, repaired);
        }
    }

    /// RFC 3550 appendix A.8, between the first packets of frames: the packets of one frame share a timestamp, and
    /// their spacing says nothing.
    fn update_jitter(&mut self, now: Instant, timestamp: u32) {
        if let Some((at, newest)) = self.newest {
            if timestamp == newest {
                return;
            }
            let rate = i64::from(self.clock_rate);
            let elapsed = now.saturating_duration_since(at).as_micros().min(u128::from(u32::MAX)) as i64;
            let media = i64::from(timestamp.wrapping_sub(newest) as i32);
            let change = (elapsed * rate / 1_000_000 - media).abs();
            if change < MAX_TRANSIT_CHANGE_S * rate {
                self.jitter += change - ((self.jitter + 8) >> 4);
            }
        }
        self.newest = Some((now, timestamp));
    }

    /// A sender report on this stream arrived.
    pub fn sender_report(&mut self, now: Instant, ntp: NtpTime) {
        self.sender_report = Some((ntp.middle(), now));
    }

    /// The block for the next report, which begins a new interval for the lost fraction. `None`: nothing has arrived
    /// yet. Repaired packets count as lost, as they were (RFC 4588 section 6.3).
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let highest = self.window.highest()?;
        let expected = self.expected();
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, self.received);
        let interval = expected.saturating_sub(expected_before);
        let lost = interval.saturating_sub(self.received - received_before);
        let (last_sender_report, delay) = match self.sender_report {
            Some((middle, at)) => (middle, units_of_65536th(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
            cumulative_lost: (expected as i64 - self.received as i64).clamp(-0x80_0000, 0x7F_FFFF) as i32,
            // The first lap of extended numbers begins at 65,536.
            highest_sequence: highest.saturating_sub(0x1_0000) as u32,
            jitter: (self.jitter >> 4).clamp(0, i64::from(u32::MAX)) as u32,
            last_sender_report,
            delay,
        })
    }

    fn expected(&self) -> u64 {
        match (self.first, self.window.highest()) {
            (Some(first), Some(highest)) => highest + 1 - first.min(highest),
            _ => 0,
        }
    }

    /// Appends, in ascending order, the sequence numbers to be asked for now. `rtt`: of the connection, where known.
    pub fn take_nacks(&mut self, now: Instant, rtt: Option<Duration>, out: &mut Vec<u16>) {
        if let Some(missing) = &mut self.missing {
            missing.take_due(now, rtt, out);
        }
    }

    /// When [`Self::take_nacks`] has something to do.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.missing.as_ref()?.poll_timeout()
    }

    /// Packets that stay missing: asked for in vain, or too many at once.
    pub fn given_up(&self) -> u64 {
        self.missing.as_ref().map_or(0, MissingList::given_up)
    }

    /// Packets that arrived by themselves.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that arrived as retransmissions alone.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// When the last packet arrived by itself.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        let micros = (self.jitter >> 4).max(0) as u64 * 1_000_000;
        Duration::from_micros(micros / u64::from(self.clock_rate.max(1)))
    }
}

fn units_of_65536th(time: Duration) -> u32 {
    let units = time.as_micros() * 65_536 / 1_000_000;
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Takes the original sequence number off an RTX packet (RFC 4588 section 4): `header.sequence` becomes the original
/// one, and the payload the original payload. `None`: nothing is in it, as in padding that probes for bandwidth.
/// SSRC and payload type stay those of the RTX stream; the caller knows what they stand for.
pub fn unwrap_rtx(header: &mut Header, packet: &[u8]) -> Option<()> {
    let payload = packet.get(header.payload.clone())?;
    let original = original_sequence(payload).filter(|_| payload.len() > RTX_HEADER_LEN)?;
    header.sequence = original;
    header.payload.start += RTX_HEADER_LEN;
    Some(())
}
