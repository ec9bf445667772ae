mod people;
mod scene;
mod talk;
mod tracks;
