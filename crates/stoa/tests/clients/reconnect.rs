//! A native client whose connection breaks comes back by itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::model::DataKind;
use client::{Ended, Event, Events, LocalTrack, Options, Room};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::PATIENCE;
use crate::server::Server;
use crate::talk::{speak, wait_for};

const ROOM: &str = "broken";
/// The longest time without sound when a network changes. It takes 20 ms; the machine may be busy.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A TCP proxy before the server that can be cut.
struct Wire {
    address: String,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Wire {
    async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("ws://{}", listener.local_addr().expect("it is bound"));
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (kept, server) = (connections.clone(), server.address);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let connection = tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(server).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                kept.lock().expect("nobody panics with it").push(connection);
            }
        });
        Self { address, connections }
    }

    /// Breaks every connection that there is.
    fn cut(&self) {
        for connection in self.connections.lock().expect("nobody panics with it").drain(..) {
            connection.abort();
        }
    }
}

async fn join(server: &Server, wire: &Wire, identity: &str, options: Options) -> (Room, Events) {
    let options = Options { timeout: PATIENCE, ..options };
    Room::connect(&wire.address, &server.token(ROOM, identity), options).await.expect("it lets in")
}

/// Waits until the connection is back; returns whether that took a new session.
async fn is_back(events: &Events) -> bool {
    wait_for(events, |event| match event {
        Event::Reconnected { full } => Some(full),
        Event::Ended(why) => panic!("it ended: {why}"),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_the_signal_socket_comes_back_and_is_heard_and_written_to() {
    let server = Server::start();
    let wire = Wire::to(&server).await;
    let microphone = Options { publish: vec![LocalTrack::microphone()], ..Options::default() };
    let (speaker, heard) = join(&server, &wire, "speaker", microphone).await;
    let task = speak(speaker.published()[0].clone());
    let options = Options { timeout: PATIENCE, ..Options::default() };
    let token = server.token(ROOM, "viewer");
    let (viewer, events) = Room::connect(&server.socket_url(), &token, options).await.expect("it lets in");
    wait_for(&events, |event| matches!(event, Event::Packet(_)).then_some(())).await;
    let sid = speaker.sid();
    for _ in 0..2 {
        wire.cut();
        let broke = |event| matches!(event, Event::Reconnecting { .. }).then_some(());
        wait_for(&heard, broke).await;
        // Said while there is no connection.
        assert!(speaker.send_data(DataKind::Reliable, "", "still here", &[]));
        assert!(!is_back(&heard).await, "the session was resumed");
        assert_eq!(speaker.sid(), sid);
        let from = wait_for(&events, |event| match event {
            Event::Data(message) => {
                assert_eq!(message.payload.as_ref(), b"still here");
                Some(message.from)
            }
            _ => None,
        });
        assert_eq!(from.await, "speaker");
        while events.try_recv().is_ok() {}
        let track = speaker.published()[0].sid().expect("it is published");
        wait_for(&events, |event| match event {
            Event::Packet(packet) if packet.track == track => Some(()),
            _ => None,
        })
        .await;
        assert!(viewer.send_data(DataKind::Reliable, "", "welcome back", &["speaker"]));
        wait_for(&heard, |event| match event {
            Event::Data(message) if message.payload.as_ref() == b"welcome back" => Some(()),
            _ => None,
        })
        .await;
    }
    task.abort();
    assert_eq!(viewer.participants().len(), 1);
    speaker.leave().await;
    wait_for(&events, |event| matches!(event, Event::ParticipantLeft { .. }).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_not_to_come_back_ends_and_one_that_is_away_can_leave() {
    let server = Server::start();
    let wire = Wire::to(&server).await;
    let once = Options { reconnect: false, ..Options::default() };
    let (_room, events) = join(&server, &wire, "once", once).await;
    let (away, away_events) = join(&server, &wire, "away", Options::default()).await;
    // Nothing listens there any more.
    drop(server);
    wire.cut();
    let ended = |event| match event {
        Event::Ended(why) => Some(why),
        _ => None,
    };
    assert!(matches!(wait_for(&events, ended).await, Ended::Signal(_)));
    wait_for(&away_events, |event| matches!(event, Event::Reconnecting { .. }).then_some(())).await;
    tokio::time::timeout(Duration::from_secs(2), away.leave())
        .await
        .expect("it does not wait for the server");
    assert_eq!(wait_for(&away_events, ended).await, Ended::Left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_the_network_is_heard_from_the_new_address_after_a_short_gap() {
    let server = Server::start();
    let wire = Wire::to(&server).await;
    let microphone = Options { publish: vec![LocalTrack::microphone()], ..Options::default() };
    let (speaker, heard) = join(&server, &wire, "speaker", microphone).await;
    let task = speak(speaker.published()[0].clone());
    let (viewer, events) = join(&server, &wire, "viewer", Options::default()).await;
    wait_for(&events, |event| matches!(event, Event::Packet(_)).then_some(())).await;
    let before = viewer.counters();
    for _ in 0..3 {
        assert!(speaker.reconnect().await);
        assert!(!is_back(&heard).await, "the session was resumed");
        while events.try_recv().is_ok() {}
        wait_for(&events, |event| matches!(event, Event::Packet(_)).then_some(())).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    task.abort();
    let counters = viewer.counters();
    assert_eq!(counters.tracks.len(), before.tracks.len(), "it is the same track");
    for track in counters.tracks.values() {
        println!("reconnect: {} missing, longest pause {:?}", track.missing, track.longest_pause);
        // The frames between the last on the old socket and the first check on the new one are lost; here nothing broke before.
        assert!(track.longest_pause < LONGEST_PAUSE, "{:?}", track.longest_pause);
    }
    assert!(viewer.send_data(DataKind::Reliable, "", "there you are", &["speaker"]));
    wait_for(&heard, |event| matches!(event, Event::Data(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_noticed_by_its_silence_and_the_session_goes_on_when_it_is_back() {
    let server = Server::start();
    let wire = Wire::to(&server).await;
    let (_room, events) = join(&server, &wire, "patient", Options::default()).await;
    let hung = std::thread::spawn(move || {
        server.freeze(Duration::from_secs(9));
        server
    });
    let why = wait_for(&events, |event| match event {
        Event::Reconnecting { full: false, why } => Some(why),
        _ => None,
    });
    assert_eq!(why.await, Ended::Media("nothing comes any more".to_owned()));
    is_back(&events).await;
    let server = hung.join().expect("it does not panic");
    server.has_peers(1.0);
}
