//! In which order messages come: the tables of what clients were seen to rely on, played against real rooms.

use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message as Told;

use super::whole::{Person, Whole, offer_of};

const RECEIVING: &str = include_str!("../../../sdp/tests/offers/chromium_sdk_first.sdp");

/// The kinds of messages up to and with the first for which `last` holds.
async fn until(person: &mut Person, last: impl Fn(&Told) -> bool) -> Vec<Told> {
    let mut told = Vec::new();
    loop {
        let message = person.client.told().await.expect("the socket is open");
        let ends = last(&message);
        told.push(message);
        if ends {
            return told;
        }
    }
}

fn name(told: &Told) -> &'static str {
    match told {
        Told::Join(_) => "join",
        Told::RefreshToken(_) => "refresh token",
        Told::Offer(_) => "offer",
        Told::Answer(_) => "answer",
        Told::Update(update) if update.participants.iter().any(|one| !one.tracks.is_empty()) => {
            "update with track"
        }
        Told::Update(_) => "update",
        Told::RoomUpdate(_) => "room",
        Told::SubscriptionPermissionUpdate(_) => "permission",
        Told::MediaSectionsRequirement(_) => "sections",
        Told::TrackPublished(_) => "published",
        Told::TrackSubscribed(_) => "subscribed",
        _ => "other",
    }
}

/// Without what comes in its own time.
fn names(told: &[Told]) -> Vec<&'static str> {
    told.iter().map(name).filter(|name| !matches!(*name, "room" | "update" | "other")).collect()
}

