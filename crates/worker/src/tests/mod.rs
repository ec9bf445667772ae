//! A whole worker over real sockets of the loopback device, with `rtc`'s full peer as the other side.

mod calls;
mod data;
mod hostile;
mod relay;
mod world;
