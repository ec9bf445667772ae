//! Where users are.

use std::future::Future;

use crate::Failed;

/// Which nodes a user has connections on. It is soft state: nodes say what they have, and nothing is stored. Clones are the same node's
/// end of it.
///
/// - **Soon.** What a node announced is found from everywhere within a second, and what it withdrew is gone within ten; so is what a node
///   had that died. Until then an answer may be old: whoever acts on it has to bear that the user is not there.
/// - **Never lost.** As long as an announcement is held, the user is found, but for a second after a node that kept it died.
pub trait Directory: Clone + Send + Sync + 'static {
    /// Withdraws when it is dropped.
    type Announcement: Send + 'static;

    /// This node has a connection of the user, as long as what is returned is held. Any number may be held of one user.
    fn announce(&self, user: &str) -> Self::Announcement;

    /// The nodes that have connections of the user, in the order of their names, each once.
    fn locate(&self, user: &str) -> impl Future<Output = Result<Vec<String>, Failed>> + Send;
}
