//! The application's word on a message before it is accepted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use messaging::command::{Code, Refusal};
use messaging::event::{Body, Content};

use base::{ChannelId, UserId};

/// Asked about every message, edit and custom event that a person sends, before its channel's owner decides. Sends of one connection for one
/// channel wait for each other's; all others pass. A send that is tried again is asked about again: an answer that changes the body
/// has to be the same for the same body, or the retry is refused as another message.
pub trait Hook: Send + Sync + 'static {
    /// What becomes of it.
    fn judge(&self, send: Asked) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;
}

/// What a hook is asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who sends it.
    pub user: UserId,
    /// Where.
    pub channel: ChannelId,
    /// What.
    pub content: Content,
}

/// What a hook says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it is.
    Accept,
    /// With another body.
    Replace(Body),
    /// Not at all.
    Refuse,
    /// The hook cannot say now: the same is to be sent again, after so many milliseconds.
    Later(u64),
}

/// Is a hook asked about this?
pub(crate) fn concerns(content: &Content) -> bool {
    matches!(content, Content::Message { .. } | Content::Edit { .. } | Content::Custom { .. })
}

/// Carries a verdict out.
pub(crate) fn carry_out(verdict: Verdict, content: &mut Content) -> Result<(), Refusal> {
    match (verdict, content) {
        (Verdict::Accept, _) => Ok(()),
        (
            Verdict::Replace(new),
            Content::Message { body, .. } | Content::Edit { body, .. } | Content::Custom { body, .. },
        ) => {
            *body = Arc::clone(&new);
            Ok(())
        }
        (Verdict::Replace(_), _) => Ok(()),
        (Verdict::Refuse, _) => {
            Err(Refusal::last(Code::Forbidden, "the application does not accept this message"))
        }
        (Verdict::Later(millis), _) => {
            Err(Refusal::later(Code::Busy, "the application cannot judge this message now", millis.max(1)))
        }
    }
}
