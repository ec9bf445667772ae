//! What every [`Log`] has to do.

use std::future::Future;

use bytes::Bytes;
use store::log::Position;

use crate::{Appended, Event, Follower as _, Log};

/// Opens and crashes the same log again and again. It has at least 8 partitions.
pub trait Rig {
    /// What is tried.
    type Log: Log;

    /// Opens it as it was left.
    fn open(&mut self) -> impl Future<Output = Self::Log>;

    /// Ends it as a loss of power does; afterwards nothing of it that was not to last is there.
    fn crash(&mut self, log: Self::Log) -> impl Future<Output = ()>;
}

/// All of it. `rig` begins with nothing. Partitions 0 to 6 are used, each by one promise.
pub async fn check(mut rig: impl Rig) {
    order(&mut rig).await;
    fencing(&mut rig).await;
    pipelining(&mut rig).await;
    crashes(&mut rig).await;
    following(&mut rig).await;
    retention(&mut rig).await;
    closing(&mut rig).await;
}

async fn order(rig: &mut impl Rig) {
    let log = rig.open().await;
    let extent = log.extent(0).await.expect("it works");
    assert_eq!(
        (extent.first, extent.head.n, extent.checkpoint),
        (1, 0, None),
        "a partition begins with nothing"
    );
    assert_eq!(log.read(0, 1, 10).await, Ok(Vec::new()), "reading where nothing is waits for nothing");
    append(&log, 0, &["a", "b", "c"]).await;
    let head = append(&log, 0, &["d"]).await;
    assert_eq!(head.n, 4, "numbers are dense");
    assert_eq!(texts(&log, 0).await, ["a", "b", "c", "d"]);
    let some = log.read(0, 2, 2).await.expect("it works");
    assert_eq!(some.iter().map(|event| event.at.n).collect::<Vec<_>>(), [2, 3], "a read keeps to its limit");
    let picked = log.pick(0, vec![4, 2, 77]).await.expect("it works");
    assert_eq!(picked.iter().map(|event| event.at.n).collect::<Vec<_>>(), [4, 2], "in the order asked for");
    assert!(texts(&log, 1).await.is_empty(), "partitions are apart");
    let nothing = log.append(0, head, Vec::new()).await;
    assert!(matches!(nothing, Appended::Refused(_)), "nothing cannot be appended: {nothing:?}");
    let beyond = log.partitions();
    assert!(log.extent(beyond).await.is_err(), "there is no partition {beyond}");
    assert!(matches!(log.append(beyond, head, payloads(&["x"])).await, Appended::Refused(_)));
    let large = vec![Bytes::from(vec![7; 300_000]); 3];
    for _ in 0..3 {
        let head = log.extent(0).await.expect("it works").head;
        assert!(matches!(log.append(0, head, large.clone()).await, Appended::Committed(_)));
    }
    let first = log.read(0, 1, usize::MAX).await.expect("it works").len();
    assert!((5..13).contains(&first), "one read brings about a megabyte, not {first} events");
    assert_eq!(all(&log, 0).await.len(), 13, "and the next go on");
    log.close().await;
}

