//! What every [`Queue`] has to do.

use std::future::Future;

use bytes::Bytes;

use crate::Queue;

/// Opens and crashes the same queue again and again. Its limits have to let at least 32 entries of 1 kB in, and at most 10,000.
pub trait Rig {
    /// What is tried.
    type Queue: Queue;

    /// Opens it as it was left.
    fn open(&mut self) -> impl Future<Output = Self::Queue>;

    /// Ends it as a loss of power does; afterwards nothing of it that was not to last is there.
    fn crash(&mut self, queue: Self::Queue) -> impl Future<Output = ()>;
}

/// All of it. `rig` begins with nothing.
pub async fn check(mut rig: impl Rig) {
    order(&mut rig).await;
    finishing(&mut rig).await;
    exchanging(&mut rig).await;
    crashes(&mut rig).await;
    crowd(&mut rig).await;
    limit(&mut rig).await;
}

async fn order(rig: &mut impl Rig) {
    let queue = rig.open().await;
    let first = append(&queue, &["a", "b", "c"]).await;
    let second = append(&queue, &["d"]).await;
    let all: Vec<u64> = first.into_iter().chain(second).collect();
    assert!(all.is_sorted_by(|a, b| a < b), "numbers grow in the order of appends: {all:?}");
    assert_eq!(queue.pending().await.expect("it works"), all, "pending is oldest first");
    assert_eq!(texts(&queue).await, ["a", "b", "c", "d"]);
    queue.close().await;
    assert!(queue.pending().await.is_err(), "a queue that is closed fails");
    let queue = rig.open().await;
    assert_eq!(texts(&queue).await, ["a", "b", "c", "d"], "everything is there after it was closed");
    queue.finish(all).await.expect("it works");
    queue.close().await;
}

async fn finishing(rig: &mut impl Rig) {
    let queue = rig.open().await;
    let numbers = append(&queue, &["a", "b", "c"]).await;
    queue.finish(vec![numbers[1], numbers[1], u64::MAX]).await.expect("what is not there is ignored");
    assert_eq!(texts(&queue).await, ["a", "c"], "what is finished is not pending");
    assert_eq!(queue.read(numbers[1]).await, Ok(None), "nor is it there to be read");
    queue.close().await;
    let queue = rig.open().await;
    assert_eq!(texts(&queue).await, ["a", "c"], "what is finished stays so once the queue was closed");
    let next = append(&queue, &["d"]).await;
    assert!(next[0] > numbers[2], "numbers are not used again");
    finish_all(&queue).await;
    queue.close().await;
}

async fn exchanging(rig: &mut impl Rig) {
    for round in 0..10 {
        let queue = rig.open().await;
        let old = queue.pending().await.expect("it works");
        let payload = vec![Bytes::from(format!("round {round}"))];
        assert_eq!(queue.exchange(payload, old).await.expect("it works").len(), 1);
        rig.crash(queue).await;
        let queue = rig.open().await;
        assert_eq!(
            texts(&queue).await,
            [format!("round {round}")],
            "the new is there and the old is not, over a crash"
        );
        queue.close().await;
    }
    let queue = rig.open().await;
    finish_all(&queue).await;
    queue.close().await;
}

async fn crashes(rig: &mut impl Rig) {
    let mut expected = Vec::new();
    for round in 0..20 {
        let queue = rig.open().await;
        assert_eq!(texts(&queue).await, expected, "round {round}: what was appended survives a crash");
        let text = format!("round {round}");
        append(&queue, &[&text]).await;
        expected.push(text);
        rig.crash(queue).await;
    }
    let queue = rig.open().await;
    finish_all(&queue).await;
    queue.close().await;
}

async fn crowd(rig: &mut impl Rig) {
    let queue = rig.open().await;
    let writers: Vec<_> = (0..8).map(|writer| tokio::spawn(write(queue.clone(), writer))).collect();
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    let texts = texts(&queue).await;
    for writer in 0..8 {
        let own: Vec<&String> = texts.iter().filter(|text| text.starts_with(&format!("{writer}."))).collect();
        let order: Vec<String> = (0..10).map(|at| format!("{writer}.{at}")).collect();
        assert_eq!(own, order.iter().collect::<Vec<_>>(), "each writer's entries are in its order");
    }
    let pairs = texts.chunks(2).all(|pair| pair[0][..2] == pair[1][..2]);
    assert!(pairs, "what is appended at once is not interleaved: {texts:?}");
    finish_all(&queue).await;
    queue.close().await;
}

async fn write(queue: impl Queue, writer: usize) {
    for at in 0..5 {
        append(&queue, &[&format!("{writer}.{}", 2 * at), &format!("{writer}.{}", 2 * at + 1)]).await;
    }
}

async fn limit(rig: &mut impl Rig) {
    let queue = rig.open().await;
    let payload = Bytes::from(vec![7; 1_000]);
    let mut taken = 0;
    loop {
        let numbers = queue.append(vec![payload.clone(); 32]).await.expect("a full queue is no failure");
        taken += numbers.len();
        if numbers.len() < 32 {
            break;
        }
        assert!(taken <= 10_000, "a queue has a limit");
    }
    let all = queue.pending().await.expect("it works");
    assert_eq!(all.len(), taken, "what was taken is there");
    assert_eq!(queue.append(vec![payload.clone()]).await.map(|numbers| numbers.len()), Ok(0));
    finish_all(&queue).await;
    queue.close().await;
    let queue = rig.open().await;
    assert_eq!(queue.append(vec![payload]).await.map(|numbers| numbers.len()), Ok(1), "room comes back");
    queue.close().await;
}

async fn append(queue: &impl Queue, texts: &[&str]) -> Vec<u64> {
    let payloads = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
    let numbers = queue.append(payloads).await.expect("it works");
    assert_eq!(numbers.len(), texts.len(), "all are taken");
    numbers
}

async fn texts(queue: &impl Queue) -> Vec<String> {
    let mut texts = Vec::new();
    for number in queue.pending().await.expect("it works") {
        let payload = queue.read(number).await.expect("it works").expect("what is pending can be read");
        texts.push(String::from_utf8_lossy(&payload).into_owned());
    }
    texts
}

async fn finish_all(queue: &impl Queue) {
    let all = queue.pending().await.expect("it works");
    queue.finish(all).await.expect("it works");
}
