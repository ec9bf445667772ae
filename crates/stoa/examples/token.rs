//! Prints a token: `cargo run -p stoa --example token NAME ROOM`.

use std::env::{args, var};
use std::time::{Duration, SystemTime};

use auth::{Claims, VideoGrants};
use base::UnixMillis;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [name, room] = args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: token NAME ROOM")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let video = VideoGrants { room_join: true, room, ..VideoGrants::default() };
    let claims = Claims { sub: name, video: Some(video), ..Claims::default() }
        .valid_for(UnixMillis(now.as_millis() as u64), Duration::from_secs(3_600));
    let key = var("STOA_KEY").unwrap_or_else(|_| auth::DEVELOPMENT_KEY.into());
    let secret = var("STOA_SECRET").unwrap_or_else(|_| auth::DEVELOPMENT_SECRET.into());
    println!("{}", auth::mint(&key, &secret, &claims));
    Ok(())
}
