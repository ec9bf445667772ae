//! Two connections: the server offers on one of them.

use std::time::Duration;

use base::model::Notice;
use base::{CodecKind, MediaKind, TrackId};
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::client_info::Sdk;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;

use super::super::Effects;
use super::support::*;
use crate::params::Client;

const SOON: Duration = Duration::from_millis(20);

fn native() -> Bench {
    Bench::new(params(false, client(Sdk::Go, 17)))
}

#[test]
fn an_answer_of_the_publishing_connection_carries_no_track_mapping() {
    let mut bench = native();
    bench.begin();
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let effects = bench.ask(Ask::Offer(offer(CHROMIUM_V0_PUBLISH, 1)));
    assert!(answer(&effects).expect("an answer").mid_to_track_id.is_empty());
}

#[test]
fn tracks_that_exist_are_in_the_first_offer_and_sent_once_it_is_answered() {
    let mut bench = native();
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::H264));
    let effects = bench.begin();
    let offer = offered(&effects).expect("an offer");
    assert_eq!(offer.mid_to_track_id.len(), 2);
    let description = sdp::parse(&offer.sdp).expect("parses");
    assert_eq!(description.sections.len(), 3);
    assert_eq!(description.sections[2].codecs[0].name, "H264", "the track's codec comes first");
    assert!(sections(&effects).is_none());
    let effects = bench.ask(Ask::Answer(client_answer(&offer)));
    let sent = sections(&effects).expect("sections").send;
    assert_eq!(sent.iter().map(|section| section.track).collect::<Vec<_>>(), [TrackId(20), TrackId(21)]);
    assert!(effects.requests.iter().any(|request| matches!(request, Request::SetRemote { .. })));
    assert_eq!(bench.pass(Duration::from_secs(20)).frames, [stream_states(2, &[(21, true)])]);
}

#[test]
fn one_offer_at_a_time_and_the_next_one_has_everything_that_came_meanwhile() {
    let mut bench = native();
    let first = offered(&bench.begin()).expect("an offer");
    for number in 20..23 {
        bench.subscribe(2, track(number, MediaKind::Audio, CodecKind::Opus));
        assert!(offered(&bench.pass(SOON)).is_none());
    }
    let effects = bench.ask(Ask::Answer(client_answer(&first)));
    assert!(offered(&effects).is_none());
    let second = offered(&bench.pass(SOON)).expect("the next one");
    assert_eq!((second.id, second.mid_to_track_id.len()), (2, 3));
}

#[test]
fn answers_to_other_offers_and_second_answers_are_ignored() {
    let mut bench = native();
    let first = offered(&bench.begin()).expect("an offer");
    let mut stale = client_answer(&first);
    stale.id = 7;
    assert!(bench.ask(Ask::Answer(stale)).requests.is_empty());
    assert!(!bench.ask(Ask::Answer(client_answer(&first))).requests.is_empty());
    assert!(bench.ask(Ask::Answer(client_answer(&first))).requests.is_empty());
}

#[test]
fn a_client_that_does_not_answer_must_start_over() {
    let mut bench = native();
    bench.begin();
    assert!(bench.pass(Duration::from_secs(14)).end.is_none());
    let leave = bench.pass(Duration::from_secs(2)).end.and_then(|end| end.leave).expect("a leave");
    assert_eq!(leave.action(), proto::leave_request::Action::Reconnect);
}

#[test]
fn a_section_goes_inactive_in_an_offer_of_its_own_before_it_is_used_again() {
    let mut bench = native();
    bench.subscribe(2, track(20, MediaKind::Video, CodecKind::Vp8));
    let first = offered(&bench.begin()).expect("an offer");
    // The track ends and another comes while the offer is under way.
    let effects = bench.notice(Notice::Unsubscribe { track: TrackId(20) });
    assert!(sections(&effects).is_none(), "nothing was sent yet");
    bench.subscribe(2, track(21, MediaKind::Video, CodecKind::Vp8));
    bench.pass(SOON);
    bench.ask(Ask::Answer(client_answer(&first)));
    let second = offered(&bench.pass(SOON)).expect("an offer");
    assert!(!second.mid_to_track_id.contains_key("1"), "{:?}", second.mid_to_track_id);
    let description = sdp::parse(&second.sdp).expect("parses");
    assert_eq!(description.sections[1].direction, sdp::Direction::Inactive);
    bench.ask(Ask::Answer(client_answer(&second)));
    bench.subscribe(2, track(22, MediaKind::Video, CodecKind::Vp8));
    let third = offered(&bench.pass(SOON)).expect("an offer");
    assert_eq!(third.mid_to_track_id["1"], format!("TR_{}", TrackId(22)));
    assert_eq!(sdp::parse(&third.sdp).expect("parses").sections.len(), 3, "no section more than needed");
}

#[test]
fn who_does_not_know_sections_whose_track_is_replaced_gets_one_for_each_track() {
    let agent =
        "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15";
    let safari = Client { user_agent: agent.to_owned(), ..client(Sdk::Js, 17) };
    assert_eq!(sections_of_four_tracks(safari), 5);
    assert_eq!(sections_of_four_tracks(client(Sdk::Esp32, 1)), 5);
    assert_eq!(sections_of_four_tracks(client(Sdk::Js, 17)), 2);
}

