//! Datagrams from strangers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client::{Endpoint, Remote};

use super::Noise;
use super::mallory::{Mallory, field, gzip, join_with, offer, sdp_in, wrap};
use super::stun::Check;
use crate::PATIENCE;
use crate::call::{Call, ROOM};
use crate::server::Server;

const DROPPED: &str = "stoa_worker_dropped_total";
const TRANSPORT: &str = "stoa_worker_transport_total";
/// Datagrams between two pauses: what the smallest kernel buffer (200 kB) holds without dropping those of the call.
const BURST: usize = 16;

/// A stranger's socket that counts what it says and hears.
struct Stranger {
    socket: UdpSocket,
    sent: usize,
    sent_bytes: usize,
}

impl Stranger {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket option");
        Self { socket, sent: 0, sent_bytes: 0 }
    }

    fn send(&mut self, port: u16, datagram: &[u8]) {
        self.socket.send_to(datagram, (Ipv4Addr::LOCALHOST, port)).expect("loopback takes it");
        self.sent += 1;
        self.sent_bytes += datagram.len();
        if self.sent.is_multiple_of(BURST) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// All answers.
    fn heard(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let mut heard = Vec::new();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            heard.push(buffer[..len].to_vec());
        }
        heard
    }
}

/// Beginnings of what the port understands, and of what it does not.
const BEGINNINGS: [&[u8]; 12] = [
    &[],
    &[0x00, 0x01, 0x00, 0x08, 0x21, 0x12, 0xa4, 0x42],
    &[0x01, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42],
    &[0x00, 0x01, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42],
    &[0x16, 0xfe, 0xfd, 0x00, 0x00],
    &[0x16, 0xfe, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x17, 0xfe, 0xfd, 0x00, 0x01],
    &[0x80, 0x6f],
    &[0x90, 0x60],
    &[0x80, 0xc8, 0x00, 0x06],
    &[0x8f, 0xce, 0xff, 0xff],
    &[0x40, 0x00],
];
const SIZES: [usize; 8] = [1, 3, 12, 20, 60, 1_200, 9_000, 65_507];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_truncated_and_oversized_datagrams_are_counted_and_dropped() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let (mut noise, mut stranger) = (Noise(1), Stranger::new());
    for _ in 0..5 {
        for port in server.udp.clone() {
            for beginning in BEGINNINGS {
                for size in SIZES {
                    let mut datagram = beginning.to_vec();
                    datagram.extend(noise.bytes(size));
                    datagram.truncate(size);
                    stranger.send(port, &datagram);
                }
            }
        }
    }
    assert_eq!(stranger.heard(), Vec::<Vec<u8>>::new(), "strangers get no answer");
    let rounds = 5.0 * server.udp.len() as f64;
    server.counts(DROPPED, "reason=\"unknown_class\"", rounds * SIZES.len() as f64);
    server.counts(DROPPED, "reason=\"unvalidated_source\"", rounds * 7.0 * SIZES.len() as f64);
    server.counts(DROPPED, "reason=\"stun_unknown_user\"", rounds * 3.0 * SIZES.len() as f64);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

/// A participant with a connection that it does not use: what a stranger may have overheard of it.
struct Overheard {
    mallory: Mallory,
    ice: sdp::Ice,
    fingerprint: [u8; 32],
    port: u16,
    candidates: Vec<SocketAddr>,
}

const UFRAG: &str = "mallory";
const PASSWORD: &str = "a-password-of-22-characters";

async fn overhear(server: &Server, fingerprint: [u8; 32]) -> Overheard {
    let request = wrap(1, &gzip(&join_with(&offer(UFRAG, PASSWORD, fingerprint))));
    let token = server.token(ROOM, "mallory");
    let mut mallory = Mallory::try_join(server, &token, &request).await.expect("token and offer are good");
    let answer = sdp_in(&mallory.wait_for(field::ANSWER).await.expect("an answer"));
    let description = sdp::parse(&answer).expect("the server's answer is good");
    let (ice, fingerprint) = description.remote().expect("it has a transport");
    let candidates = sdp::candidates(&answer);
    Overheard { mallory, ice, fingerprint, port: candidates[0].port(), candidates }
}

