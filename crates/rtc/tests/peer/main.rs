//! Our peer against an independent one (`str0m`) over a seeded, lossy network in virtual time.

mod client;
mod common;
mod connect;
mod data;
mod estimate;
mod garbage;
mod media;
mod moves;
mod oracle;
