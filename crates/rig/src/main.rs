//! Drives the path of a packet by hand, so that its instructions can be counted: `cargo xtask instructions`.
//!
//! Alone it prints how many packets took each path. Under callgrind, which counts while one of the functions `counted_*`
//! runs, that is what the counts are divided by.

mod hall;
mod pairs;
mod paths;
mod stage;

use std::time::Instant;

use hall::Hall;
use stage::{Opened, Sealed, Stage};

/// Slices after which histories have their size.
const WARM_UP: usize = 20;
/// The same with a whole worker, whose estimates have to grow.
const WHOLE_WARM_UP: usize = 25;
/// Slices that are counted.
const COUNTED: usize = 10;

/// Packets that took each path.
#[derive(Default)]
struct Tally {
    receive: usize,
    forward: usize,
    seal_audio: usize,
    seal_video: usize,
    feedback: usize,
    resend: usize,
}

fn main() {
    let mut stage = Stage::new(Instant::now());
    let mut late = Vec::new();
    (0..WARM_UP).for_each(|_| slice(&mut stage, &mut late, &mut Tally::default()));
    let mut tally = Tally::default();
    (0..COUNTED).for_each(|_| slice(&mut stage, &mut late, &mut tally));
    let tick = whole(Hall::new(Instant::now(), 1), paths::counted_tick);
    let crossing = whole(Hall::new(Instant::now(), 2), paths::counted_crossing);
    let Tally { receive, forward, seal_audio, seal_video, feedback, resend } = tally;
    for (path, packets) in [
        ("receive", receive),
        ("forward", forward),
        ("seal_audio", seal_audio),
        ("seal_video", seal_video),
        ("feedback", feedback),
        ("resend", resend),
        ("tick", tick),
        ("crossing", crossing),
    ] {
        println!("{path} {packets} packets in the last {COUNTED} calls");
    }
}

/// Whole workers; how many packets they sent. `end` ends a slice.
fn whole(mut hall: Hall, end: fn(usize)) -> usize {
    let mut packets = 0;
    for slice in 0..WHOLE_WARM_UP + COUNTED {
        let sent = hall.slice();
        end(slice);
        packets += if slice < WHOLE_WARM_UP { 0 } else { sent };
    }
    packets
}

/// A tenth of a second. What was sent again in the last one is in `late`.
fn slice(stage: &mut Stage, late: &mut Vec<Sealed>, tally: &mut Tally) {
    let datagrams = stage.publish();
    tally.receive += datagrams.len();
    let mut opened: Vec<Opened> = Vec::with_capacity(datagrams.len());
    paths::counted_receive(stage, datagrams, &mut opened);
    let mut decided = Vec::with_capacity(opened.len() * stage::SUBSCRIBERS);
    paths::counted_forward(stage, &opened, &mut decided);
    tally.forward += decided.len();
    let runs = stage.runs(&decided);
    let (video, audio): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.entries.len() > 1);
    let mut sealed = std::mem::take(late);
    sealed.reserve(decided.len());
    let before = sealed.len();
    paths::counted_seal_audio(stage, &audio, &mut sealed);
    tally.seal_audio += sealed.len() - before;
    let before = sealed.len();
    paths::counted_seal_video(stage, &video, &mut sealed);
    tally.seal_video += sealed.len() - before;
    sealed.sort_by_key(|sealed| sealed.at);
    let answers = stage.answer(&sealed);
    stage.out.clear();
    tally.feedback += answers.iter().map(|(_, datagrams)| datagrams.len()).sum::<usize>();
    paths::counted_feedback(stage, answers);
    stage.finish();
    late.reserve(sealed.len());
    paths::counted_resend(stage, late);
    tally.resend += late.len();
}
