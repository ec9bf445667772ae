//! The paths whose instructions are counted, each a function of its own: callgrind counts while one of them runs. What they
//! call is what `worker` calls, in the same order.

use std::time::Instant;

use base::MediaKind;
use wire::media::Decision;
use worker::ByHand;

use crate::pairs::Datagrams;
use crate::stage::{Opened, Run, Sealed, Sink, Stage, index};

/// Hop 3: packets from the publisher are authenticated, decrypted and noted.
#[inline(never)]
pub fn counted_receive(stage: &mut Stage, datagrams: Datagrams, opened: &mut Vec<Opened>) {
    let from = stage.publisher.at_client;
    for (at, mut datagram) in datagrams {
        if let Some(received) = stage.publisher.server.receive(at, from, &mut datagram) {
            opened.push(Opened { received, datagram });
        }
    }
}

/// Hop 4: the payload is stored, and it is decided for every subscriber.
#[inline(never)]
pub fn counted_forward(stage: &mut Stage, opened: &[Opened], decided: &mut Vec<(Instant, Decision<Sink>)>) {
    for Opened { received, datagram } in opened {
        let track = index(received.media);
        let (descriptor, payload) = received.stored(datagram);
        let Some(slot) = stage.rings[track].push_joined(descriptor, payload) else { continue };
        let (at, stored) = (received.arrival, (descriptor, payload));
        stage.decisions.clear();
        stage.media.forward(at, stage.tracks[track], received, stored, slot, &mut stage.decisions);
        decided.extend(stage.decisions.iter().map(|decision| (at, *decision)));
    }
}

/// Hop 5, sound.
#[inline(never)]
pub fn counted_seal_audio(stage: &mut Stage, runs: &[Run], sealed: &mut Vec<Sealed>) {
    seal(stage, runs, MediaKind::Audio, sealed);
}

/// Hop 5, picture.
#[inline(never)]
pub fn counted_seal_video(stage: &mut Stage, runs: &[Run], sealed: &mut Vec<Sealed>) {
    seal(stage, runs, MediaKind::Video, sealed);
}

#[inline(always)]
fn seal(stage: &mut Stage, runs: &[Run], media: MediaKind, sealed: &mut Vec<Sealed>) {
    let track = index(media);
    for Run { at, subscriber, entries } in runs {
        let peer = &mut stage.subscribers[*subscriber].server;
        stage.lengths.clear();
        for (section, slot, rewrite) in entries {
            let stored = stage.rings[track].get(*slot).map_or(0, <[u8]>::len);
            stage.lengths.push(peer.packet_len(*section, rewrite, stored));
        }
        for (section, slot, rewrite) in entries {
            let Some(stored) = stage.rings[track].get(*slot) else { continue };
            let start = stage.out.len();
            if peer.send(*at, *section, rewrite, *slot, stored, None, &mut stage.out).is_some() {
                let bytes = start..stage.out.len();
                sealed.push(Sealed { at: *at, subscriber: *subscriber, media: Some(media), bytes });
            }
        }
    }
}

/// Reports, feedback and requests of the subscribers are read.
#[inline(never)]
pub fn counted_feedback(stage: &mut Stage, answers: Vec<(usize, Datagrams)>) {
    for (subscriber, datagrams) in answers {
        let pair = &mut stage.subscribers[subscriber];
        for (at, mut datagram) in datagrams {
            pair.server.receive(at, pair.at_client, &mut datagram);
            while pair.server.poll_event().is_some() {}
        }
    }
}

/// What subscribers miss is sent again.
#[inline(never)]
pub fn counted_resend(stage: &mut Stage, sealed: &mut Vec<Sealed>) {
    let at = stage.now;
    for (subscriber, pair) in stage.subscribers.iter_mut().enumerate() {
        while let Some(resend) = pair.server.poll_resend(at) {
            let ring = stage.rings.iter().find(|ring| ring.id() == resend.slot.ring());
            let Some(stored) = ring.and_then(|ring| ring.get(resend.slot)) else { continue };
            let start = stage.out.len();
            if pair.server.send_rtx(at, &resend, stored, &mut stage.out).is_some() {
                sealed.push(Sealed { at, subscriber, media: None, bytes: start..stage.out.len() });
            }
        }
    }
}

/// One tick of a whole worker. There are too many of them for a file each: [`counted_tick`] ends one.
#[inline(never)]
pub fn counted_in_tick(worker: &mut ByHand, now: Instant) {
    worker.tick(now);
}

/// Ends a slice of ticks.
#[inline(never)]
pub fn counted_tick(slice: usize) {
    std::hint::black_box(slice);
}

/// Ends a slice of ticks of two workers between which everything crosses.
#[inline(never)]
pub fn counted_crossing(slice: usize) {
    // Not what [`counted_tick`] does: the compiler would make one of both.
    std::hint::black_box(("crossing", slice));
}
