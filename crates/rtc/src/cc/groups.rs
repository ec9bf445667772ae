//! Phase 1: packets that left together are one measurement (draft-ietf-rmcat-gcc-02 section 4.1).

use super::Arrived;

/// What leaves within this time of the first packet is one burst.
const BURST_US: i64 = 5_000;
/// A burst that the path has pressed together is not followed for longer.
const MAX_BURST_US: i64 = 100_000;
/// More queue than any network holds: one of the clocks was set.
const CLOCK_JUMP_US: i64 = 3_000_000;
/// Groups that arrived before their predecessors, in a row, after which measuring starts over.
const MAX_BACKWARDS: u8 = 3;

/// How two successive groups differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delta {
    /// Time between their last packets when they were sent.
    pub(super) sent_us: i64,
    /// The same when they arrived.
    pub(super) arrival_us: i64,
    /// When the later one arrived.
    pub(super) arrived_at_us: i64,
}

/// What a packet amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// No group is complete yet.
    Nothing,
    /// A group is complete and has a predecessor.
    Delta(Delta),
    /// A clock jumped: what was measured before means nothing.
    Reset,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrival: i64,
    last_arrival: i64,
}

/// Builds groups from packets in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    current: Option<Group>,
    previous: Option<Group>,
    backwards: u8,
}

impl Groups {
    pub(super) fn add(&mut self, packet: &Arrived) -> Outcome {
        let Some(current) = &mut self.current else {
            self.current = Some(Group::of(packet));
            return Outcome::Nothing;
        };
        if current.ends_with(packet) {
            return Outcome::Nothing;
        }
        if current.is_far_from(packet) {
            *self = Self::default();
            self.current = Some(Group::of(packet));
            return Outcome::Reset;
        }
        if packet.sent_us < current.first_sent {
            return Outcome::Nothing;
        }
        if current.takes(packet) {
            current.last_sent = current.last_sent.max(packet.sent_us);
            current.last_arrival = current.last_arrival.max(packet.arrival_us);
            return Outcome::Nothing;
        }
        let complete = *current;
        *current = Group::of(packet);
        self.complete(complete)
    }

    fn complete(&mut self, complete: Group) -> Outcome {
        let Some(previous) = self.previous.replace(complete) else { return Outcome::Nothing };
        let delta = Delta {
            sent_us: complete.last_sent - previous.last_sent,
            arrival_us: complete.last_arrival - previous.last_arrival,
            arrived_at_us: complete.last_arrival,
        };
        if delta.arrival_us < 0 {
            self.backwards += 1;
            if self.backwards >= MAX_BACKWARDS {
                *self = Self::default();
                return Outcome::Reset;
            }
            return Outcome::Nothing;
        }
        self.backwards = 0;
        Outcome::Delta(delta)
    }
}

impl Group {
    fn of(packet: &Arrived) -> Self {
        Self {
            first_sent: packet.sent_us,
            last_sent: packet.sent_us,
            first_arrival: packet.arrival_us,
            last_arrival: packet.arrival_us,
        }
    }

    fn takes(&self, packet: &Arrived) -> bool {
        if packet.sent_us - self.first_sent <= BURST_US {
            return true;
        }
        // The path held packets back and let them go together, as Wi-Fi does: their distances say nothing.
        let since_last = packet.arrival_us - self.last_arrival;
        let pressed = since_last < packet.sent_us - self.last_sent;
        pressed && since_last <= BURST_US && packet.arrival_us - self.first_arrival < MAX_BURST_US
    }

    /// It left with the last packet of a burst and arrived with it, as most packets of a frame do: it changes nothing.
    #[inline]
    fn ends_with(&self, packet: &Arrived) -> bool {
        (packet.sent_us, packet.arrival_us) == (self.last_sent, self.last_arrival)
            && self.last_sent - self.first_sent <= BURST_US
    }

    fn is_far_from(&self, packet: &Arrived) -> bool {
        let sent = packet.sent_us.saturating_sub(self.last_sent);
        let arrived = packet.arrival_us.saturating_sub(self.last_arrival);
        arrived.saturating_sub(sent).unsigned_abs() > CLOCK_JUMP_US as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sent_ms: i64, arrival_ms: i64) -> Arrived {
        Arrived { sent_us: sent_ms * 1_000, arrival_us: arrival_ms * 1_000, size: 1_000, cluster: 0 }
    }

    fn deltas(packets: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let mut groups = Groups::default();
        let outcomes = packets.iter().map(|(sent, arrival)| groups.add(&packet(*sent, *arrival)));
        let delta = |outcome| match outcome {
            Outcome::Delta(delta) => Some((delta.sent_us / 1_000, delta.arrival_us / 1_000)),
            _ => None,
        };
        outcomes.filter_map(delta).collect()
    }

    #[test]
    fn what_left_within_5_ms_is_one_group_measured_at_its_end() {
        let sent = [(0, 50), (3, 55), (30, 80), (35, 90), (60, 110), (90, 140)];
        assert_eq!(deltas(&sent), [(32, 35), (25, 20)]);
    }

    #[test]
    fn what_the_path_pressed_together_is_one_group() {
        // Sent every 20 ms, held back and delivered at once.
        assert_eq!(
            deltas(&[(0, 50), (20, 120), (40, 121), (60, 122), (100, 150), (120, 170)]),
            [(60, 72), (40, 28)]
        );
    }

    #[test]
    fn a_packet_from_before_the_group_is_left_out() {
        assert_eq!(deltas(&[(0, 50), (30, 80), (10, 85), (60, 110), (90, 140)]), [(30, 30), (30, 30)]);
    }

    #[test]
    fn clocks_that_jump_start_the_measurement_over() {
        let mut groups = Groups::default();
        for (sent, arrival) in [(0, 50), (30, 80), (60, 110)] {
            groups.add(&packet(sent, arrival));
        }
        assert_eq!(groups.add(&packet(90, 9_000)), Outcome::Reset);
        assert_eq!(groups.add(&packet(120, 9_030)), Outcome::Nothing);
        assert_eq!(groups.add(&packet(150, i64::MIN / 1_000)), Outcome::Reset);
        assert_eq!(groups.add(&packet(180, i64::MAX / 1_000)), Outcome::Reset);
    }
}
