//! One log line per join.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use contract::media::{Event as MediaEvent, PeerEnd, SetupTimes};

use super::world::{World, quiet, seconds};

/// What was logged on this thread: all of its test's tasks run here.
///
/// It listens on all threads. Were it set for single ones, whether a line is wanted at all would be settled by whichever thread comes
/// by that line first.
struct Log;

thread_local! {
    static WRITTEN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log {
    fn capture() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Self).finish();
            tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
        });
        WRITTEN.take();
        Self
    }

    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(WRITTEN.with_borrow(Vec::clone)).expect("text");
        text.lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| written.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_with_media_is_told_once_with_all_stages() {
    let log = Log::capture();
    let world = World::new();
    let ann = world.connect("ann").await;
    assert!(log.lines("joined").is_empty(), "not before the media");
    let first_media = Some(Duration::from_micros(9_500));
    let times = SetupTimes { first_media, ..SetupTimes::default() };
    world.say(MediaEvent::FirstMedia { peer: ann.peer, times }).await;
    seconds(10).await;
    let lines = log.lines("joined");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "room=\"lobby\"",
        "identity=\"ann\"",
        "admission_ms=",
        "ice_ms=1",
        "dtls_ms=2",
        "first_media_ms=9.5",
        "client=\"test\"",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_join_without_media_is_told_after_a_while() {
    let log = Log::capture();
    let world = World::new();
    let _ann = world.connect("ann").await;
    seconds(6).await;
    let lines = log.lines("joined");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains("first_media_ms"), "{}", lines[0]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_join_is_told_with_its_reason_and_how_far_it_came() {
    let log = Log::capture();
    let world = World::new();
    let ann = world.join("ann").await;
    ann.add_peer(true).await;
    quiet().await;
    let times = SetupTimes { ice: Some(Duration::from_millis(4)), ..SetupTimes::default() };
    world.say(MediaEvent::Closed { peer: ann.peer, end: PeerEnd::DtlsFailed, times }).await;
    seconds(10).await;
    let lines = log.lines("join failed");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("ice_ms=4") && lines[0].contains("reason=MediaFailure"), "{}", lines[0]);
    assert!(log.lines("joined").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_name_with_line_ends_in_it_writes_no_lines_of_its_own() {
    let log = Log::capture();
    let world = World::new();
    let _forger = world.connect("eve\nINFO joined identity=ann").await;
    let mut too_long = super::world::join("eve\njoin refused");
    too_long.metadata = "x".repeat(100_000);
    assert!(world.try_join(too_long).await.is_err());
    seconds(6).await;
    assert_eq!((log.lines("joined").len(), log.lines("join refused").len()), (1, 1));
    assert!(log.lines("join refused")[0].contains("identity=\"eve"), "who was refused is told");
}
