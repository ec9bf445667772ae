//! The embedded log: one thread owns its end and waits for the disk. It takes everything that waits for it, writes it at once, syncs
//! once, and answers all. Reads go beside it, on threads for what blocks.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::log::{CommitError, Opened, Position, Reader, Refused, Saved, Settings};
use store::{Directory, Disk, ReadError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::Failed;
use crate::log::{Appended, Event, Extent, Follower, Log, READ_BYTES};

/// Payloads, in KiB, that wait for the disk; more wait for those. Two commits' worth of what one can have.
const WAITING: usize = 16 << 10;
/// Reads at a time. They are from memory mostly; more would only wait for the same disk.
const READS: usize = 8;
/// Events that a follower takes at once.
const FOLLOWED: usize = 256;
/// Between two segments that are checked, so that it takes a small part of a disk and of a core.
const CHECK_PAUSE: Duration = Duration::from_millis(200);

/// A commit waits for as many as the last one had, but no longer than this part of what that one took: what it may lose is small
/// beside what it saves.
const LINGER_SHARE: u32 = 4;
/// And no longer than this, however slow the disk is.
const MAX_LINGER: Duration = Duration::from_millis(1);

/// A log on this machine's disk.
pub struct EmbeddedLog<D: Disk = Directory>(Arc<Inner<D>>);

struct Inner<D: Disk> {
    partitions: u16,
    commands: Sender<Command>,
    waiting: Arc<Semaphore>,
    reads: Semaphore,
    /// Readers that nobody uses; `None` once it is closed.
    readers: Mutex<Option<Vec<Reader<D>>>>,
    /// The numbers of the last events, by partition.
    heads: Vec<watch::Receiver<u64>>,
    stopped: watch::Receiver<Option<Failed>>,
}

enum Command {
    Append(Append),
    Checkpoint(Saved, Reply),
    Trim(u16, u64, Reply),
    Close(oneshot::Sender<()>),
}

struct Append {
    partition: u16,
    expected: Position,
    payloads: Vec<Bytes>,
    reply: oneshot::Sender<Appended>,
    _permit: OwnedSemaphorePermit,
}

type Reply = oneshot::Sender<Result<(), Failed>>;

impl EmbeddedLog {
    /// Opens the log in `directory`, which is made where it is absent.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, String> {
        let disk = Directory::open(directory).map_err(|error| error.to_string())?;
        Self::over(disk, settings).map_err(|error| format!("the log in {}: {error}", directory.display()))
    }
}

impl<D: Disk + Sync> EmbeddedLog<D> {
    /// Opens the log on any disk.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn over(disk: D, settings: Settings) -> Result<Self, String> {
        let (log, opened) = store::Log::open(disk, settings).map_err(|error| error.to_string())?;
        tell(opened);
        let reader = log.reader();
        let partitions = reader.partitions();
        let heads = (0..partitions).map(|partition| watch::channel(reader.head(partition).n));
        let (announce, heads) = heads.unzip();
        let (stop, stopped) = watch::channel(None);
        let stop = Arc::new(stop);
        let (commands, waiting) = channel();
        let checker = Checker::start(reader.clone(), Arc::clone(&stop))?;
        let (answers, own, group) = (Vec::new(), reader.clone(), Group::default());
        let writer = Writer {
            log,
            reader: own,
            announce,
            stop,
            answers,
            group,
            has_trimmed: false,
            is_failing: false,
        };
        spawn("stoa-log", move || writer.run(&waiting, checker))?;
        Ok(Self(Arc::new(Inner {
            partitions,
            commands,
            waiting: Arc::new(Semaphore::new(WAITING)),
            reads: Semaphore::new(READS),
            readers: Mutex::new(Some(vec![reader])),
            heads,
            stopped,
        })))
    }

    /// Waits until the log has stopped for good, and says why: a sync failed, or what was written long ago is damaged. The process
    /// should end then. Never, when the log is closed before.
    pub async fn stopped(&self) -> Failed {
        let mut stopped = self.0.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(closed),
            Err(_) => std::future::pending().await,
        }
    }

    /// A reader, for what is no event: backups, and indexes that are made anew.
    ///
    /// # Errors
    /// When the log is closed.
    pub fn reader(&self) -> Result<Reader<D>, Failed> {
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.as_ref().and_then(|readers| readers.first().cloned()).ok_or_else(closed)
    }

    /// Does something that blocks with a reader.
    async fn read_with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Reader<D>) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let _turn = self.0.reads.acquire().await.map_err(|_| closed())?;
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let mut reader = inner.take_reader()?;
            let done = act(&mut reader);
            inner.put_back(reader);
            done
        });
        done.await.unwrap_or_else(|error| Err(Failed(format!("a read did not end: {error}"))))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Failed> {
        let (reply, answer) = oneshot::channel();
        self.0.commands.send(command(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    fn check_partition(&self, partition: u16) -> Result<(), Failed> {
        let missing = || {
            Failed(format!("the log has {} partitions, and none is number {partition}", self.0.partitions))
        };
        (partition < self.0.partitions).then_some(()).ok_or_else(missing)
    }
}

impl<D: Disk> Inner<D> {
    /// The first of them always stays.
    fn take_reader(&self) -> Result<Reader<D>, Failed> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = readers.as_mut().ok_or_else(closed)?;
        match readers.len() {
            0 | 1 => readers.first().cloned().ok_or_else(closed),
            _ => readers.pop().ok_or_else(closed),
        }
    }

    fn put_back(&self, reader: Reader<D>) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(readers) = readers.as_mut().filter(|readers| readers.len() <= READS) {
            readers.push(reader);
        }
    }
}

