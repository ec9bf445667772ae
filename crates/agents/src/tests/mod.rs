//! Behaviour, in virtual time.

mod dispatches;
mod losses;
mod offers;
mod random;
mod world;