/// How many sections there are when a track has come, and each time it went another one.
fn sections_of_four_tracks(client: Client) -> usize {
    let mut bench = Bench::new(params(false, client));
    let mut effects = bench.begin();
    let mut sections = 0;
    for track_id in 20..24 {
        bench.subscribe(2, track(track_id, MediaKind::Video, CodecKind::Vp8));
        sections = answer_all(&mut bench, effects);
        effects = bench.notice(Notice::Unsubscribe { track: TrackId(track_id) });
        answer_all(&mut bench, std::mem::take(&mut effects));
    }
    sections
}

/// Answers offers until there are no more; returns the sections of the last.
fn answer_all(bench: &mut Bench, mut effects: Effects) -> usize {
    let mut sections = 0;
    loop {
        if let Some(offer) = offered(&effects) {
            sections = sdp::parse(&offer.sdp).expect("parses").sections.len();
            bench.ask(Ask::Answer(client_answer(&offer)));
        }
        effects = bench.pass(SOON);
        if offered(&effects).is_none() {
            return sections;
        }
    }
}

#[test]
fn a_viewer_without_the_codec_is_told_so_when_it_answers() {
    let mut bench = native();
    bench.subscribe(2, track(20, MediaKind::Video, CodecKind::Av1));
    let offer = offered(&bench.begin()).expect("an offer");
    let mut answer = client_answer(&offer);
    answer.sdp = answer.sdp.replace("AV1/90000", "X-AV1/90000");
    let effects = bench.ask(Ask::Answer(answer));
    assert!(matches!(&effects.frames[..], [Message::SubscriptionResponse(response)]
        if response.err() == proto::SubscriptionError::SeCodecUnsupported));
    assert_eq!(sections(&effects).unwrap_or_default().send, []);
    let next = offered(&bench.pass(SOON)).expect("an offer that takes it back");
    assert!(next.mid_to_track_id.is_empty());
}

#[test]
fn the_offer_tells_that_a_track_has_two_channels_in_all_sections_alike() {
    let mut bench = native();
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let first = offered(&bench.begin()).expect("an offer");
    assert!(!first.sdp.contains("stereo"));
    bench.ask(Ask::Answer(client_answer(&first)));
    let stereo = base::model::Track { stereo: true, ..track(21, MediaKind::Audio, CodecKind::Opus) };
    bench.subscribe(2, stereo);
    let second = offered(&bench.pass(SOON)).expect("an offer");
    let opus = "a=fmtp:111 minptime=10;useinbandfec=1;sprop-stereo=1\r\n";
    assert_eq!(second.sdp.matches(opus).count(), 2, "{}", second.sdp);
}

#[test]
fn browsers_get_one_stream_per_person_while_sections_are_new() {
    let mut bench = Bench::new(params(false, client(Sdk::Js, 17)));
    bench.subscribe(2, track(20, MediaKind::Audio, CodecKind::Opus));
    let first = offered(&bench.begin()).expect("an offer");
    assert!(first.sdp.contains("|camera TR_"), "{}", first.sdp);
    bench.ask(Ask::Answer(client_answer(&first)));
    bench.notice(Notice::Unsubscribe { track: TrackId(20) });
    let second = offered(&bench.pass(SOON)).expect("an offer");
    bench.ask(Ask::Answer(client_answer(&second)));
    bench.subscribe(2, track(21, MediaKind::Audio, CodecKind::Opus));
    let third = offered(&bench.pass(SOON)).expect("an offer");
    let id = TrackId(21);
    assert!(third.sdp.contains(&format!("|TR_{id} TR_{id}")), "a reused section is named after its track");
}

#[test]
fn a_participant_that_may_not_subscribe_is_publisher_primary_and_gets_no_offer() {
    let permissions = base::model::Permissions { subscribe: false, ..everything() };
    let mut bench = Bench::with(params(false, client(Sdk::Go, 17)), permissions, Vec::new());
    let effects = bench.begin();
    assert!(!join(&effects).subscriber_primary);
    assert!(offered(&effects).is_none());
    let primaries: Vec<bool> = effects
        .requests
        .iter()
        .filter_map(|request| match request {
            Request::AddPeer { primary, .. } => Some(*primary),
            _ => None,
        })
        .collect();
    assert_eq!(primaries, [true]);
}

#[test]
fn more_tracks_than_sections_do_not_make_offers_run_in_circles() {
    let mut bench = native();
    for number in 0..super::super::downlinks::MAX_SLOTS as u64 + 20 {
        bench.subscribe(2, track(1_000 + number, MediaKind::Audio, CodecKind::Opus));
    }
    let offer = offered(&bench.begin()).expect("an offer");
    assert_eq!(offer.mid_to_track_id.len(), super::super::downlinks::MAX_SLOTS);
    let effects = bench.ask(Ask::Answer(client_answer(&offer)));
    assert!(effects.end.is_none() && offered(&effects).is_none());
    assert!(offered(&bench.pass(Duration::from_secs(10))).is_none(), "there is nothing new to offer");
}