async fn fencing(rig: &mut impl Rig) {
    let log = rig.open().await;
    for round in 0..20 {
        let head = log.extent(1).await.expect("it works").head;
        let owners: Vec<_> = (0..4)
            .map(|owner| {
                let log = log.clone();
                let payload = payloads(&[&format!("{round} by {owner}")]);
                tokio::spawn(async move { log.append(1, head, payload).await })
            })
            .collect();
        let mut committed = 0;
        for owner in owners {
            match owner.await.expect("no owner panics") {
                Appended::Committed(at) => {
                    committed += 1;
                    assert_eq!(at.n, head.n + 1);
                }
                Appended::Conflict(at) => assert!(at.n > head.n, "a conflict tells the head"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(committed, 1, "round {round}: of all that expect the same head one is committed");
    }
    let head = log.extent(1).await.expect("it works").head;
    for wrong in [
        Position { n: head.n + 1, ..head },
        Position { n: 0, ..head },
        Position { epoch: head.epoch + 1, ..head },
    ] {
        let answer = log.append(1, wrong, payloads(&["x"])).await;
        assert_eq!(answer, Appended::Conflict(head), "{wrong} is expected where {head} is");
    }
    assert_eq!(texts(&log, 1).await.len(), 20);
    log.close().await;
}

async fn pipelining(rig: &mut impl Rig) {
    let log = rig.open().await;
    let head = log.extent(2).await.expect("it works").head;
    let texts_sent: Vec<String> = (0..50).map(|at| at.to_string()).collect();
    let mut waiting: Vec<std::pin::Pin<Box<dyn Future<Output = Appended> + Send>>> = Vec::new();
    for (text, at) in texts_sent.iter().zip(0..) {
        let log = log.clone();
        let (expected, payload) = (Position { n: head.n + at, ..head }, payloads(&[text]));
        let mut append = Box::pin(async move { log.append(2, expected, payload).await });
        // Polled once, in order; then all of them are waited for.
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(append.as_mut().poll(context))).await;
        match polled {
            std::task::Poll::Ready(answer) => assert!(matches!(answer, Appended::Committed(_)), "{answer:?}"),
            std::task::Poll::Pending => waiting.push(append),
        }
    }
    for append in waiting {
        let answer = append.await;
        assert!(
            matches!(answer, Appended::Committed(_)),
            "one may expect what the one before makes: {answer:?}"
        );
    }
    assert_eq!(texts(&log, 2).await, texts_sent);
    log.close().await;
}

async fn crashes(rig: &mut impl Rig) {
    let mut expected: Vec<String> = Vec::new();
    let mut seen = None;
    for round in 0..20 {
        let log = rig.open().await;
        assert_eq!(texts(&log, 3).await, expected, "round {round}: what was committed survives a crash");
        let head = log.extent(3).await.expect("it works").head;
        assert_eq!(seen.unwrap_or(head), head, "round {round}: so does the head, in its epoch");
        let new = [format!("{round} a"), format!("{round} b")];
        seen = Some(append(&log, 3, &[&new[0], &new[1]]).await);
        expected.extend(new);
        let state = Bytes::from(format!("state {round}"));
        let n = expected.len() as u64;
        log.checkpoint(3, n, state.clone()).await.expect("it works");
        rig.crash(log).await;
        let log = rig.open().await;
        let checkpoint = log.latest_checkpoint(3).await.expect("it works");
        let (at, found) = checkpoint.expect("a checkpoint survives a crash");
        assert_eq!((at.n, found), (n, state), "round {round}");
        assert!(
            log.checkpoint(3, n, Bytes::new()).await.is_err(),
            "a checkpoint has to reach further than the last"
        );
        assert!(log.checkpoint(3, n + 1, Bytes::new()).await.is_err(), "and not beyond the head");
        rig.crash(log).await;
    }
}

async fn following(rig: &mut impl Rig) {
    let log = rig.open().await;
    append(&log, 4, &["0", "1", "2"]).await;
    let mut followers: Vec<_> = [0, 1, 3].into_iter().map(|after| (after, log.follow(4, after))).collect();
    let writer = tokio::spawn(write(log.clone()));
    for (after, follower) in &mut followers {
        let mut next = *after + 1;
        while next <= 103 {
            // What is given up loses nothing.
            let given_up = tokio::time::timeout(std::time::Duration::ZERO, follower.next()).await;
            let events = match given_up {
                Ok(events) => events,
                Err(_) => follower.next().await,
            };
            let events = events.expect("it works");
            assert!(!events.is_empty(), "a follower brings something");
            for event in events {
                let expected = (next, Bytes::from((next - 1).to_string()));
                assert_eq!((event.at.n, event.payload), expected, "without gaps, each once");
                next += 1;
            }
        }
    }
    writer.await.expect("the writer does not panic");
    let shown = log.extent(4).await.expect("it works").head;
    rig.crash(log).await;
    let log = rig.open().await;
    assert_eq!(log.extent(4).await.expect("it works").head, shown, "what was shown survives a crash");
    assert!(log.follow(log.partitions(), 0).next().await.is_err(), "what is not there is not followed");
    log.close().await;
}

async fn write(log: impl Log) {
    for at in 3..103 {
        append(&log, 4, &[&at.to_string()]).await;
    }
}

async fn retention(rig: &mut impl Rig) {
    let log = rig.open().await;
    append(&log, 5, &["1", "2", "3", "4", "5"]).await;
    assert!(log.trim(5, 2).await.is_err(), "what no checkpoint covers stays");
    log.checkpoint(5, 3, Bytes::from_static(b"three")).await.expect("it works");
    assert!(log.trim(5, 5).await.is_err(), "nor does more than it covers go");
    assert_eq!(texts(&log, 5).await.len(), 5, "a trim that fails removes nothing");
    let mut follower = log.follow(5, 0);
    log.trim(5, 4).await.expect("it is covered");
    log.trim(5, 2).await.expect("what is gone is gone");
    rig.crash(log).await;
    assert!(follower.next().await.is_err(), "a log that ended is not followed");
    let log = rig.open().await;
    let extent = log.extent(5).await.expect("it works");
    assert_eq!((extent.first, extent.head.n, extent.checkpoint.map(|at| at.n)), (4, 5, Some(3)));
    assert_eq!(texts(&log, 5).await, ["4", "5"]);
    let events = log.follow(5, 0).next().await.expect("it works");
    assert_eq!(events.first().map(|event| event.at.n), Some(4), "a follower leaves out what was removed");
    log.checkpoint(5, 5, Bytes::from_static(b"five")).await.expect("it works");
    log.trim(5, 6).await.expect("it is covered");
    let head = append(&log, 5, &["6"]).await;
    assert_eq!((head.n, texts(&log, 5).await), (6, vec!["6".to_owned()]), "numbers go on");
    log.close().await;
}

async fn closing(rig: &mut impl Rig) {
    let log = rig.open().await;
    let head = append(&log, 6, &["a"]).await;
    log.close().await;
    log.close().await;
    assert!(
        matches!(log.append(6, head, payloads(&["b"])).await, Appended::Refused(_)),
        "a closed log takes nothing"
    );
    assert!(log.extent(6).await.is_err() && log.read(6, 1, 1).await.is_err(), "and shows nothing");
    let log = rig.open().await;
    assert_eq!(texts(&log, 6).await, ["a"]);
    log.close().await;
}

fn payloads(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

async fn append(log: &impl Log, partition: u16, texts: &[&str]) -> Position {
    let head = log.extent(partition).await.expect("it works").head;
    match log.append(partition, head, payloads(texts)).await {
        Appended::Committed(at) => {
            assert_eq!(at.n, head.n + texts.len() as u64, "the position of the last is answered");
            at
        }
        other => panic!("nobody else appends: {other:?}"),
    }
}

async fn all(log: &impl Log, partition: u16) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let from = all.last().map_or(1, |event| event.at.n + 1);
        let more = log.read(partition, from, usize::MAX).await.expect("it works");
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

async fn texts(log: &impl Log, partition: u16) -> Vec<String> {
    let events = all(log, partition).await;
    events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect()
}