/// A socket from which a good check came, and was answered: from now on the server knows the connection.
fn validated(port: u16, username: &str, password: &str) -> Stranger {
    let mut own = Stranger::new();
    let deadline = Instant::now() + PATIENCE;
    for number in 0u32.. {
        let mut transaction = [1; 12];
        transaction[..4].copy_from_slice(&number.to_be_bytes());
        let check = Check { username, password: Some(password), fingerprint: true, transaction };
        own.send(port, &check.write());
        let heard = own.heard();
        if heard.iter().any(|answer| answer[..2] == [0x01, 0x01]) {
            break;
        }
        assert!(Instant::now() < deadline, "good checks are not answered: {heard:?}");
    }
    own
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_with_a_wrong_user_or_password_open_nothing_and_are_no_amplifier() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let Overheard { mallory, ice, port, .. } = overhear(&server, [7; 32]).await;
    let username = format!("{}:{UFRAG}", ice.ufrag);
    let own = validated(port, &username, &ice.password);
    let (mut noise, mut stranger) = (Noise(2), Stranger::new());
    let mut send = |username: &str, password: Option<&str>, fingerprint: bool| {
        let transaction = noise.bytes(12).try_into().expect("twelve bytes");
        stranger.send(port, &Check { username, password, fingerprint, transaction }.write());
    };
    for _ in 0..50 {
        send("nobody:mallory", Some(&ice.password), true);
        send(UFRAG, Some(&ice.password), true);
        send(&username, Some("another-password-of-22"), true);
        send(&username, None, true);
        send(&username, Some(&ice.password), false);
    }
    let (sent, sent_bytes) = (stranger.sent, stranger.sent_bytes);
    let heard = stranger.heard();
    assert!(heard.iter().all(|answer| answer.len() <= 160), "an answer is larger than 160 bytes");
    assert!(heard.len() <= sent / 5 * 2, "{} answers to {sent} checks", heard.len());
    let heard_bytes: usize = heard.iter().map(Vec::len).sum();
    assert!(heard_bytes < sent_bytes, "{heard_bytes} bytes for {sent_bytes}");
    assert!(heard.iter().all(|answer| answer[..2] == [0x01, 0x11]), "only errors");
    server.counts(DROPPED, "reason=\"stun_unknown_user\"", 100.0);
    server.counts(TRANSPORT, "kind=\"stun_unauthenticated\"", 50.0);
    server.counts(TRANSPORT, "kind=\"stun_bad_fingerprint\"", 50.0);
    // What those checks did not validate stays a stranger.
    stranger.send(port, &[0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    server.counts(DROPPED, "reason=\"unvalidated_source\"", 1.0);
    drop((mallory, own));
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dtls_and_srtp_from_a_second_socket_are_dropped_while_the_first_is_connected() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let (mut noise, mut stranger) = (Noise(4), Stranger::new());
    for port in server.udp.clone() {
        for _ in 0..100 {
            // A DTLS handshake record with plausible lengths, an alert, application data, SRTP and SRTCP.
            let mut hello =
                vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 112, 1, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 100];
            hello.extend(noise.bytes(100));
            stranger.send(port, &hello);
            stranger.send(port, &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40]);
            stranger.send(
                port,
                &[&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40][..], &noise.bytes(40)].concat(),
            );
            stranger.send(port, &[&[0x80, 111][..], &noise.bytes(90)].concat());
            stranger.send(port, &[&[0x81, 206, 0, 2][..], &noise.bytes(30)].concat());
        }
    }
    assert_eq!(stranger.heard(), Vec::<Vec<u8>>::new(), "strangers get no answer");
    server.counts(DROPPED, "reason=\"unvalidated_source\"", stranger.sent as f64);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_the_password_but_not_the_certificate_is_thrown_out() {
    let mut server = Server::start();
    let call = Call::start(&server).await;
    let before = server.before();
    let overheard = overhear(&server, [7; 32]).await;
    let certificate = rtc::Certificate::generate([1; 16]).expect("a certificate");
    let config = Arc::new(rtc::Config::new(certificate).expect("good settings"));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let clock = rtc::WallClock { at: Instant::now(), ntp: base::NtpTime::from_unix(since) };
    let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut endpoint = Endpoint::bind(ip, &udp::Options::default(), clock, &config, 5).expect("a free port");
    let credentials = rtc::IceCredentials { ufrag: overheard.ice.ufrag, password: overheard.ice.password };
    let remote = Remote { credentials, fingerprint: overheard.fingerprint, candidates: overheard.candidates };
    endpoint.connect(Instant::now(), &remote);
    let (mut slab, deadline) = (udp::Slab::new(), Instant::now() + PATIENCE);
    let mut thrown_out = Box::pin(overheard.mallory.expect_thrown_out());
    loop {
        let now = Instant::now();
        endpoint.receive(now, &mut slab, |_, _| {}).expect("its socket works");
        endpoint.flush(now);
        while endpoint.peer().poll_event().is_some() {}
        assert!(now < deadline, "it is still there");
        if tokio::time::timeout(Duration::from_millis(2), &mut thrown_out).await.is_ok() {
            break;
        }
    }
    server.counts("stoa_livekit_sessions_ended_total", "reason=\"media\"", 1.0);
    server.is_unharmed(&before);
    call.was_undisturbed().await;
}
