//! What every [`Ownership`] has to do.

use std::future::Future;
use std::time::Duration;

use crate::{Changed, Ownership, Record, Watcher as _};

/// Opens and crashes the same records again and again.
pub trait Rig {
    /// What is tried.
    type Ownership: Ownership;

    /// Opens them as they were left.
    fn open(&mut self) -> impl Future<Output = Self::Ownership>;

    /// Ends them as a loss of power does; afterwards nothing of them that was not to last is there.
    fn crash(&mut self, records: Self::Ownership) -> impl Future<Output = ()>;
}

/// All of it. `rig` begins with nothing.
pub async fn check(mut rig: impl Rig) {
    let records = rig.open().await;
    changing(&records).await;
    racing(&records).await;
    watching(&records).await;
    names(&records).await;
    rig.crash(records).await;
    crashes(&mut rig).await;
}

async fn changing(records: &impl Ownership) {
    assert_eq!(records.get("p.1").await, Ok(Record::default()), "nobody owns what was never taken");
    assert_eq!(records.change("p.1", 7, Some("a")).await, Changed::Conflict(Record::default()));
    let first = take(records, "p.1", 0, Some("a")).await;
    let record = Record { owner: Some("a".to_owned()), version: first };
    assert_eq!(records.get("p.1").await, Ok(record.clone()));
    for wrong in [0, first + 1] {
        assert_eq!(
            records.change("p.1", wrong, Some("b")).await,
            Changed::Conflict(record.clone()),
            "{wrong}"
        );
    }
    let free = take(records, "p.1", first, None).await;
    assert_eq!(records.get("p.1").await, Ok(Record { owner: None, version: free }));
    let again = take(records, "p.1", free, Some("a")).await;
    assert!(first < free && free < again, "versions rise: {first} {free} {again}");
    assert_eq!(records.get("p.2").await, Ok(Record::default()), "records are apart");
}

async fn racing(records: &impl Ownership) {
    let mut version = 0;
    for round in 0..20 {
        let nodes = (0..4).map(|node| {
            let records = records.clone();
            tokio::spawn(async move { records.change("race", version, Some(&node.to_string())).await })
        });
        let nodes: Vec<_> = nodes.collect();
        let mut won = Vec::new();
        for node in nodes {
            match node.await.expect("no panic") {
                Changed::Done(version) => won.push(version),
                Changed::Conflict(record) => assert!(record.version > version, "a conflict shows the winner"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "round {round}: one of four wins");
        version = won[0];
    }
}

async fn watching(records: &impl Ownership) {
    let first = take(records, "watched", 0, Some("a")).await;
    let mut watcher = records.watch("watched", 0);
    assert_eq!(watcher.changed().await.expect("it works").version, first, "what is there already is shown");
    let quiet = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
    assert!(quiet.is_err(), "and then nothing until it changes");
    let (one, other) = (records.clone(), records.clone());
    let changing = tokio::spawn(async move {
        take(&other, "elsewhere", 0, Some("a")).await;
        take(&one, "watched", first, Some("b")).await
    });
    let shown = tokio::time::timeout(Duration::from_secs(10), watcher.changed()).await;
    let shown = shown.expect("it is shown").expect("it works");
    let version = changing.await.expect("no panic");
    assert_eq!(shown, Record { owner: Some("b".to_owned()), version });
}

async fn names(records: &impl Ownership) {
    let (fits, long) = ("k".repeat(256), "k".repeat(257));
    assert!(matches!(records.change(&long, 0, Some("a")).await, Changed::Refused(_)));
    assert!(matches!(records.change("k", 0, Some(&long)).await, Changed::Refused(_)));
    take(records, &fits, 0, Some(&fits)).await;
}

async fn crashes(rig: &mut impl Rig) {
    let mut expected = Record::default();
    for round in 0..20 {
        let records = rig.open().await;
        assert_eq!(
            records.get("crash").await.as_ref(),
            Ok(&expected),
            "round {round}: a change survives a crash"
        );
        let owner = (round % 3 != 0).then(|| format!("node {round}"));
        let version = take(&records, "crash", expected.version, owner.as_deref()).await;
        assert!(version > expected.version, "versions rise over crashes");
        expected = Record { owner, version };
        rig.crash(records).await;
    }
}

async fn take(records: &impl Ownership, key: &str, expected: u64, owner: Option<&str>) -> u64 {
    match records.change(key, expected, owner).await {
        Changed::Done(version) => version,
        other => panic!("nobody else changes {key}: {other:?}"),
    }
}
