//! The reliable messages of a room that were sent a moment ago: for participants whose channel is not open yet, and for those
//! whose connection broke. Each message is held once, whoever it is for.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use base::ParticipantId;
use bytes::Bytes;

/// Messages are kept this long at least. As in LiveKit: a client that resumes misses what was on the way when its network
/// went, and finds that out within a round trip of being back.
const KEPT: Duration = Duration::from_secs(2);
/// As long as somebody's channel is not open: clients give up connecting after 15 s.
const KEPT_FOR_NEWCOMERS: Duration = Duration::from_secs(15);
/// Messages held for a room at most: 2 s of everything that a room can pass on in small ones.
const MAX_MESSAGES: usize = 8_192;
/// Bytes held for a room at most: 2 s at 32 Mbit/s.
const MAX_BYTES: usize = 8 << 20;

/// Who a message is for.
#[derive(Clone, Debug)]
pub(crate) enum Audience {
    /// Everybody who was there when it was sent, but its sender.
    Others,
    /// These.
    These(Vec<ParticipantId>),
}

/// A message that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// `None`: the server.
    pub sender: Option<ParticipantId>,
    /// The sender's own numbering, from 1; 0: it does not number.
    pub sequence: u32,
    pub audience: Audience,
    pub payload: Bytes,
}

impl Sent {
    fn is_for(&self, receiver: ParticipantId) -> bool {
        match &self.audience {
            Audience::Others => self.sender != Some(receiver),
            Audience::These(these) => these.contains(&receiver),
        }
    }

    /// What it holds in memory, near enough.
    fn size(&self) -> usize {
        let named = if let Audience::These(these) = &self.audience { these.len() } else { 0 };
        self.payload.len() + size_of::<Self>() + named * size_of::<ParticipantId>()
    }
}

/// How far a participant has got: numbers of messages, in the order in which the room took them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The first that was sent after it joined.
    joined: u64,
    /// The first that was not handed to a connection of its.
    next: u64,
}

impl Progress {
    /// Of somebody who joins when `number` is the next message's.
    pub fn new(number: u64) -> Self {
        Self { joined: number, next: number }
    }

    /// This message was handed to its connection.
    pub fn handed(&mut self, number: u64) {
        self.next = number + 1;
    }
}

/// The messages, oldest first.
#[derive(Default)]
pub(crate) struct History {
    messages: VecDeque<(Instant, Sent)>,
    /// Number of the oldest.
    first: u64,
    bytes: usize,
    /// When it is to be looked for messages that have been kept long enough.
    check_at: Option<Instant>,
}

impl History {
    /// Keeps a message; returns its number.
    pub fn push(&mut self, now: Instant, sent: Sent) -> u64 {
        let number = self.next();
        self.bytes += sent.size();
        self.messages.push_back((now, sent));
        while self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES {
            self.pop();
        }
        self.check_at.get_or_insert(now + KEPT);
        number
    }

    /// The number that the next message will have.
    pub fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// When [`Self::expire`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.check_at
    }

    /// Forgets what has been kept long enough. `newcomers`: somebody's channel is not open yet.
    pub fn expire(&mut self, now: Instant, newcomers: bool) {
        let kept = if newcomers { KEPT_FOR_NEWCOMERS } else { KEPT };
        while self.messages.front().is_some_and(|(at, _)| *at + kept <= now) {
            self.pop();
        }
        self.check_at = (!self.messages.is_empty()).then_some(now + KEPT);
        if self.messages.is_empty() {
            // A burst's worth of places is not held for a room that is quiet again.
            self.messages.shrink_to(64);
        }
    }

    /// What this participant has not got, in order, for a connection that is open now; it counts as handed to it. `received`:
    /// the last sequence that it has of each sender, if it says so. What was handed to a connection is repeated only to
    /// somebody who says so, since it can tell what it has twice.
    ///
    /// Also returns how many messages, of which some may have been for it, were forgotten before.
    pub fn missed(
        &self,
        receiver: ParticipantId,
        progress: &mut Progress,
        received: &BTreeMap<ParticipantId, u32>,
    ) -> (Vec<Bytes>, u64) {
        let next = progress.next;
        let lost = self.first.saturating_sub(next);
        let from = if received.is_empty() { next } else { progress.joined };
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let numbered = (self.first..).zip(&self.messages).skip(skipped);
        let missed = numbered.filter(|(number, (_, sent))| {
            sent.is_for(receiver) && (*number >= next || is_unseen(sent, received))
        });
        let missed = missed.map(|(_, (_, sent))| sent.payload.clone()).collect();
        progress.next = self.next();
        (missed, lost)
    }

    fn pop(&mut self) {
        if let Some((_, sent)) = self.messages.pop_front() {
            self.bytes -= sent.size();
            self.first += 1;
        }
    }
}