impl<D: Disk> Clone for EmbeddedLog<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Disk + Sync> Log for EmbeddedLog<D> {
    type Follower = EmbeddedFollower<D>;

    fn partitions(&self) -> u16 {
        self.0.partitions
    }

    async fn append(&self, partition: u16, expected: Position, payloads: Vec<Bytes>) -> Appended {
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        // One that is larger than all that may wait is refused as too large, in its turn.
        let share = (bytes.div_ceil(1 << 10)).clamp(1, WAITING) as u32;
        let Ok(permit) = Arc::clone(&self.0.waiting).acquire_many_owned(share).await else {
            return Appended::Refused(closed());
        };
        let (reply, answer) = oneshot::channel();
        let append = Append { partition, expected, payloads, reply, _permit: permit };
        if self.0.commands.send(Command::Append(append)).is_err() {
            return Appended::Refused(closed());
        }
        answer.await.unwrap_or_else(|_| Appended::Unknown(closed()))
    }

    async fn extent(&self, partition: u16) -> Result<Extent, Failed> {
        self.check_partition(partition)?;
        Ok(extent(&self.reader()?, partition))
    }

    async fn read(&self, partition: u16, from: u64, events: usize) -> Result<Vec<Event>, Failed> {
        self.check_partition(partition)?;
        self.read_with(move |reader| {
            let events = reader.read(partition, from, events, READ_BYTES).map_err(failed)?;
            Ok(events
                .into_iter()
                .map(|event| Event { at: event.at, payload: event.payload.into() })
                .collect())
        })
        .await
    }

    async fn pick(&self, partition: u16, numbers: Vec<u64>) -> Result<Vec<Event>, Failed> {
        self.check_partition(partition)?;
        self.read_with(move |reader| {
            let mut picked = Vec::with_capacity(numbers.len());
            for n in numbers {
                let found = reader.read(partition, n, 1, READ_BYTES).map_err(failed)?;
                let found = found.into_iter().filter(|event| event.at.n == n);
                picked.extend(found.map(|event| Event { at: event.at, payload: event.payload.into() }));
            }
            Ok(picked)
        })
        .await
    }

    fn follow(&self, partition: u16, after: u64) -> EmbeddedFollower<D> {
        let head = self.0.heads.get(usize::from(partition)).cloned();
        EmbeddedFollower { log: self.clone(), partition, after, head }
    }

    async fn checkpoint(&self, partition: u16, n: u64, state: Bytes) -> Result<(), Failed> {
        self.check_partition(partition)?;
        let saved = self
            .read_with(move |reader| reader.save_checkpoint(partition, n, &state).map_err(failed))
            .await?;
        self.ask(|reply| Command::Checkpoint(saved, reply)).await?
    }

    async fn latest_checkpoint(&self, partition: u16) -> Result<Option<(Position, Bytes)>, Failed> {
        self.check_partition(partition)?;
        let found = self.read_with(move |reader| reader.checkpoint(partition).map_err(failed)).await?;
        Ok(found.map(|(at, state)| (at, state.into())))
    }

