//! A participant whose every request is well-formed, and who makes far too many of them.

use tokio_tungstenite::tungstenite::Message as Frame;

use super::mallory::{Mallory, bytes_field, description, field, offer};
use crate::call::{Call, ROOM};
use crate::server::Server;

/// `SignalRequest.add_track` with a client id of its own.
fn add_track(number: u32) -> Vec<u8> {
    let cid = bytes_field(1, format!("track {number}").as_bytes());
    bytes_field(4, &[cid, bytes_field(2, &[b'n'; 1_000])].concat())
}

/// `SignalRequest.subscription` to a thousand tracks that are not there.
fn subscriptions() -> Vec<u8> {
    let sids = (0..1_000).map(|number| bytes_field(1, format!("TR_{number:013}").as_bytes()));
    bytes_field(6, &[sids.collect::<Vec<_>>().concat(), vec![2 << 3, 1]].concat())
}

/// `SignalRequest.update_metadata`
fn metadata(number: usize) -> Vec<u8> {
    bytes_field(15, &bytes_field(1, format!("{number}{}", "m".repeat(50_000)).as_bytes()))
}

/// An offer with as many sections as are read.
fn wide_offer() -> Vec<u8> {
    let good = offer("mallory", "a-password-of-22-characters", [7; 32]);
    let (head, section) = good.split_at(good.find("m=audio").expect("a section"));
    let sections: String = (1..250).map(|mid| section.replace("a=mid:1", &format!("a=mid:{mid}"))).collect();
    let mids: String = (1..250).map(|mid| format!(" {mid}")).collect();
    let head = head.replace("a=group:BUNDLE 0 1", &format!("a=group:BUNDLE 0{mids}"));
    bytes_field(field::OFFER, &description(&format!("{head}{sections}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_who_asks_for_far_too_much_hurts_nobody() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let kinds: [(&str, Vec<Vec<u8>>); 4] = [
        // Ten times what it may have; and some more than are read at once, so that the rest is read slowly (200 a second).
        ("tracks", (0..1_200).map(add_track).collect()),
        ("subscriptions", vec![subscriptions(); 100]),
        ("metadata", (0..200).map(metadata).collect()),
        ("offers", vec![wide_offer(); 30]),
    ];
    for (what, frames) in kinds {
        println!("{what}");
        let mut mallory = Mallory::join(&server, ROOM).await;
        for frame in frames {
            // Without reading a word of what comes back; the server may close.
            mallory.send(Frame::binary(frame)).await;
        }
        // All of it has been looked at, or the server has had enough.
        mallory.send(Frame::binary(bytes_field(field::LEAVE, b""))).await;
        mallory.expect_closed().await;
    }
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}
