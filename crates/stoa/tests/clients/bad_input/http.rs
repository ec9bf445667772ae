//! Rubbish on the HTTP port.

use std::io::Write as _;
use std::net::TcpStream;

use super::Noise;
use crate::call::{Call, ROOM};
use crate::server::{Server, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_or_closed() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let mut noise = Noise(3);
    let get = |rest: &str| format!("GET {rest}").into_bytes();
    let requests = [
        ("random bytes", noise.bytes(5_000), 400),
        ("TLS", [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01][..], &noise.bytes(300)].concat(), 400),
        ("no version", get("/metrics\r\n\r\n"), 400),
        ("no host, a wrong version", get("/metrics HTTP/7.3\r\n\r\n"), 400),
        ("an address of 300 kB", get(&format!("/{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(300_000))), 431),
        (
            "a header of 300 kB",
            get(&format!("/ HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "x".repeat(300_000))),
            431,
        ),
        ("10,000 headers", get(&format!("/ HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(10_000))), 431),
        ("a header without name", get("/ HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n"), 400),
    ];
    for (what, bytes, wanted) in &requests {
        let answer = server.raw(bytes);
        // The server may close while we still write, and then its answer is lost.
        assert!(answer.is_empty() || status(&answer) == *wanted, "{what}: {answer}");
    }
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_are_refused_with_a_status() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let token = server.token_with(ROOM, "mallory", |claims| {
        claims.video.get_or_insert_default().room_admin = true;
        claims.video.get_or_insert_default().room_record = true;
    });
    let bearer = format!("authorization: Bearer {token}\r\n");
    let json = format!("{bearer}content-type: application/json\r\n");
    let protobuf = format!("{bearer}content-type: application/protobuf\r\n");
    let list = "/twirp/livekit.RoomService/ListParticipants";
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, method, path, headers, body, wanted) in [
        ("no upgrade", "GET", "/rtc/v1", &bearer, "", 404),
        ("no upgrade", "GET", "/rtc", &bearer, "", 404),
        ("a wrong method", "DELETE", "/rtc/v1", &bearer, "", 405),
        ("a body that is no JSON", "POST", list, &json, "hello", 400),
        ("deeply nested JSON", "POST", list, &json, &nested, 400),
        ("a body that is no message", "POST", list, &protobuf, "\u{7f}\u{7f}\u{7f}", 400),
        ("a method that is none", "POST", "/twirp/livekit.RoomService/Explode", &json, "{}", 404),
        ("a service that is none", "POST", "/twirp/livekit.Nothing/ListRooms", &json, "{}", 404),
        ("a service of others", "POST", "/twirp/livekit.Egress/StartEgress", &json, "{}", 501),
        ("one for which the token is not", "POST", "/twirp/livekit.Ingress/ListIngress", &json, "{}", 401),
        ("a token request that is no JSON", "POST", "/api/token", &json, "{", 400),
        ("a room that is none", "GET", "/debug/rooms/..%2f..%2fetc", &bearer, "", 403),
    ] {
        let (status, answer) = server.ask(method, path, headers, body);
        assert_eq!(status, wanted, "{what} at {path}: {answer}");
    }
    let large = "x".repeat(11 << 20);
    let (status, answer) = server.ask("POST", list, &json, &large);
    // It may close while we still write.
    assert!(status == 413 || answer.is_empty(), "{answer}");
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_opened_and_left_hurt_nobody() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let mut open = Vec::new();
    for index in 0..200 {
        let mut stream = TcpStream::connect(server.address).expect("it listens");
        match index % 4 {
            0 => {}
            1 => stream.write_all(b"GET /rtc/v1 HTTP/1.1\r\nhost:").expect("it reads"),
            2 => stream
                .write_all(b"POST /api/token HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{")
                .expect("it reads"),
            _ => drop(stream.shutdown(std::net::Shutdown::Both)),
        }
        open.push(stream);
    }
    assert_eq!(server.ask("GET", "/healthz", "", "").0, 200, "others are served meanwhile");
    drop(open);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_strangers_are_not_kept() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let body = vec![b'x'; 3 << 20];
    let mut open = Vec::new();
    for path in ["/twirp/livekit.RoomService/ListRooms", "/api/token", "/rtc/v1", "/metrics"] {
        for _ in 0..30 {
            let mut stream = TcpStream::connect(server.address).expect("it listens");
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                 content-length: 10000000\r\n\r\n"
            );
            // It may be refused and closed before all of it is written, and then it should be.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            open.push(stream);
        }
    }
    server.is_unharmed(&before);
    drop(open);
    call.was_undisturbed().await;
}
