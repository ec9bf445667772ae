//! The embedded queue: one thread owns it and waits for the disk. It takes everything that waits for it, writes it at once, syncs once,
//! and answers all.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Directory, Disk, Limits, Refused};
use tokio::sync::oneshot;

use crate::{Failed, Queue};

/// That entries are finished may wait this long for more of it, so that it costs few syncs. Nor is an append put off for longer by others
/// that come behind it.
const FINISH_DELAY: Duration = Duration::from_millis(20);

/// A queue on this machine's disk.
#[derive(Clone)]
pub struct EmbeddedQueue {
    /// Never holds more than one for each task that waits for an answer.
    commands: Sender<Command>,
}

enum Command {
    Exchange(Vec<Bytes>, Vec<u64>, oneshot::Sender<Result<Vec<u64>, Failed>>),
    Read(u64, oneshot::Sender<Result<Option<Bytes>, Failed>>),
    Finish(Vec<u64>, oneshot::Sender<()>),
    Pending(oneshot::Sender<Vec<u64>>),
    Close(oneshot::Sender<()>),
}

impl EmbeddedQueue {
    /// Opens the queue in `directory`, which is made where it is absent.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, String> {
        let disk = Directory::open(directory).map_err(|error| error.to_string())?;
        Self::over(disk, limits).map_err(|error| format!("the queue in {}: {error}", directory.display()))
    }

    /// Opens the queue on any disk.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn over(disk: impl Disk, limits: Limits) -> Result<Self, String> {
        let (queue, recovered) = store::Queue::open(disk, limits).map_err(|error| error.to_string())?;
        if recovered.torn > 0 {
            tracing::warn!(
                bytes = recovered.torn,
                "a write that was interrupted is cut off; none of it was acknowledged"
            );
        }
        let (commands, waiting) = channel();
        std::thread::Builder::new()
            .name("stoa-store".to_owned())
            .spawn(move || Writer { queue, appended: Vec::new(), is_failing: false }.run(&waiting))
            .map_err(|error| format!("a thread cannot be started: {error}"))?;
        Ok(Self { commands })
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Failed> {
        let gone = || Failed("the queue is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl Queue for EmbeddedQueue {
    async fn exchange(&self, payloads: Vec<Bytes>, finished: Vec<u64>) -> Result<Vec<u64>, Failed> {
        self.ask(|reply| Command::Exchange(payloads, finished, reply)).await?
    }

    async fn read(&self, number: u64) -> Result<Option<Bytes>, Failed> {
        self.ask(|reply| Command::Read(number, reply)).await?
    }

    async fn finish(&self, numbers: Vec<u64>) -> Result<(), Failed> {
        self.ask(|reply| Command::Finish(numbers, reply)).await
    }

    async fn pending(&self) -> Result<Vec<u64>, Failed> {
        self.ask(Command::Pending).await
    }

    async fn close(&self) {
        // One that is closed already is what is wanted.
        let _ = self.ask(Command::Close).await;
    }
}

/// Appends that are staged, and whom to tell.
type Appended = (Vec<u64>, oneshot::Sender<Result<Vec<u64>, Failed>>);

struct Writer<D: Disk> {
    queue: store::Queue<D>,
    appended: Vec<Appended>,
    is_failing: bool,
}

impl<D: Disk> Writer<D> {
    fn run(mut self, commands: &Receiver<Command>) {
        let closer = self.serve(commands);
        // Who waited for it was told.
        let _ = self.commit();
        if let Some(reply) = closer {
            // The files are closed and unlocked before it is told.
            drop(self.queue);
            let _ = reply.send(());
        }
    }

    /// Until it is closed, or nobody is there any more.
    fn serve(&mut self, commands: &Receiver<Command>) -> Option<oneshot::Sender<()>> {
        // When what is staged is written at the latest, however many commands come meanwhile.
        let mut due: Option<Instant> = None;
        loop {
            let command = match due {
                // Somebody waits for an append: what is there already goes with it, and nothing else is waited for.
                _ if !self.appended.is_empty() => commands.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                Some(due) => commands.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let is_due = match command {
                Ok(Command::Close(reply)) => return Some(reply),
                Ok(command) => {
                    self.take(command);
                    due.is_some_and(|due| due <= Instant::now())
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => true,
            };
            if is_due {
                let _ = self.commit();
            }
            let waits = self.queue.is_staged() || !self.appended.is_empty();
            due = waits.then(|| due.filter(|_| !is_due).unwrap_or_else(|| Instant::now() + FINISH_DELAY));
        }
    }

    /// Callers may have given up: their answers go nowhere.
    fn take(&mut self, command: Command) {
        match command {
            Command::Exchange(payloads, finished, reply) => self.exchange(&payloads, &finished, reply),
            Command::Read(number, reply) => {
                let read = self.queue.read(number).map(|payload| payload.map(Bytes::from));
                let _ = reply.send(read.map_err(|error| Failed(error.to_string())));
            }
            Command::Finish(numbers, reply) => {
                for number in numbers {
                    self.queue.finish(number);
                }
                let _ = reply.send(());
            }
            Command::Pending(reply) => drop(reply.send(self.queue.pending().collect())),
            Command::Close(reply) => drop(reply),
        }
    }

    fn exchange(
        &mut self,
        payloads: &[Bytes],
        finished: &[u64],
        reply: oneshot::Sender<Result<Vec<u64>, Failed>>,
    ) {
        let mut numbers = Vec::with_capacity(payloads.len());
        for payload in payloads {
            let mut outcome = self.queue.append(payload);
            if outcome == Err(Refused::CommitFirst) {
                if let Err(failed) = self.commit() {
                    return drop(reply.send(Err(failed)));
                }
                outcome = self.queue.append(payload);
            }
            // The caller sees from the count what was taken.
            let Ok(number) = outcome else { break };
            numbers.push(number);
        }
        if numbers.len() == payloads.len() {
            for number in finished {
                self.queue.finish(*number);
            }
        }
        self.appended.push((numbers, reply));
    }

    fn commit(&mut self) -> Result<(), Failed> {
        let outcome = self.queue.commit().map_err(|error| Failed(error.to_string()));
        self.tell_health(&outcome);
        for (numbers, reply) in self.appended.drain(..) {
            let _ = reply.send(outcome.clone().map(|()| numbers));
        }
        outcome
    }

    /// Once when it begins to fail, once when it is over.
    fn tell_health(&mut self, outcome: &Result<(), Failed>) {
        match (outcome, std::mem::replace(&mut self.is_failing, outcome.is_err())) {
            (Err(error), false) => {
                tracing::error!(%error, "what is to last cannot be written: look at the disk")
            }
            (Ok(()), true) => tracing::info!("the disk takes what is to last again"),
            _ => {}
        }
    }
}
