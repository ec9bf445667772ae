mod data_tracks;
mod people;
mod scene;
mod talk;
mod tracks;
