//! Which worker a participant's connections live on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use contract::media::{MAX_RELAY_WORKERS, WorkerHandle};

/// A worker and how much it has to do.
pub(crate) struct Worker {
    pub handle: WorkerHandle,
    /// Participants on it.
    pub participants: AtomicUsize,
    /// Rooms that began on it.
    pub rooms: AtomicUsize,
    /// Sections in which it sends a track.
    streams: AtomicUsize,
    /// Its thread is gone.
    pub gone: AtomicBool,
}

impl Worker {
    pub fn new(handle: WorkerHandle) -> Self {
        Self {
            handle,
            participants: AtomicUsize::new(0),
            rooms: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// In the process.
    pub fn index(&self) -> usize {
        self.handle.info.index
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// A participant, a room and a stream count alike: reports, checks and timers of a quiet connection cost about what a
    /// stream of sound does.
    pub fn load(&self) -> usize {
        self.participants.load(Relaxed) + self.rooms.load(Relaxed) + self.streams.load(Relaxed)
    }
}

/// The place of one participant on its worker, counted there as long as this exists.
pub(crate) struct Place {
    pub worker: Arc<Worker>,
    streams: usize,
}

impl Place {
    fn new(worker: Arc<Worker>) -> Self {
        worker.participants.fetch_add(1, Relaxed);
        Self { worker, streams: 0 }
    }

    /// So many tracks are sent to the participant now.
    pub fn set_streams(&mut self, streams: usize) {
        self.worker.streams.fetch_add(streams, Relaxed);
        self.worker.streams.fetch_sub(std::mem::replace(&mut self.streams, streams), Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.set_streams(0);
        self.worker.participants.fetch_sub(1, Relaxed);
    }
}

/// Where the participants of one room are.
pub(crate) struct Placement {
    workers: Arc<[Arc<Worker>]>,
    /// Where the room begins.
    home: Arc<Worker>,
    spread_at: usize,
    /// Its participants by index of their worker.
    here: BTreeMap<usize, usize>,
}

impl Placement {
    pub fn new(workers: Arc<[Arc<Worker>]>, home: Arc<Worker>, spread_at: usize) -> Self {
        Self { workers, home, spread_at: spread_at.max(1), here: BTreeMap::new() }
    }

    /// The place of a newcomer. `None`: there is no worker left.
    ///
    /// It is on one of the room's workers that has less than `spread_at` of its participants. When there is none, it is
    /// wherever there is least to do; a worker that is new to the room has to have less by half of `spread_at`, since every
    /// track has to cross to it.
    pub fn place(&mut self) -> Option<Place> {
        let worker = Arc::clone(self.not_full().or_else(|| self.anywhere())?);
        *self.here.entry(worker.index()).or_default() += 1;
        Some(Place::new(worker))
    }

    /// Can tracks cross between this worker and those that the room is on?
    pub fn reaches(&self, worker: &Worker) -> bool {
        let meshed = |index: usize| index < MAX_RELAY_WORKERS;
        let own = worker.index();
        self.here.keys().all(|index| *index == own || (meshed(*index) && meshed(own)))
    }

    /// A participant comes with the place that it has.
    pub fn adopt(&mut self, worker: &Worker) {
        *self.here.entry(worker.index()).or_default() += 1;
    }

    /// A participant left its place.
    pub fn leave(&mut self, worker: &Worker) {
        if let Some(count) = self.here.get_mut(&worker.index()) {
            *count -= 1;
            self.here.retain(|_, count| *count > 0);
        }
    }

    /// The workers that have participants of the room, by index.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.workers.iter().filter(|worker| self.here.contains_key(&worker.index()))
    }

    pub fn worker(&self, index: usize) -> Option<&Arc<Worker>> {
        self.workers.iter().find(|worker| worker.index() == index)
    }

    /// Where the room began; nobody may be there any more.
    pub fn home(&self) -> &Arc<Worker> {
        &self.home
    }

    fn not_full(&self) -> Option<&Arc<Worker>> {
        if self.here.is_empty() && !self.home.is_gone() {
            return Some(&self.home);
        }
        let alive = self.workers().filter(|worker| !worker.is_gone());
        alive.filter(|worker| self.count(worker) < self.spread_at).min_by_key(|worker| worker.load())
    }

    fn anywhere(&self) -> Option<&Arc<Worker>> {
        // Tracks cross between the first workers only.
        let meshed = |index: usize| index < MAX_RELAY_WORKERS;
        let may_spread = self.here.keys().all(|index| meshed(*index));
        let alive = self.workers.iter().filter(|worker| !worker.is_gone());
        let reached = alive.filter(|worker| {
            self.here.is_empty() || self.count(worker) > 0 || (may_spread && meshed(worker.index()))
        });
        reached.min_by_key(|worker| {
            let distance = if self.count(worker) == 0 { self.spread_at / 2 } else { 0 };
            worker.load().saturating_add(distance)
        })
    }

    fn count(&self, worker: &Worker) -> usize {
        self.here.get(&worker.index()).copied().unwrap_or_default()
    }
}
