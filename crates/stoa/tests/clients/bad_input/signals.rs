//! Join requests, frames and descriptions from hell.

use tokio_tungstenite::tungstenite::Message as Frame;

use super::Noise;
use super::mallory::{Mallory, bytes_field, description, field, gzip, join_with, wrap};
use crate::call::{Call, ROOM};
use crate::server::Server;

/// Descriptions that are refused. None may be read at a cost that the call could feel.
fn bad_descriptions() -> Vec<(&'static str, String)> {
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let section = |mid: usize| format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{mid}\r\n");
    let sections: String = (0..10_000).map(section).collect();
    let good = super::mallory::offer("mallory", "a-password-of-22-characters", [7; 32]);
    let before_credentials = good.split("a=ice-ufrag").next().unwrap_or_default();
    vec![
        ("empty", String::new()),
        ("garbage", "garbage\r\n".repeat(50)),
        ("zeros", "\0".repeat(1_000)),
        ("of 1 MB", format!("{head}{}", "a=x:\r\n".repeat(1_000_000 / 6))),
        ("of one line of 1 MB", format!("{head}a={}", "x".repeat(1_000_000))),
        ("with 10,000 media sections", format!("{head}{sections}")),
        ("without sections", head.to_owned()),
        ("cut off before it says who it is", before_credentials.to_owned()),
        ("without fingerprint", good.replace("a=fingerprint", "a=nothing")),
        ("without credentials", good.replace("a=ice-pwd", "a=nothing")),
        ("with one mid twice", good.replace("a=mid:1", "a=mid:0")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_that_are_huge_or_nonsense_end_their_own_session_alone() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let all = bad_descriptions();
    for (what, sdp) in &all {
        println!("a description {what}, as a frame");
        let mut mallory = Mallory::join(&server, ROOM).await;
        mallory.send(Frame::binary(bytes_field(field::OFFER, &description(sdp)))).await;
        mallory.expect_thrown_out().await;
        println!("a description {what}, in the join request");
        let request = wrap(1, &gzip(&join_with(sdp)));
        let token = server.token(ROOM, "mallory");
        match Mallory::try_join(&server, &token, &request).await {
            Ok(mallory) => mallory.expect_thrown_out().await,
            Err((status, text)) => assert!(status == 400 && !text.is_empty(), "{what}: {status} {text}"),
        }
    }
    server.counts("stoa_livekit_negotiations_total", "kind=\"refused\"", 2.0 * all.len() as f64 - 2.0);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_requests_that_cannot_be_read_are_bad_requests() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    // 64 MB of zeros in 64 kB, and just one byte too much.
    let (bomb, small_bomb) = (gzip(&vec![0; 40 << 20]), gzip(&vec![0; (1 << 20) + 1]));
    let truncated = &gzip(&join_with("v=0\r\n"))[..20];
    let requests = [
        ("a gzip bomb", wrap(1, &bomb), "larger than 1 MiB"),
        ("one byte more than allowed", wrap(1, &small_bomb), "larger than 1 MiB"),
        ("no base64", "%25%25%25".to_owned(), "not base64"),
        ("no wrapped request", "_____w".to_owned(), "not a WrappedJoinRequest"),
        ("no gzip", wrap(1, b"hello"), "not gzip"),
        ("gzip that is cut off", wrap(1, truncated), "not gzip"),
        ("no join request", wrap(0, &[0xff; 50]), "JoinRequest"),
        ("nothing", String::new(), "missing"),
    ];
    for (what, request, reason) in &requests {
        let token = server.token(ROOM, "mallory");
        let refused = Mallory::try_join(&server, &token, request).await.err();
        let (status, text) = refused.unwrap_or_else(|| panic!("{what} is let in"));
        assert_eq!(status, 400, "{what}: {text}");
        assert!(text.contains(reason), "{what}: {text}");
    }
    server.counts("stoa_livekit_joins_total", "outcome=\"malformed\"", requests.len() as f64);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

fn bad_frames() -> Vec<(&'static str, Frame)> {
    let mut noise = Noise(7);
    let offer = bytes_field(field::OFFER, &description(&"a=x\r\n".repeat(100)));
    vec![
        ("random bytes", Frame::binary(noise.bytes(100))),
        ("many random bytes", Frame::binary(noise.bytes(60_000))),
        ("a truncated message", Frame::binary(offer[..offer.len() / 2].to_vec())),
        ("a length beyond the end", Frame::binary(vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a field of no kind", Frame::binary(vec![0x0f; 50])),
        ("text", Frame::text("hello")),
        ("text of the wrong shape", Frame::text(r#"{"offer":7}"#)),
        ("deeply nested text", Frame::text(format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000)))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_signal_messages_are_counted_and_a_client_that_goes_on_is_thrown_out() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let all = bad_frames();
    for (what, frame) in &all {
        println!("{what}");
        let mut mallory = Mallory::join(&server, ROOM).await;
        for _ in 0..20 {
            mallory.send(frame.clone()).await;
        }
        mallory.expect_thrown_out().await;
    }
    server.counts("stoa_livekit_frames_malformed_total", "", 10.0 * all.len() as f64);
    server.counts("stoa_livekit_sessions_ended_total", "reason=\"protocol\"", all.len() as f64);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_larger_than_the_limit_and_empty_ones_hurt_nobody() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    for frame in [Frame::binary(vec![0x0a; 3 << 20]), Frame::text("x".repeat(3 << 20))] {
        let mut mallory = Mallory::join(&server, ROOM).await;
        mallory.send(frame).await;
        mallory.expect_closed().await;
    }
    // An empty message is a signal request without a request: nothing to be done, and nothing wrong.
    let mut mallory = Mallory::join(&server, ROOM).await;
    for _ in 0..1_000 {
        mallory.send(Frame::binary(Vec::new())).await;
    }
    server.counts("stoa_livekit_requests_ignored_total", "", 1_000.0);
    // Gone without a word.
    drop(mallory);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}
