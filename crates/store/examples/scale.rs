//! How long a large log takes to open, with its index and without, and how much memory: `cargo run --release -p store --example scale --
//! DIRECTORY [EVENTS]`. The directory should not be there yet.

use std::path::Path;
use std::time::Instant;

use store::index::{Changes, Extract, Name};
use store::log::{Event, Position, Settings};
use store::{Directory, Index, Log};

/// An event's channel is in its first 8 bytes.
struct First8;

impl Extract for First8 {
    fn version(&self) -> u32 {
        1
    }

    fn event(&self, _: u16, event: &Event, _: bool, changes: &mut Changes<'_>) {
        if let Some(channel) = event.payload.first_chunk::<8>().and_then(Name::new) {
            changes.place(channel, event.at.n);
        }
    }

    fn checkpoint(&self, _: u16, _: Position, _: &[u8], _: &mut Changes<'_>) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a directory")?;
    let events = std::env::args().nth(2).map_or(Ok(5_000_000), |count| count.parse())?;
    let (own, index) = (Path::new(&path).join("log"), Path::new(&path).join("index"));
    time("written", || write(&own, events))?;
    let open =
        || Log::open(Directory::open(&own)?, Settings::default()).map_err(Box::<dyn std::error::Error>::from);
    let (log, _) = time("opened", open)?;
    let caught =
        |_: &str| Index::open(&index, &mut log.reader(), &First8).map_err(Box::<dyn std::error::Error>::from);
    let (made, _) = time("index made", || caught("new"))?;
    drop(made);
    let (there, caught) = time("index opened", || caught("old"))?;
    println!("{} events taken again", caught.events);
    time("one channel's last 50 events", || {
        let channel = 4_711u64.to_le_bytes();
        let numbers = there.events(Name::new(&channel).ok_or("too long")?, 0..u64::MAX, true, 50)?;
        let mut reader = log.reader();
        for n in numbers {
            reader.read((4_711 % 64) as u16, n, 1, 1)?;
        }
        Ok(())
    })?;
    time("all verified", || {
        let mut reader = log.reader();
        reader.segments().into_iter().try_for_each(|segment| Ok(reader.verify(segment)?))
    })
}

/// Events of 250 bytes in 300,000 channels, 2,000 to a commit.
fn write(path: &Path, events: u64) -> Result<(), Box<dyn std::error::Error>> {
    let (mut log, _) = Log::open(Directory::open(path)?, Settings::default())?;
    let mut payload = vec![7; 250];
    for at in 0..events {
        let channel = at.wrapping_mul(7_919) % 300_000;
        payload[..8].copy_from_slice(&channel.to_le_bytes());
        let partition = (channel % 64) as u16;
        log.append(partition, log.head(partition), &[&payload])?;
        if at % 2_000 == 1_999 {
            log.commit()?;
        }
    }
    Ok(log.commit()?)
}

fn time<T>(
    what: &str,
    act: impl FnOnce() -> Result<T, Box<dyn std::error::Error>>,
) -> Result<T, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let done = act()?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: not known here");
    println!("{what:<30} {:>9.3} s   {memory}", begun.elapsed().as_secs_f64());
    Ok(done)
}
