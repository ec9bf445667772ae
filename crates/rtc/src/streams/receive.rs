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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn stream() -> (Instant, ReceiveStream) {
        (Instant::now(), ReceiveStream::new(7, 90_000, true))
    }

    #[test]
    fn a_packet_that_was_repaired_is_not_passed_on_twice() {
        let (now, mut stream) = stream();
        let first = stream.receive(now, 65_534, 0).expect("new");
        assert_eq!(stream.receive(now, 0, 0), Some(first + 2));
        assert_eq!(stream.receive_repaired(now, 65_535), Some(first + 1));
        assert_eq!(stream.receive_repaired(now, 65_535), None, "repaired twice");
        assert_eq!(stream.receive(now, 65_535, 0), None, "the original comes after all");
        assert_eq!(stream.receive_repaired(now, 0), None, "had arrived");
        assert_eq!((stream.received(), stream.repaired()), (3, 1));
    }

    #[test]
    fn a_retransmission_cannot_move_the_stream_ahead() {
        let (now, mut stream) = stream();
        assert_eq!(stream.receive_repaired(now, 5), None, "nothing has arrived yet");
        stream.receive(now, 10, 0);
        assert_eq!(stream.receive_repaired(now, 20_000), None);
        assert_eq!(stream.receive(now, 11, 0), Some(0x1_0000 + 11));
        assert_eq!(stream.poll_timeout(), None, "nothing is missing");
    }

    #[test]
    fn what_is_skipped_is_asked_for_until_it_comes() {
        let (start, mut stream) = stream();
        stream.receive(start, 65_533, 0);
        stream.receive(start, 2, 0);
        let mut nacks = Vec::new();
        stream.take_nacks(start + 9 * MS, Some(40 * MS), &mut nacks);
        assert!(nacks.is_empty());
        let due = stream.poll_timeout().expect("four are missing");
        stream.take_nacks(due, Some(40 * MS), &mut nacks);
        assert_eq!(nacks, [65_534, 65_535, 0, 1]);
        stream.receive_repaired(due + 40 * MS, 0);
        stream.receive(due + 41 * MS, 65_534, 0);
        nacks.clear();
        stream.take_nacks(due + 50 * MS, Some(40 * MS), &mut nacks);
        assert_eq!(nacks, [65_535, 1]);
        assert_eq!(stream.given_up(), 0);
    }

    #[test]
    fn a_stream_without_nack_asks_for_nothing() {
        let now = Instant::now();
        let mut stream = ReceiveStream::new(7, 48_000, false);
        stream.receive(now, 1, 0);
        stream.receive(now, 100, 0);
        assert_eq!(stream.poll_timeout(), None);
        let mut nacks = Vec::new();
        stream.take_nacks(now + Duration::from_secs(1), None, &mut nacks);
        assert!(nacks.is_empty());
    }

    #[test]
    fn reports_count_loss_by_interval_and_in_all() {
        let (now, mut stream) = stream();
        assert_eq!(stream.report(now), None, "nothing has arrived");
        for sequence in (65_500..65_600u32).filter(|s| s % 4 != 3) {
            stream.receive(now, sequence as u16, 0);
        }
        stream.receive_repaired(now, 65_503);
        let report = stream.report(now).expect("packets arrived");
        // 65,500 to 65,598: 99 expected, 24 lost; the repaired one had been lost on the way all the same.
        assert_eq!((report.cumulative_lost, report.fraction_lost), (24, (24 * 256 / 99) as u8));
        assert_eq!(report.highest_sequence, 65_598, "one wrap");
        assert_eq!((report.last_sender_report, report.delay), (0, 0));
        for sequence in 65_599..65_700u32 {
            stream.receive(now, sequence as u16, 0);
        }
        let report = stream.report(now).expect("packets arrived");
        assert_eq!((report.cumulative_lost, report.fraction_lost), (24, 0));
        let report = stream.report(now).expect("still a stream");
        assert_eq!(report.fraction_lost, 0, "an interval without packets");
    }

    #[test]
    fn a_stream_that_loses_everything_between_reports_says_so_without_overflow() {
        let (now, mut stream) = stream();
        stream.receive(now, 0, 0);
        stream.report(now);
        stream.receive(now, 30_000, 0);
        let report = stream.report(now).expect("packets arrived");
        assert_eq!((report.fraction_lost, report.cumulative_lost), (255, 29_999));
    }

    #[test]
    fn the_delay_since_the_sender_report_is_counted() {
        let (now, mut stream) = stream();
        stream.receive(now, 1, 0);
        stream.sender_report(now, NtpTime(0x1111_2222_3333_4444));
        let report = stream.report(now + Duration::from_millis(1_500)).expect("a packet arrived");
        assert_eq!((report.last_sender_report, report.delay), (0x2222_3333, 65_536 * 3 / 2));
        let report = stream.report(now + Duration::from_secs(1_000_000)).expect("a packet arrived");
        assert_eq!(report.delay, u32::MAX, "long silence");
    }

    #[test]
    fn steady_arrivals_have_no_jitter_and_unsteady_ones_converge() {
        let (start, mut stream) = stream();
        let mut sequence = 0;
        let mut frame = |stream: &mut ReceiveStream, at: Duration, index: u32| {
            for packet in 0..3 {
                // The packets of a frame share a timestamp and come one after the other.
                stream.receive(start + at + packet * MS, sequence, index.wrapping_mul(3_000));
                sequence += 1;
            }
        };
        let period = Duration::from_nanos(1_000_000_000 / 30);
        for index in 0..200u32 {
            frame(&mut stream, period * index, index);
        }
        assert!(stream.jitter() < MS / 10, "{:?}", stream.jitter());
        for index in 200..600u32 {
            let late = if index.is_multiple_of(2) { 8 * MS } else { Duration::ZERO };
            frame(&mut stream, period * index + late, index);
        }
        // Each difference of transit times is 8 ms.
        let jitter = stream.jitter().as_micros();
        assert!((7_800..8_200).contains(&jitter), "{jitter}");
    }

    #[test]
    fn a_pause_or_a_jump_of_timestamps_is_no_jitter() {
        let (start, mut stream) = stream();
        stream.receive(start, 1, 0);
        stream.receive(start + 33 * MS, 2, 3_000);
        stream.receive(start + 60_000 * MS, 3, 6_000);
        stream.receive(start + 60_033 * MS, 4, 0x8000_0000);
        assert!(stream.jitter() < MS, "{:?}", stream.jitter());
    }

    #[test]
    fn rtx_gives_back_the_original_packet() {
        let mut packet = vec![0x80, 97, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x12, 0x34, 9, 8, 7];
        let mut header = Header::parse(&packet).expect("well formed");
        assert_eq!(unwrap_rtx(&mut header, &packet), Some(()));
        assert_eq!((header.sequence, &packet[header.payload]), (0x1234, &[9, 8, 7][..]));
        for len in 12..=14 {
            packet.truncate(26 - len);
            let mut header = Header::parse(&packet).expect("well formed");
            assert_eq!(unwrap_rtx(&mut header, &packet), None, "padding that probes");
        }
    }

    #[test]
    fn no_order_of_arrival_breaks_a_stream() {
        let (start, mut stream) = stream();
        let mut random = 1u64;
        let mut nacks = Vec::new();
        for step in 0..50_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let now = start + step * MS;
            let sequence = if random >> 60 < 2 { (random >> 20) as u16 } else { step as u16 };
            match random >> 62 {
                0 => drop(stream.receive_repaired(now, sequence.wrapping_sub(3))),
                _ => drop(stream.receive(now, sequence, (random >> 8) as u32)),
            }
            stream.take_nacks(now, None, &mut nacks);
            assert!(nacks.len() <= 512);
            nacks.clear();
            stream.report(now);
        }
    }
}
