//! What a connection has asked for and is not answered yet.
//!
//! Commands for one channel are begun and answered in their order; those that go to the channel's owner are handed over at once, one behind
//! the other, so that a device may send many messages without waiting. Commands for other channels pass.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use wire::messaging::{Command, Error, Okay};

/// What came of a command.
pub(crate) enum Outcome {
    /// This is to be answered.
    Answer(Box<Result<Okay, Error>>),
    /// It was answered already.
    Answered,
}

/// A command at work.
pub(crate) type Doing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The same, with its place among the others.
type Running = Pin<Box<dyn Future<Output = (u64, Outcome)> + Send>>;

struct Entry {
    seq: u64,
    id: u64,
    /// `None`: it is about no channel, and passes all.
    channel: Option<String>,
    /// The owner keeps the order.
    pipelined: bool,
    state: Step,
}

enum Step {
    Waiting(Box<Command>),
    Running,
    Done(Outcome),
}

/// The commands of one connection that are not answered.
#[derive(Default)]
pub(crate) struct Work {
    entries: VecDeque<Entry>,
    running: FuturesUnordered<Running>,
    next: u64,
}

impl Work {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn push(&mut self, id: u64, channel: Option<String>, pipelined: bool, command: Command) {
        self.next += 1;
        let state = Step::Waiting(Box::new(command));
        self.entries.push_back(Entry { seq: self.next, id, channel, pipelined, state });
    }

    /// Begins what may begin. What `begin` does before it returns is done in the order of the commands.
    pub fn start(&mut self, mut begin: impl FnMut(u64, Command) -> Doing) {
        // Of channels with earlier commands: may another that goes to the owner follow?
        let mut busy: Vec<(String, bool)> = Vec::new();
        for entry in &mut self.entries {
            let before =
                entry.channel.as_ref().and_then(|channel| busy.iter().find(|(name, _)| name == channel));
            let may = before.is_none_or(|(_, open)| *open && entry.pipelined);
            if may && matches!(entry.state, Step::Waiting(_)) {
                let Step::Waiting(command) = std::mem::replace(&mut entry.state, Step::Running) else {
                    continue;
                };
                let (seq, doing) = (entry.seq, begin(entry.id, *command));
                self.running.push(Box::pin(async move { (seq, doing.await) }));
            }
            let open = entry.pipelined && !matches!(entry.state, Step::Waiting(_));
            if let Some(channel) = &entry.channel {
                match busy.iter_mut().find(|(name, _)| name == channel) {
                    Some((_, all)) => *all &= open,
                    None => busy.push((channel.clone(), open)),
                }
            }
        }
    }

    /// The next commands that may be answered, once one of them has come to its end. Pending for ever when nothing runs.
    pub async fn answers(&mut self) -> Vec<(u64, Outcome)> {
        let Some((seq, outcome)) = self.running.next().await else { return std::future::pending().await };
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.seq == seq) {
            entry.state = Step::Done(outcome);
        }
        self.take_done()
    }

    fn take_done(&mut self) -> Vec<(u64, Outcome)> {
        let (mut out, mut kept) = (Vec::new(), VecDeque::new());
        for entry in self.entries.drain(..) {
            let behind =
                entry.channel.is_some() && kept.iter().any(|other: &Entry| other.channel == entry.channel);
            match entry.state {
                Step::Done(outcome) if !behind => out.push((entry.id, outcome)),
                state => kept.push_back(Entry { state, ..entry }),
            }
        }
        self.entries = kept;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use wire::messaging::{OfChannel, Tell};

    fn command(channel: &str) -> Command {
        Command::ChannelJoin(OfChannel { channel: channel.to_owned() })
    }

    /// Begins commands that end when they are told to.
    #[derive(Default)]
    struct Desk {
        work: Work,
        begun: Vec<(u64, Option<oneshot::Sender<()>>)>,
    }

    impl Desk {
        fn push(&mut self, id: u64, channel: &str, pipelined: bool) {
            self.work.push(id, Some(channel.to_owned()), pipelined, command(channel));
            self.start();
        }

        fn start(&mut self) {
            let begun = &mut self.begun;
            self.work.start(|id, _| {
                let (end, ended) = oneshot::channel();
                begun.push((id, Some(end)));
                Box::pin(async move {
                    let _ = ended.await;
                    Outcome::Answered
                })
            });
        }

        fn begun(&self) -> Vec<u64> {
            self.begun.iter().map(|(id, _)| *id).collect()
        }

        async fn end(&mut self, id: u64) -> Vec<u64> {
            let end = self.begun.iter_mut().find(|(begun, _)| *begun == id).and_then(|(_, end)| end.take());
            end.expect("it was begun").send(()).expect("it is awaited");
            let answers = self.work.answers().await;
            self.start();
            answers.into_iter().map(|(id, _)| id).collect()
        }
    }

    #[tokio::test]
    async fn sends_into_one_channel_run_at_once_and_are_answered_in_their_order() {
        let mut desk = Desk::default();
        (1..=3).for_each(|id| desk.push(id, "c", true));
        assert_eq!(desk.begun(), [1, 2, 3]);
        assert_eq!(desk.end(2).await, [0u64; 0]);
        assert_eq!(desk.end(1).await, [1, 2]);
        assert_eq!(desk.end(3).await, [3]);
        assert!(desk.work.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_send_waits_for_what_is_before_it_in_its_channel_alone() {
        let mut desk = Desk::default();
        desk.push(1, "c", true);
        desk.push(2, "c", false);
        desk.push(3, "c", true);
        desk.push(4, "d", false);
        assert_eq!(desk.begun(), [1, 4]);
        assert_eq!(desk.end(4).await, [4]);
        assert_eq!(desk.end(1).await, [1]);
        assert_eq!(desk.begun(), [1, 4, 2]);
        assert_eq!(desk.end(2).await, [2]);
        assert_eq!(desk.end(3).await, [3]);
    }

    #[test]
    fn a_command_without_a_channel_waits_for_nothing() {
        let mut work = Work::default();
        let tell = Tell {
            channel: "c".to_owned(),
            name: "n".to_owned(),
            body: wire::messaging::Body::parse(b"1").expect("JSON"),
        };
        work.push(1, None, false, Command::Tell(tell.clone()));
        work.push(2, None, false, Command::Tell(tell));
        let mut begun = Vec::new();
        work.start(|id, _| {
            begun.push(id);
            Box::pin(std::future::pending())
        });
        assert_eq!((begun, work.len()), (vec![1, 2], 2));
    }
}
