//! Media sections as the peer needs them: the plain part of a negotiated session description.

use base::{Codec, ExtensionMap, MediaKind, Mid, Rid};

/// One media section in which the other side sends to us.
#[derive(Clone, PartialEq, Debug)]
pub struct ReceiveSection {
    /// Its mid.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// Accepted codecs.
    pub codecs: Vec<Codec>,
    /// Header extension ids.
    pub extensions: ExtensionMap,
    /// Simulcast rids, lowest layer first; empty = no simulcast.
    pub rids: Vec<Rid>,
    /// SSRCs named in SDP: primary and, where there is one, its RTX SSRC. With several, lowest layer first.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// One media section in which we send one track to the other side.
#[derive(Clone, PartialEq, Debug)]
pub struct SendSection {
    /// Its mid.
    pub mid: Mid,
    /// Audio or video.
    pub media: MediaKind,
    /// Our SSRC.
    pub ssrc: u32,
    /// Our RTX SSRC.
    pub rtx_ssrc: Option<u32>,
    /// Codecs the receiver accepts, with its payload types.
    pub codecs: Vec<Codec>,
    /// Header extension ids.
    pub extensions: ExtensionMap,
    /// RTCP canonical name: the same for tracks that are to be played in sync.
    pub cname: String,
    /// The receiver does not know packet trailers ([`wire::trailer`]): they are taken off.
    pub strips_trailers: bool,
}

/// A cheap handle to a send section of one peer. Goes stale when the section is removed, never wrong: a stale handle
/// sends nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SendIndex {
    pub(crate) slot: u16,
    pub(crate) generation: u16,
}
