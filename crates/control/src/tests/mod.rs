mod api;
mod changes;
mod connections;
mod log;
mod sessions;
mod spread;
mod tracks;
mod world;
