//! A room's media state as JSON, for people who look for a fault.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::peers::{Peer, Peers};
use crate::rooms::{Room, Sink};
use crate::slots::RoomKey;

/// The room as JSON text; `null` when there is none.
pub(crate) fn room(now: Instant, room: Option<(RoomKey, &Room)>, peers: &Peers) -> String {
    let Some((key, room)) = room else { return "null".to_owned() };
    let media = room.media.as_ref().map(|media| media.snapshot(now));
    let members = peers.iter().filter(|(_, each)| each.room == key).map(|(_, each)| peer(each));
    json!({
        "room": room.id.to_string(),
        "media_lost": room.media.is_none(),
        "peers": members.collect::<Vec<_>>(),
        "payload_ring_bytes": room.rings.iter().map(|(_, rings)| rings.memory()).sum::<usize>(),
        "relays": relays(room),
        "from_other_rooms": guests(room),
        "tracks": media.as_ref().map(|media| tracks(media, peers)),
        "allocation": media.as_ref().map(|media| allocation(media, peers)),
    })
    .to_string()
}

fn relays(room: &Room) -> Value {
    let layers = |layers: &sfu::Layers| layers.iter().collect::<Vec<_>>();
    let to = room.relays.outgoing.iter().map(|(track, outgoing)| {
        let to = outgoing.to.iter();
        json!({
            "track": track.to_string(),
            "to": to.map(|(worker, of)| json!({ "worker": worker, "layers": layers(of) })).collect::<Vec<_>>(),
        })
    });
    let from = room.relays.incoming.iter().map(|(track, incoming)| {
        let wanted = room.media.as_ref().map(|media| media.relay_wanted(*track));
        json!({
            "track": track.to_string(),
            "worker": incoming.from,
            "layers": wanted.as_ref().map(layers),
        })
    });
    json!({ "to": to.collect::<Vec<_>>(), "from": from.collect::<Vec<_>>() })
}

fn guests(room: &Room) -> Vec<Value> {
    let guests = room.copies.guests.iter();
    let each =
        guests.map(|(track, guest)| json!({ "track": track.to_string(), "room": guest.home.to_string() }));
    each.collect()
}

fn peer(peer: &Peer) -> Value {
    let times = peer.setup.times;
    let millis = |time: Option<std::time::Duration>| time.map(|time| time.as_secs_f64() * 1_000.0);
    json!({
        "peer": peer.id.to_string(),
        "participant": peer.participant.to_string(),
        "ice_ms": millis(times.ice),
        "dtls_ms": millis(times.dtls),
        "first_media_ms": millis(times.first_media),
        "destination": peer.rtc.destination().map(|address| address.to_string()),
        "can_send": peer.rtc.can_send(),
        "quality": peer.grade.told().map(|quality| format!("{quality:?}")),
        "data_paused": peer.data_paused,
        "estimate_bits_per_second": peer.rtc.estimate().map(|estimate| estimate.0),
        "wanted_bits_per_second": peer.wanted.0,
        "pacing": peer.pacer.as_ref().map(|pacer| json!({
            "bits_per_second": pacer.rate().0,
            "waiting_packets": peer.outbox.len(),
            "waiting_ms": pacer.time(peer.outbox.video.bytes()).as_secs_f64() * 1_000.0,
        })),
        "publishes": peer.published.iter().map(|each| json!({
            "mid": each.mid.as_str(),
            "track": each.track.to_string(),
        })).collect::<Vec<_>>(),
        "receives": peer.subscribed.iter().map(|each| json!({
            "mid": each.mid.as_str(),
            "track": each.track.to_string(),
            "ssrc": each.ssrc,
            "next_sequence": each.next_sequence,
            "paused": each.paused,
        })).collect::<Vec<_>>(),
        "counters": counters(peer.rtc.counters()),
        "transport": format!("{:?}", peer.rtc.snapshot()),
    })
}

/// Those that are not zero.
fn counters(counters: &rtc::Counters) -> Map<String, Value> {
    let some = counters.fields().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| (name.to_owned(), count.into())).collect()
}

fn tracks(media: &sfu::Snapshot<Sink>, peers: &Peers) -> Vec<Value> {
    media.publications.iter().map(|each| track(each, peers)).collect()
}

/// What the connections carry, by receiver.
fn allocation(media: &sfu::Snapshot<Sink>, peers: &Peers) -> Vec<Value> {
    let receivers = media.receivers.iter().map(|each| {
        json!({
            "peer": peers.get(each.receiver).map(|peer| peer.id.to_string()),
            "estimate_bits_per_second": each.estimate.0,
            "video_bits_per_second": each.video.0,
            "audio_bits_per_second": each.audio.0,
            "wanted_bits_per_second": each.wanted.0,
        })
    });
    receivers.collect()
}

fn track(track: &sfu::PublicationSnapshot<Sink>, peers: &Peers) -> Value {
    json!({
        "track": track.track.to_string(),
        "participant": track.participant.map(|id| id.to_string()),
        "kind": track.kind.map(|kind| format!("{kind:?}")),
        "codec": track.codec.map(|codec| format!("{codec:?}")),
        "muted": track.muted,
        "withheld": track.withheld,
        "drops": format!("{:?}", track.drops),
        "layers": track.layers.iter().map(|layer| json!({
            "alive": layer.alive,
            "bits_per_second": layer.bitrate.0,
            "frames_per_second": layer.frame_rate,
            "has_clock": layer.has_clock,
            "size": layer.size,
        })).collect::<Vec<_>>(),
        "receivers": track.subscriptions.iter().map(|each| json!({
            "peer": peers.get(each.sink.peer).map(|peer| peer.id.to_string()),
            "settings": format!("{:?}", each.settings),
            "target_layer": each.target,
            "current_layer": each.current,
            "spatial_and_temporal": each.within,
            "limit": each.limit,
            "paused": each.paused,
            "waits_for_keyframe": each.waiting,
            "forwarded": each.forwarded,
            "begun": each.begun,
        })).collect::<Vec<_>>(),
    })
}
