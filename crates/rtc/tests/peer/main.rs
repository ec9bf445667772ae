//! Our peer against an independent one (`str0m`) over a seeded, lossy network in virtual time.

mod common;
mod connect;
mod data;
mod media;
mod moves;
