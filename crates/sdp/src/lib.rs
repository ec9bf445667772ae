//! SDP text (RFC 8866) to plain descriptions of WebRTC sessions and back.
//!
//! - [`parse`] reads an offer or answer of a browser or native client into a [`Description`];
//! - [`choose`] decides which codecs and header extensions of a section Stoa accepts;
//! - [`Document`] writes answers and offers.
//!
//! This crate knows nothing of signalling protocols, rooms, sockets or randomness: identifiers and addresses are passed in.
//! All functions are total: text from strangers yields an [`Error`], never a panic, and what it may cost is bounded
//! ([`MAX_LEN`], [`MAX_SECTIONS`] and the constants beside them).

mod candidates;
mod choose;
mod description;
mod document;
mod error;
mod fragment;
mod lines;
mod offered;
mod parse;

pub use candidates::{MAX_CANDIDATES, candidates, parse_candidate};
pub use choose::{Accepted, Policy, choose, codec_kind};
pub use description::{
    CodecLine, Description, Direction, ExtensionLine, Feedback, Ice, Msid, RidLine, Section, SectionKind,
    Setup,
};
pub use document::{Document, Downlink, OutBody, OutSection, Role, Transport};
pub use error::Error;
pub use fragment::{Fragment, MAX_FRAGMENT_LEN, parse_fragment, write_fragment};
pub use lines::{format_fingerprint, parse_fingerprint};
pub use offered::{offered_codecs, offered_extensions, offered_red};
pub use parse::parse;

/// Longest text that is looked at, in bytes. Chromium writes 5.4 kB about each video section: 180 of them fit.
pub const MAX_LEN: usize = 960 * 1024;
/// Most media sections of a description.
pub const MAX_SECTIONS: usize = 256;
/// Most payload types of a section: there are 128.
pub const MAX_CODECS: usize = 128;
/// Most header extensions of a section.
pub const MAX_EXTENSIONS: usize = 64;
/// Most rids of a section. Clients send three.
pub const MAX_RIDS: usize = 8;
/// Most SSRC pairs of a section. Firefox names one pair for each of three layers.
pub const MAX_SSRCS: usize = 32;
