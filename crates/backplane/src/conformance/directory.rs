//! What every [`Directory`] has to do.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::Directory;

/// Gives nodes' ends of one directory.
pub trait Rig {
    /// What is tried.
    type Directory: Directory;

    /// The end of another node, or of the same where there is one only, and the node's name.
    fn node(&mut self) -> impl Future<Output = (Self::Directory, String)>;
}

/// All of it. Nobody else is in the directory.
pub async fn check(mut rig: impl Rig) {
    let ((here, first), (there, second)) = (rig.node().await, rig.node().await);
    assert_eq!(here.locate("ann").await, Ok(Vec::new()), "who is nowhere is found nowhere");
    let one = here.announce("ann");
    let two = here.announce("ann");
    let other = there.announce("bob");
    found(&there, "ann", &[&first], Duration::from_secs(1)).await;
    found(&here, "bob", &[&second], Duration::from_secs(1)).await;
    let third = there.announce("ann");
    let mut both = vec![first.as_str(), &second];
    both.sort_unstable();
    both.dedup();
    found(&here, "ann", &both, Duration::from_secs(1)).await;
    drop((one, third));
    found(&there, "ann", &[&first], Duration::from_secs(10)).await;
    drop(two);
    found(&there, "ann", &[], Duration::from_secs(10)).await;
    found(&there, "bob", &[&second], Duration::from_secs(1)).await;
    drop(other);
}

async fn found(directory: &impl Directory, user: &str, nodes: &[&str], within: Duration) {
    let until = Instant::now() + within;
    loop {
        let found = directory.locate(user).await.expect("it works");
        if found == nodes {
            return;
        }
        assert!(Instant::now() < until, "{user} is found on {found:?}, not on {nodes:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