    async fn trim(&self, partition: u16, first: u64) -> Result<(), Failed> {
        self.ask(|reply| Command::Trim(partition, first, reply)).await?
    }

    async fn close(&self) {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that is closed already is what is wanted.
        let _ = self.ask(Command::Close).await;
    }
}

/// Follows a partition of an [`EmbeddedLog`].
pub struct EmbeddedFollower<D: Disk = Directory> {
    log: EmbeddedLog<D>,
    partition: u16,
    /// The number of the last event that was shown.
    after: u64,
    /// `None`: there is no such partition.
    head: Option<watch::Receiver<u64>>,
}

impl<D: Disk + Sync> Follower for EmbeddedFollower<D> {
    async fn next(&mut self) -> Result<Vec<Event>, Failed> {
        self.log.check_partition(self.partition)?;
        loop {
            let after = self.after;
            let head = self.head.as_mut().ok_or_else(closed)?;
            head.wait_for(|head| *head > after).await.map_err(|_| closed())?;
            let head = *head.borrow();
            let events = self.log.read(self.partition, after + 1, FOLLOWED).await?;
            // Retention may have removed all that there was to show.
            self.after = events.last().map_or(head, |event| event.at.n);
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// What the last commit says of the next.
#[derive(Default)]
struct Group {
    /// Appends, checkpoints and trims in it.
    size: usize,
    /// How long the next waits for as many.
    linger: Duration,
}

/// Whom to tell when what is staged was committed.
enum Answer {
    Append(oneshot::Sender<Appended>, Appended),
    Done(Reply),
}

struct Writer<D: Disk> {
    log: store::Log<D>,
    reader: Reader<D>,
    announce: Vec<watch::Sender<u64>>,
    stop: Arc<watch::Sender<Option<Failed>>>,
    answers: Vec<Answer>,
    group: Group,
    has_trimmed: bool,
    is_failing: bool,
}

impl<D: Disk> Writer<D> {
    fn run(mut self, commands: &Receiver<Command>, checker: Checker) {
        let closer = self.serve(commands);
        self.commit();
        checker.end();
        if let Some(reply) = closer {
            // The files are closed before it is told.
            drop((self.log, self.reader));
            let _ = reply.send(());
        }
    }

    /// Until it is closed, or nobody is there any more.
    fn serve(&mut self, commands: &Receiver<Command>) -> Option<oneshot::Sender<()>> {
        while let Ok(command) = commands.recv() {
            let until = Instant::now() + self.group.linger;
            let mut next = Some(command);
            while let Some(command) = next {
                if let Command::Close(reply) = command {
                    return Some(reply);
                }
                self.take(command);
                next = commands.try_recv().ok().or_else(|| self.linger(commands, until));
            }
            self.commit();
        }
        None
    }

    /// Waits for more, while there is less than the last commit had. Who was answered then asks again now, one after the other: without
    /// this the first of them alone would make a commit, and the others wait for it.
    fn linger(&self, commands: &Receiver<Command>, until: Instant) -> Option<Command> {
        if self.answers.is_empty() || self.answers.len() >= self.group.size {
            return None;
        }
        commands.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Append(append) => self.append(append),
            Command::Checkpoint(saved, reply) => {
                let staged = self.log.checkpoint(saved);
                self.answer_later(staged, reply);
            }
            Command::Trim(partition, first, reply) => {
                let staged = self.log.trim(partition, first);
                self.has_trimmed |= staged.is_ok();
                self.answer_later(staged, reply);
            }
            Command::Close(reply) => drop(reply),
        }
    }

    /// Callers may have given up: their answers go nowhere.
    fn append(&mut self, append: Append) {
        let Append { partition, expected, payloads, reply, _permit } = append;
        if let Some(why) = self.stop.borrow().clone() {
            return drop(reply.send(Appended::Refused(why)));
        }
        let mut staged = self.log.append(partition, expected, &payloads);
        if staged == Err(Refused::CommitFirst) {
            self.commit();
            staged = self.log.append(partition, expected, &payloads);
        }
        let answer = match staged {
            Ok(at) => Appended::Committed(at),
            // The head that it was held against may not last yet.
            Err(Refused::Conflict { head }) => Appended::Conflict(head),
            Err(refused) => return drop(reply.send(Appended::Refused(failed(refused)))),
        };
        self.answers.push(Answer::Append(reply, answer));
    }

    fn answer_later(&mut self, staged: Result<(), Refused>, reply: Reply) {
        match staged {
            Ok(()) => self.answers.push(Answer::Done(reply)),
            Err(refused) => drop(reply.send(Err(failed(refused)))),
        }
    }

    fn commit(&mut self) {
        let begun = Instant::now();
        let mut outcome = self.log.commit();
        let linger = (begun.elapsed() / LINGER_SHARE).min(MAX_LINGER);
        self.group = Group { size: self.answers.len(), linger };
        if outcome.is_ok() && std::mem::take(&mut self.has_trimmed) {
            // What was committed is so, whatever comes of this.
            outcome = self.reclaim();
        }
        self.tell_health(&outcome);
        self.announce();
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Append(reply, answer) => drop(reply.send(appended(answer, &outcome))),
                Answer::Done(reply) => drop(reply.send(outcome.as_ref().copied().map_err(failed))),
            }
        }
        if let Err(error @ CommitError::Stopped(_)) = &outcome {
            stop(&self.stop, &failed(error));
        }
    }

