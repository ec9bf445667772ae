mod api;
mod connections;
mod sessions;
mod tracks;
mod world;
