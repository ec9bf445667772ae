//! The partitions of this node, from start to close.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backplane::{EmbeddedLog, Failed, Log, Ownership};
use messaging::limits::Limits;
use messaging::place::Region;
use store::Index;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::extract::Extract;
use crate::handle::{Desk, Handle, Shared};
use crate::hook::Hook;
use crate::indexer::Indexer;
use crate::outbox;
use crate::owner::Owner;

/// Orders that may wait for one owner; more are answered *busy* at once.
const ORDERS: usize = 4_096;

/// How a node runs its partitions.
#[derive(Clone)]
pub struct Settings {
    /// The region whose logs these are. It is in every event's id and never changes.
    pub region: Region,
    /// What this node is called where it is written down who owns what.
    pub node: Arc<str>,
    /// What owners accept.
    pub limits: Limits,
    /// Records of a partition after which its state is checkpointed: as many are read again when it starts.
    pub checkpoint_after: u64,
    /// Time after which what has changed is checkpointed anyway.
    pub checkpoint_every: Duration,
    /// How often it is looked for what channels do not keep any more.
    pub retain_every: Duration,
    /// How long an orderly end waits for a log that takes nothing.
    pub close_within: Duration,
    /// Asked before a message is accepted.
    pub hook: Option<Arc<dyn Hook>>,
}

impl Settings {
    /// The default ones, in this region.
    pub fn new(region: Region) -> Self {
        Self {
            region,
            node: Arc::from("this"),
            limits: Limits::default(),
            checkpoint_after: 20_000,
            checkpoint_every: Duration::from_secs(300),
            retain_every: crate::owner::retain::EVERY,
            close_within: Duration::from_secs(10),
            hook: None,
        }
    }
}

/// The running partitions. Dropping it without [`Node::close`] is as a crash: what was answered lasts.
pub struct Node {
    handle: Handle,
    owners: JoinSet<()>,
    closing: watch::Sender<bool>,
    close_within: Duration,
    indexer: Indexer,
    stopped: watch::Receiver<Option<Failed>>,
}

/// Opens the index of an embedded log in `path`, and takes from the log what it does not have.
///
/// # Errors
/// A sentence that says what to do.
pub async fn open_index(log: &EmbeddedLog, path: &Path) -> Result<Index, String> {
    let mut reader = log.reader().map_err(|failed| failed.to_string())?;
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Index::open(&path, &mut reader, &Extract)).await;
    let (index, caught) = opened
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("the index of messages: {error}"))?;
    tracing::info!(events = caught.events, anew = caught.is_new, "the index of messages is open");
    Ok(index)
}

impl Node {
    /// Starts the owners of all partitions of `log`; returns at once: each serves as soon as it has restored its state, and what it is
    /// asked before waits. `index` has to be one of this log, opened with [`Extract`].
    pub fn start<L: Log, O: Ownership>(log: L, ownership: O, index: Index, settings: Settings) -> Self {
        let index = Arc::new(index);
        let (stop, stopped) = watch::channel(None);
        let (closing, is_closing) = watch::channel(false);
        let (desks, inboxes): (Vec<Desk>, Vec<_>) = (0..log.partitions())
            .map(|_| {
                let (inbox, orders) = mpsc::channel(ORDERS);
                (Desk::new(inbox), orders)
            })
            .unzip();
        let shared = Arc::new(Shared::new(settings.region, desks, Arc::clone(&index), Arc::new(log.clone())));
        let indexer = Indexer::start(Arc::clone(&shared), stop);
        let mut owners = JoinSet::new();
        let close_within = settings.close_within;
        let settings = Arc::new(settings);
        for (partition, orders) in (0..).zip(inboxes) {
            let owner = Owner {
                partition,
                log: log.clone(),
                ownership: ownership.clone(),
                shared: Arc::clone(&shared),
                indexer: indexer.entrance(),
                settings: Arc::clone(&settings),
                orders,
                closing: is_closing.clone(),
            };
            owners.spawn(owner.run());
        }
        owners.spawn(until_closed(is_closing.clone(), Arc::clone(&shared.presence).run()));
        owners.spawn(until_closed(is_closing, outbox::run(Arc::clone(&shared))));
        Self { handle: Handle::new(shared), owners, closing, close_within, indexer, stopped }
    }

    /// What the rest of the server asks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the index has failed for good, and says why: the process should end then.
    pub async fn stopped(&self) -> Failed {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(|| Failed("the index has stopped".to_owned())),
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends all owners: what was taken is appended and answered, states are checkpointed, the index is saved. The log is left open.
    pub async fn close(mut self) {
        self.closing.send_replace(true);
        let ended = async { while self.owners.join_next().await.is_some() {} };
        if tokio::time::timeout(self.close_within, ended).await.is_err() {
            tracing::warn!("the log does not take what waits for it: what was not answered is left");
            self.owners.shutdown().await;
        }
        self.indexer.close().await;
    }
}

async fn until_closed(mut closing: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = closing.wait_for(|closing| *closing) => {}
        () = work => {}
    }
}
