//! A whole worker, with `rtc`'s full peer as the other side: over real sockets of the loopback device, and in virtual time
//! ([`lab`]).

mod audio;
mod calls;
mod copies;
mod data;
mod decoder;
mod flood;
mod hostile;
mod lab;
mod networks;
mod quality;
mod relay;
pub(crate) mod world;