/// What a client answers to an offer of ours: everything that is sent is received.
fn answer_to(offer: &proto::SessionDescription) -> Ask {
    let sdp = offer
        .sdp
        .replace("a=sendonly", "a=recvonly")
        .replace("a=setup:actpass", "a=setup:active")
        .lines()
        .filter(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid:") && *line != "a=ice-lite")
        .map(|line| format!("{line}\r\n"))
        .collect();
    let (r#type, id) = ("answer".to_owned(), offer.id);
    Ask::Answer(proto::SessionDescription { r#type, sdp, id, ..Default::default() })
}

fn offered(told: &[Told]) -> &proto::SessionDescription {
    let mut offers = told.iter().rev().filter_map(|told| match told {
        Told::Offer(offer) => Some(offer),
        _ => None,
    });
    offers.next().expect("an offer")
}

#[tokio::test]
async fn on_two_connections_news_of_the_track_and_the_permission_come_before_the_offer_with_it() {
    let server = Whole::start().await;
    let mut viewer = server.enter("viewer", |_| {}).await;
    let first = until(&mut viewer, |told| matches!(told, Told::Offer(_))).await;
    assert_eq!(names(&first), ["refresh token", "offer"], "the join was before them");
    assert!(!offered(&first).sdp.contains("m=audio"), "nothing is published");
    viewer.client.ask(answer_to(offered(&first))).await;
    let mut publisher = server.enter("publisher", |_| {}).await;
    publisher.publish().await;
    let own = until(&mut publisher, |told| matches!(told, Told::TrackSubscribed(_))).await;
    let own: Vec<&str> =
        names(&own).into_iter().filter(|name| !matches!(*name, "offer" | "refresh token")).collect();
    assert_eq!(own[0], "answer");
    assert_eq!(own.last(), Some(&"subscribed"));
    let second = until(&mut viewer, |told| matches!(told, Told::Offer(_))).await;
    assert_eq!(names(&second), ["update with track", "permission", "offer"]);
    assert!(offered(&second).sdp.contains("m=audio") && offered(&second).mid_to_track_id.len() == 1);
}

#[tokio::test]
async fn on_two_connections_what_is_published_is_in_the_first_offer() {
    let server = Whole::start().await;
    let mut publisher = server.enter("publisher", |_| {}).await;
    publisher.publish().await;
    until(&mut publisher, |told| name(told) == "update with track").await;
    let mut viewer = server.enter("viewer", |_| {}).await;
    assert_eq!(viewer.join.other_participants[0].tracks.len(), 1);
    let first = until(&mut viewer, |told| matches!(told, Told::Offer(_))).await;
    assert_eq!(names(&first).last(), Some(&"offer"));
    assert!(names(&first).contains(&"permission"), "before it");
    assert_eq!(offered(&first).mid_to_track_id.len(), 1);
}

#[tokio::test]
async fn on_one_connection_the_answer_follows_the_join_and_later_tracks_ask_for_an_offer() {
    let server = Whole::start().await;
    let mut viewer = server.enter_on_one("viewer", Some(offer_of(RECEIVING))).await;
    assert!(!viewer.join.subscriber_primary);
    let first = until(&mut viewer, |told| matches!(told, Told::Answer(_))).await;
    assert_eq!(names(&first), ["refresh token", "answer"]);
    let mut publisher = server.enter("publisher", |_| {}).await;
    publisher.publish().await;
    let asked = until(&mut viewer, |told| matches!(told, Told::MediaSectionsRequirement(_))).await;
    assert_eq!(names(&asked), ["update with track", "permission", "sections"]);
    let Some(Told::MediaSectionsRequirement(asked)) = asked.last() else { panic!("it was the last") };
    assert_eq!((asked.num_audios, asked.num_videos), (0, 0), "its first offer has sections to spare");
    viewer.client.ask(Ask::Offer(proto::SessionDescription { id: 2, ..offer_of(RECEIVING) })).await;
    let answered = until(&mut viewer, |told| matches!(told, Told::Answer(_))).await;
    let Some(Told::Answer(answer)) = answered.last() else { panic!("it was the last") };
    assert_eq!((answer.id, answer.mid_to_track_id.len()), (2, 1));
}

#[tokio::test]
async fn on_one_connection_what_is_published_is_in_the_first_answer() {
    let server = Whole::start().await;
    let mut publisher = server.enter("publisher", |_| {}).await;
    publisher.publish().await;
    until(&mut publisher, |told| name(told) == "update with track").await;
    let mut viewer = server.enter_on_one("viewer", Some(offer_of(RECEIVING))).await;
    let first = until(&mut viewer, |told| matches!(told, Told::Answer(_))).await;
    let Some(Told::Answer(answer)) = first.last() else { panic!("it was the last") };
    assert_eq!(answer.mid_to_track_id.len(), 1);
}

#[tokio::test]
async fn who_joins_without_an_offer_on_one_connection_is_answered_when_it_offers() {
    let server = Whole::start().await;
    let mut viewer = server.enter_on_one("viewer", None).await;
    viewer.client.ask(Ask::Offer(offer_of(RECEIVING))).await;
    let told = until(&mut viewer, |told| matches!(told, Told::Answer(_))).await;
    assert_eq!(names(&told), ["refresh token", "answer"], "and it was not asked for one");
}

#[tokio::test]
async fn a_join_request_means_one_connection_whatever_the_path_and_subscribes_to_nothing_that_it_does_not_ask_for()
 {
    let server = Whole::start().await;
    let mut publisher = server.enter("publisher", |_| {}).await;
    publisher.publish().await;
    until(&mut publisher, |told| name(told) == "update with track").await;
    // Unlike the query of two connections, in which what is absent means yes.
    let request = proto::JoinRequest { publisher_offer: Some(offer_of(RECEIVING)), ..Default::default() };
    let mut viewer = server.enter_with("viewer", "/rtc", &request).await;
    assert!(!viewer.join.subscriber_primary);
    let first = until(&mut viewer, |told| matches!(told, Told::Answer(_))).await;
    assert_eq!(names(&first), ["refresh token", "answer"], "no permission: no subscription");
}

#[tokio::test]
async fn a_participant_that_is_hidden_is_announced_to_nobody() {
    let server = Whole::start().await;
    let mut viewer = server.enter("viewer", |_| {}).await;
    let hide = |claims: &mut auth::Claims| claims.video.get_or_insert_default().hidden = true;
    let mut ghost = server.enter("ghost", hide).await;
    assert_eq!(ghost.join.other_participants.len(), 1, "it sees the others");
    ghost.publish().await;
    ghost.told_so_far().await;
    let (told, _) = viewer.told_so_far().await;
    let updates = told.iter().filter(|told| matches!(told, Told::Update(_))).count();
    assert_eq!(updates, 0);
    let newcomer = server.enter("newcomer", |_| {}).await;
    assert_eq!(newcomer.join.other_participants.len(), 1, "the viewer");
    assert_eq!(server.participants().await.len(), 3, "and the server API lists it");
}
