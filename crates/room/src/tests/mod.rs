mod data_tracks;
mod folding;
mod people;
mod scene;
mod talk;
mod tracks;
