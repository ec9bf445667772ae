//! Sessions as values: messages and events in, effects out. Offers are those recorded in `crates/sdp/tests/offers`.

mod backup;
mod codecs;
mod data;
mod data_tracks;
mod gotchas;
mod large_rooms;
mod microcontroller;
mod moving;
mod one_connection;
mod quality;
mod red;
mod resume;
mod support;
mod two_connections;
