//! A node on a real log in a temporary directory, and people who use it.
#![allow(dead_code, reason = "every file of tests uses a part")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backplane::{EmbeddedLog, EmbeddedOwnership, EmbeddedQueue, Limits, Log};
use base::{ChannelId, DeviceId, UserId};
use channels::{Handle, Node, Settings, open_index};
use messaging::command::{Answer, Ask, Code, Command, Origin, Refusal, Send};
use messaging::event::{Content, Kind};
use messaging::place::{EventId, Vector};
use messaging::roles::Role;
use tempfile::TempDir;

pub const PARTITIONS: u16 = 4;

/// A node that runs.
pub struct Desk {
    pub directory: Arc<TempDir>,
    pub node: Option<Node>,
    pub log: EmbeddedLog,
    pub handle: Handle,
    requests: AtomicU64,
}

pub fn settings() -> Settings {
    Settings::new("eu".parse().expect("it is a region"))
}

impl Desk {
    pub async fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().expect("a directory")), settings(), |log| log).await
    }

    pub async fn with(settings: Settings) -> Self {
        Self::at(Arc::new(tempfile::tempdir().expect("a directory")), settings, |log| log).await
    }

    /// Over a log that `wrap` makes of the real one.
    pub async fn at<L: Log>(
        directory: Arc<TempDir>,
        settings: Settings,
        wrap: impl FnOnce(EmbeddedLog) -> L,
    ) -> Self {
        let log = open_log(directory.path());
        let queue =
            EmbeddedQueue::open(&directory.path().join("owners"), Limits::default()).expect("it opens");
        let ownership = EmbeddedOwnership::open(queue).await.expect("it opens");
        let index = open_index(&log, &directory.path().join("index")).await.expect("it opens");
        let node = Node::start(wrap(log.clone()), ownership, index, settings);
        Self { directory, handle: node.handle(), node: Some(node), log, requests: AtomicU64::new(0) }
    }

    /// The process is killed, and another one starts.
    pub async fn crash(mut self) -> Self {
        drop(self.node.take());
        self.log.close().await;
        self.reopen().await
    }

    /// It ends in order, and starts again.
    pub async fn restart(mut self) -> Self {
        self.node.take().expect("it runs").close().await;
        self.log.close().await;
        self.reopen().await
    }

    /// The index is lost with the process.
    pub async fn without_index(mut self) -> Self {
        self.node.take().expect("it runs").close().await;
        self.log.close().await;
        std::fs::remove_dir_all(self.directory.path().join("index")).expect("it is there");
        self.reopen().await
    }

    async fn reopen(self) -> Self {
        let Self { directory, log, handle, .. } = self;
        drop((log, handle));
        Self::at(directory, settings(), |log| log).await
    }

    pub async fn ask(&self, who: &str, room: &str, ask: Ask) -> Answer {
        self.start(who, room, ask).await
    }

    /// Hands a command over, whether its answer is waited for or not.
    pub fn start(
        &self,
        who: &str,
        room: &str,
        ask: Ask,
    ) -> impl Future<Output = Answer> + std::marker::Send + 'static {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let connection = who.bytes().map(u64::from).sum();
        let user = (who != "server").then(|| user(who));
        let origin = Origin { connection, request, user, device: DeviceId::new("phone") };
        self.handle.ask(Command { origin, channel: channel(room), ask })
    }

    /// A group of ann, bob and eve.
    pub async fn group(&self, room: &str) {
        let members = vec![(user("bob"), Role::Member), (user("eve"), Role::Member)];
        let ask = Ask::Create { kind: Kind::Group, settings: Default::default(), members };
        assert_eq!(self.ask("ann", room, ask).await, Answer::Done);
    }

    pub async fn send(&self, who: &str, room: &str, csn: u64, content: Content) -> Answer {
        self.ask(who, room, sending(csn, content)).await
    }

    pub async fn say(&self, who: &str, room: &str, csn: u64, words: &str) -> EventId {
        sent(self.send(who, room, csn, text(words)).await)
    }

    pub async fn refused(&self, who: &str, room: &str, ask: Ask) -> Code {
        code(self.ask(who, room, ask).await)
    }
}

/// The lock of the directory goes with the thread that had it.
async fn open_queue(path: &Path) -> EmbeddedQueue {
    for _ in 0..500 {
        if let Ok(queue) = EmbeddedQueue::open(path, Limits::default()) {
            return queue;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("somebody keeps {}", path.display());
}

pub fn open_log(path: &Path) -> EmbeddedLog {
    let settings =
        backplane::Settings { partitions: PARTITIONS, segment_bytes: 64 << 10, ..Default::default() };
    EmbeddedLog::open(&path.join("log"), settings).expect("it opens")
}

pub fn sent(answer: Answer) -> EventId {
    match answer {
        Answer::Sent { event, .. } => event,
        other => panic!("it was not accepted: {other:?}"),
    }
}

pub fn code(answer: Answer) -> Code {
    match answer {
        Answer::Refused(Refusal { code, .. }) => code,
        other => panic!("it was not refused: {other:?}"),
    }
}

pub fn sending(csn: u64, content: Content) -> Ask {
    let (seen, after, delivered) = (Vec::new(), Vec::new(), Vector::default());
    Ask::Send(Box::new(Send { csn, follows: None, content, seen, delivered, after, original: None }))
}

pub fn text(words: &str) -> Content {
    let body = Arc::from(format!("{{\"text\":\"{words}\"}}").into_bytes());
    Content::Message { body, reply_to: None, thread: None, mentions: Vec::new(), everyone: false }
}

pub fn user(name: &str) -> UserId {
    UserId::new(name)
}

pub fn channel(name: &str) -> ChannelId {
    ChannelId::new(name)
}
