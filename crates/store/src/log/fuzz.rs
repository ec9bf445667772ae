//! Segments of a log made of any bytes.

use super::record::{self, FORMAT, Kind};
use super::state::State;
use super::{Position, state_body};
use crate::frame;

const KINDS: [Kind; 5] = [Kind::Event, Kind::State, Kind::Checkpoint, Kind::Trim, Kind::Oldest];

/// The first segment; see [`crate::fuzz::log`].
pub(crate) fn segment(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = FORMAT.head(1, 4).to_vec();
    let begins_with_state =
        bytes.first().is_some_and(|kind| usize::from(kind.wrapping_sub(1)) % KINDS.len() == 1);
    let begin = || state_body(&State { epoch: 1, ..State::default() });
    let mut body = if begins_with_state { Vec::new() } else { begin() };
    while let Some((head, rest)) = bytes.split_first_chunk::<6>() {
        let [kind, partition, epoch, n, low, high] = *head;
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        if partition >= 128 && !body.is_empty() {
            out.extend_from_slice(&frame::frame(1, out.len() as u64, &body));
            body.clear();
        }
        let at = Position { epoch: u32::from(epoch), n: if n == 255 { u64::MAX } else { u64::from(n) } };
        let kind = KINDS[usize::from(kind.wrapping_sub(1)) % KINDS.len()];
        record::push(&mut body, kind, u16::from(partition % 128), at, payload);
        bytes = rest;
    }
    out.extend_from_slice(&frame::frame(1, out.len() as u64, &body));
    out
}
