mod data_tracks;
mod folding;
mod guests;
mod moving;
mod people;
mod scene;
mod talk;
mod tracks;
