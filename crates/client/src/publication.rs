//! The handle to a track that we publish.

use std::sync::{Arc, Mutex, PoisonError};

use base::MediaKind;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::driver::Request;
use crate::media::{Command, Outbound, Sender};

/// A published track: where its frames go in. It survives reconnects.
#[derive(Clone)]
pub struct Publication {
    /// Our own id for it.
    pub(crate) cid: Arc<str>,
    kind: MediaKind,
    sid: Arc<Mutex<Option<Arc<str>>>>,
    media: Sender,
    /// Weak: who drops the room leaves, though publications are held.
    requests: mpsc::WeakSender<Request>,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({:?} {})", self.kind, self.cid)
    }
}

impl Publication {
    pub(crate) fn new(
        cid: Arc<str>,
        kind: MediaKind,
        media: Sender,
        requests: mpsc::WeakSender<Request>,
    ) -> Self {
        Self { cid, kind, sid: Arc::default(), media, requests }
    }

    pub(crate) fn set_sid(&self, sid: &str) {
        *self.sid.lock().unwrap_or_else(PoisonError::into_inner) = Some(sid.into());
    }

    /// Our own id for it.
    pub fn cid(&self) -> &str {
        &self.cid
    }

    /// The server's id for it; `None` until it has answered, which for tracks published with the join may be after
    /// `connect` returned. Another one after a full reconnect.
    pub fn sid(&self) -> Option<Arc<str>> {
        self.sid.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Sends one encoded frame: an Opus packet, or a VP8 frame or an H.264 picture (NAL units with start codes), which is cut into
    /// packets. `timestamp`: when it was captured, in units of the codec's RTP clock (48 or 90 kHz) from an arbitrary start.
    /// `false`: the session is over, or so many frames wait that this one was dropped.
    pub fn send(&self, frame: impl Into<Bytes>, timestamp: u32) -> bool {
        self.queue(0, None, frame.into(), timestamp)
    }

    /// The same, for a simulcast layer, lowest 0. The frames of one picture have one timestamp in all layers.
    pub fn send_layer(&self, layer: u8, frame: impl Into<Bytes>, timestamp: u32) -> bool {
        self.queue(layer, None, frame.into(), timestamp)
    }

    /// The same, with the loudness of an audio frame (RFC 6464): 0 (loudest) to 127 (silent), in -dBov. Without it nobody is
    /// told that we speak.
    pub fn send_with_level(&self, frame: impl Into<Bytes>, timestamp: u32, level: Option<u8>) -> bool {
        // The V bit says that somebody speaks; 60 dB below the loudest is where a quiet room begins.
        let level = level.map(|level| level.min(127) | if level < 60 { 0x80 } else { 0 });
        self.queue(0, level, frame.into(), timestamp)
    }

    fn queue(&self, layer: u8, level: Option<u8>, payload: Bytes, timestamp: u32) -> bool {
        let cid = self.cid.clone();
        self.media.send(Command::Frame(Outbound { cid, layer, timestamp, level, payload }))
    }

    /// Tells the others that the track is muted, or not any more. Frames sent while muted are dropped by the server. `false`: the
    /// session is over.
    pub async fn set_muted(&self, muted: bool) -> bool {
        self.request(Request::Mute { cid: self.cid.clone(), muted }).await
    }

    /// Ends the publication. `false`: the session is over.
    pub async fn unpublish(&self) -> bool {
        self.request(Request::Unpublish { cid: self.cid.clone() }).await
    }

    /// The session is over, and with it the publication.
    pub fn is_over(&self) -> bool {
        self.requests.upgrade().is_none_or(|requests| requests.is_closed())
    }

    async fn request(&self, request: Request) -> bool {
        let Some(requests) = self.requests.upgrade() else { return false };
        requests.send(request).await.is_ok()
    }
}