    fn reclaim(&mut self) -> Result<(), CommitError> {
        match self.log.reclaim() {
            // There will be another time.
            Err(CommitError::NotTaken(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    fn announce(&mut self) {
        for (announce, partition) in self.announce.iter().zip(0..) {
            let head = self.reader.head(partition).n;
            announce.send_if_modified(|known| std::mem::replace(known, head) != head);
        }
    }

    /// Once when it begins to fail, once when it is over.
    fn tell_health(&mut self, outcome: &Result<(), CommitError>) {
        match (outcome, std::mem::replace(&mut self.is_failing, outcome.is_err())) {
            (Err(error), false) => tracing::error!(%error, "events cannot be written: look at the disk"),
            (Ok(()), true) => tracing::info!("the disk takes events again"),
            _ => {}
        }
    }
}

/// What an append is told when what was staged with it had this outcome.
fn appended(answer: Appended, outcome: &Result<(), CommitError>) -> Appended {
    match (outcome, answer) {
        (Ok(()), answer) => answer,
        (Err(CommitError::Stopped(_)), Appended::Committed(_)) => {
            Appended::Unknown(Failed("the disk failed while it was written".to_owned()))
        }
        // A conflict with what was staged, too: that head may never be.
        (Err(error), _) => Appended::Refused(Failed(error.to_string())),
    }
}

fn extent<D: Disk>(reader: &Reader<D>, partition: u16) -> Extent {
    Extent {
        first: reader.first(partition),
        head: reader.head(partition),
        checkpoint: reader.checkpointed(partition),
        epochs: reader.epochs(partition),
    }
}

/// A thread that checks what was written before the log was opened, the newest first. A read that fails is found out by whoever reads
/// next.
struct Checker {
    /// It ends when this is dropped.
    alive: Sender<()>,
    thread: JoinHandle<()>,
}

impl Checker {
    fn start<D: Disk>(
        mut reader: Reader<D>,
        stopped: Arc<watch::Sender<Option<Failed>>>,
    ) -> Result<Self, String> {
        let (alive, ended) = channel();
        let thread = spawn("stoa-log-check", move || {
            for segment in reader.segments().into_iter().rev().skip(1) {
                if let Err(error @ ReadError::Damaged { .. }) = reader.verify(segment) {
                    return stop(&stopped, &failed(error));
                }
                if ended.recv_timeout(CHECK_PAUSE) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        })?;
        Ok(Self { alive, thread })
    }

    fn end(self) {
        drop(self.alive);
        // One that panicked has said so.
        let _ = self.thread.join();
    }
}

fn stop(stopped: &watch::Sender<Option<Failed>>, why: &Failed) {
    let is_first = stopped.send_if_modified(|known| {
        let is_first = known.is_none();
        known.get_or_insert_with(|| why.clone());
        is_first
    });
    if is_first {
        tracing::error!(%why, "the log has stopped");
    }
}

fn tell(opened: Opened) {
    if opened.torn > 0 {
        tracing::warn!(
            bytes = opened.torn,
            "a write that was interrupted is cut off; none of it was acknowledged"
        );
    }
    if opened.relisted > 0 {
        tracing::info!(segments = opened.relisted, "lists of places were made anew");
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map_err(|error| format!("a thread cannot be started: {error}"))
}

fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(error.to_string())
}

fn closed() -> Failed {
    Failed("the log is closed".to_owned())
}
