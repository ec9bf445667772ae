//! Hop 5 for one peer: control datagrams, retransmissions, then its outbox, all into the batch.

use std::net::SocketAddr;
use std::time::Instant;

use crate::demux::Refusals;
use crate::metrics::Counts;
use crate::outbox::{Entry, Outbox, Overrun, Sealing};
use crate::peers::Peer;
use crate::rooms::Room;
use crate::socket::Io;

/// Control datagrams of one peer in one tick. A full SCTP window is some 100 datagrams; what is left goes next tick.
const MAX_CONTROL: usize = 256;
/// Retransmissions to one peer in one tick; what is left goes next tick.
const MAX_RESENDS: usize = 256;

/// What all peers share: buffers that are reused from one to the next, and a budget.
#[derive(Default)]
pub(crate) struct Scratch {
    refusals: Refusals,
    datagram: Vec<u8>,
    lengths: Vec<usize>,
    pub(crate) overruns: Vec<Overrun>,
}

/// Empties the peer into the batch. `true`: something is left for the next tick.
pub(crate) fn flush(
    now: Instant,
    peer: &mut Peer,
    room: Option<&Room>,
    io: &mut Io,
    counts: &mut Counts,
    scratch: &mut Scratch,
) -> bool {
    counts.dropped_data_out += peer.waiting.retry(now, &mut peer.rtc);
    let left = transmit_control(now, peer, io, counts, scratch);
    let destination = peer.rtc.destination().filter(|_| peer.rtc.can_send());
    let (Some(destination), Some(room)) = (destination, room) else {
        counts.dropped_unsendable += peer.outbox.len() as u64;
        peer.outbox.clear();
        return left;
    };
    let left = resend(now, peer, room, destination, io, counts) || left;
    if !peer.outbox.is_empty() {
        let mut outbox = std::mem::take(&mut peer.outbox);
        let source = peer.path_to(destination);
        let Scratch { lengths, overruns, .. } = scratch;
        let rtc = &mut peer.rtc;
        let mut sealing = Sealing { now, rtc, room, io, destination, source, counts, lengths, overruns };
        outbox.lists().into_iter().for_each(|list| sealing.seal(list));
        note_sequences(peer, &outbox);
        outbox.clear();
        peer.outbox = outbox;
    }
    left
}

fn transmit_control(
    now: Instant,
    peer: &mut Peer,
    io: &mut Io,
    counts: &mut Counts,
    scratch: &mut Scratch,
) -> bool {
    for _ in 0..MAX_CONTROL {
        let Some(destination) = peer.rtc.poll_transmit(now, &mut scratch.datagram) else { return false };
        if !scratch.refusals.admit(now, &scratch.datagram) {
            counts.dropped_refusals += 1;
            continue;
        }
        io.flush_if_full();
        io.push(destination, peer.path_to(destination), &scratch.datagram);
    }
    true
}

/// Retransmissions first: their receiver waits for them longest.
fn resend(
    now: Instant,
    peer: &mut Peer,
    room: &Room,
    destination: SocketAddr,
    io: &mut Io,
    counts: &mut Counts,
) -> bool {
    for _ in 0..MAX_RESENDS {
        let Some(resend) = peer.rtc.poll_resend(now) else { return false };
        let track = peer.subscribed(resend.index).map(|subscribed| subscribed.track);
        let rings = track.and_then(|track| room.track_rings(track));
        let Some(payload) = rings.and_then(|rings| rings.get(resend.slot)) else {
            // Too old to be of use: its receiver asks for a keyframe by itself.
            counts.dropped_overrun += 1;
            continue;
        };
        io.flush_if_full();
        if peer.rtc.send_rtx(now, &resend, payload, io.buffer()).is_some() {
            io.commit(destination, peer.path_to(destination));
            counts.resent += 1;
        } else {
            io.rollback();
            counts.dropped_unsendable += 1;
        }
    }
    true
}

fn note_sequences(peer: &mut Peer, outbox: &Outbox) {
    for list in outbox.lists() {
        for entries in list.chunk_by(|a, b| a.section == b.section) {
            let highest = entries.iter().map(|Entry { rewrite, .. }| rewrite.sequence).max();
            if let (Some(first), Some(highest)) = (entries.first(), highest) {
                peer.note_sequence(first.section, highest + 1);
            }
        }
    }
}