/// A receiver that has so much of each sender does not have this. Of a sender that it does not name it has nothing.
fn is_unseen(sent: &Sent, received: &BTreeMap<ParticipantId, u32>) -> bool {
    let Some(sender) = sent.sender else { return false };
    sent.sequence > received.get(&sender).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: ParticipantId = ParticipantId(1);
    const BOB: ParticipantId = ParticipantId(2);
    const CID: ParticipantId = ParticipantId(3);

    fn sent(sender: ParticipantId, sequence: u32, audience: Audience) -> Sent {
        let payload = Bytes::from(format!("{sender}/{sequence}"));
        Sent { sender: Some(sender), sequence, audience, payload }
    }

    fn texts(missed: &[Bytes]) -> Vec<String> {
        missed.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    fn names(pairs: &[(ParticipantId, u32)]) -> Vec<String> {
        pairs.iter().map(|(sender, sequence)| format!("{sender}/{sequence}")).collect()
    }

    #[test]
    fn a_newcomer_gets_what_was_sent_since_it_joined_once_and_nothing_of_its_own() {
        let (now, mut history) = (Instant::now(), History::default());
        history.push(now, sent(ANN, 1, Audience::Others));
        let mut progress = Progress::new(history.next());
        history.push(now, sent(ANN, 2, Audience::Others));
        history.push(now, sent(BOB, 1, Audience::Others));
        history.push(now, sent(ANN, 3, Audience::These(vec![CID])));
        history.push(now, sent(ANN, 4, Audience::These(vec![CID, BOB])));
        let (missed, lost) = history.missed(BOB, &mut progress, &BTreeMap::new());
        assert_eq!((texts(&missed), lost), (names(&[(ANN, 2), (ANN, 4)]), 0));
        let (missed, _) = history.missed(BOB, &mut progress, &BTreeMap::new());
        assert!(missed.is_empty(), "{missed:?}");
    }

    #[test]
    fn who_says_what_it_has_gets_the_rest_of_every_sender_in_order() {
        let (now, mut history) = (Instant::now(), History::default());
        let mut progress = Progress::new(0);
        for sequence in 1..=3 {
            history.push(now, sent(ANN, sequence, Audience::Others));
            progress.handed(history.push(now, sent(CID, sequence, Audience::Others)));
        }
        // Without a number nobody could tell that it comes twice.
        progress.handed(history.push(now, sent(ANN, 0, Audience::Others)));
        let (missed, _) = history.missed(BOB, &mut progress.clone(), &BTreeMap::new());
        assert!(missed.is_empty(), "all of it was handed to a connection: {missed:?}");
        let (missed, _) = history.missed(BOB, &mut progress, &BTreeMap::from([(ANN, 2)]));
        assert_eq!(texts(&missed), names(&[(CID, 1), (CID, 2), (ANN, 3), (CID, 3)]));
    }

    #[test]
    fn nobody_gets_what_was_sent_before_it_joined_whatever_it_says() {
        let (now, mut history) = (Instant::now(), History::default());
        history.push(now, sent(ANN, 1, Audience::Others));
        let mut progress = Progress::new(history.next());
        history.push(now, sent(ANN, 2, Audience::Others));
        let (missed, _) = history.missed(BOB, &mut progress, &BTreeMap::from([(CID, 9)]));
        assert_eq!(texts(&missed), names(&[(ANN, 2)]));
    }

    #[test]
    fn messages_are_forgotten_after_a_while_and_later_while_somebody_is_coming() {
        let (now, mut history) = (Instant::now(), History::default());
        history.push(now, sent(ANN, 1, Audience::Others));
        assert_eq!(history.poll_timeout(), Some(now + KEPT));
        history.expire(now + KEPT, true);
        assert_eq!((history.next(), history.messages.len()), (1, 1));
        history.expire(now + KEPT_FOR_NEWCOMERS, true);
        assert!(history.messages.is_empty() && history.bytes == 0);
        history.push(now + KEPT_FOR_NEWCOMERS, sent(ANN, 2, Audience::Others));
        history.expire(now + KEPT_FOR_NEWCOMERS + KEPT, false);
        assert_eq!((history.next(), history.poll_timeout()), (2, None));
    }

    #[test]
    fn it_is_bounded_in_messages_and_in_bytes_and_tells_what_is_lost() {
        for (count, len) in [(3 * MAX_MESSAGES, 1), (1_000, 60_000)] {
            let (now, mut history) = (Instant::now(), History::default());
            let mut progress = Progress::new(0);
            for _ in 0..count {
                let payload = Bytes::from(vec![0; len]);
                let sent = Sent { sender: None, sequence: 0, audience: Audience::Others, payload };
                history.push(now, sent);
            }
            assert!(history.messages.len() <= MAX_MESSAGES && history.bytes <= MAX_BYTES);
            let (missed, lost) = history.missed(BOB, &mut progress, &BTreeMap::new());
            assert_eq!(missed.len() as u64 + lost, count as u64);
            assert!(lost > 0);
        }
    }
}
