mod api;
mod connections;
mod log;
mod sessions;
mod tracks;
mod world;
