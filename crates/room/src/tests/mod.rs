mod data_tracks;
mod folding;
mod moving;
mod people;
mod scene;
mod talk;
mod tracks;
