//! The steps between nothing and what a receiver asks for.

/// Spatial (or simulcast) layers times temporal layers, at most.
pub(super) const MOST_RUNGS: usize = 16;

/// What a half, a quarter and an eighth of the frames are worth of a camera's picture: nobody likes a picture that stutters.
const CAMERA: [f32; 4] = [1.0, 0.57, 0.325, 0.185];
/// The same of a shared screen, which has to be read.
const SCREEN: [f32; 4] = [1.0, 0.81, 0.656, 0.531];

/// One combination of layers that a publication sends.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Rung {
    /// Simulcast layer, or spatial layer where there is one stream.
    pub level: u8,
    /// Temporal layers up to this one.
    pub temporal: u8,
    /// How often the frame rate is halved by leaving out the others.
    pub halvings: u8,
    /// Pixels on the shorter side.
    pub height: u32,
    /// Bits per second.
    pub cost: u32,
}

/// One step of a ladder.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Step {
    pub level: u8,
    /// `u8::MAX`: all.
    pub temporal: u8,
    /// Bits per second, more than those of the steps below.
    pub cost: u32,
    /// What a bit per second brings on the way to this step, or to a better one behind it.
    pub gain: f32,
}

/// What its receiver thinks of a publication's rungs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Taste {
    /// The highest level and the highest temporal layer that are asked for.
    pub most: (u8, u8),
    /// Pixels on the shorter side in which it is rendered; `None`: not known.
    pub rendered: Option<u32>,
    /// It shows a screen.
    pub screen: bool,
}

impl Rung {
    /// All temporal layers are all, however many come to be told apart.
    pub fn up_to(&self) -> u8 {
        if self.halvings == 0 { u8::MAX } else { self.temporal }
    }
}

impl Taste {
    /// `lowest`: the lowest level that is sent.
    fn wants(&self, rung: &Rung, lowest: u8) -> bool {
        let stutters = !self.screen && rung.halvings > 1 && rung.level > lowest;
        rung.level <= self.most.0 && rung.temporal <= self.most.1 && !stutters
    }

    fn quality(&self, rung: &Rung) -> f32 {
        let height = rung.height.max(1).min(self.rendered.unwrap_or(u32::MAX).max(1));
        let worth = if self.screen { &SCREEN } else { &CAMERA };
        // Larger than rendered is still a little better, so that qualities are all different.
        (height as f32 + rung.height as f32 * 0.01) * worth[usize::from(rung.halvings).min(worth.len() - 1)]
    }
}

/// Appends the ladder that `rungs` make for somebody of this `taste`: better and dearer with each step, gains never growing.
/// Where nothing that is asked for is sent, the lowest level is the only step.
pub(super) fn build(rungs: &[Rung], taste: Taste, into: &mut Vec<Step>) {
    let mut wanted = [(Rung::default(), 0.0f32); MOST_RUNGS];
    let mut count = 0;
    let level = rungs.iter().map(|rung| rung.level).min().unwrap_or(0);
    for rung in rungs.iter().filter(|rung| taste.wants(rung, level)).take(MOST_RUNGS) {
        wanted[count] = (*rung, taste.quality(rung));
        count += 1;
    }
    if count == 0 {
        let lowest = rungs.iter().min_by_key(|rung| (rung.level, rung.halvings));
        let Some(rung) = lowest else { return };
        wanted[0] = (*rung, taste.quality(rung));
        count = 1;
    }
    let wanted = &mut wanted[..count];
    wanted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let first = into.len();
    let mut qualities = [0.0f32; MOST_RUNGS];
    for (at, (rung, quality)) in wanted.iter().enumerate() {
        if wanted[at + 1..].iter().any(|(better, _)| better.cost <= rung.cost) {
            continue;
        }
        qualities[into.len() - first] = *quality;
        into.push(Step { level: rung.level, temporal: rung.up_to(), cost: rung.cost, gain: 0.0 });
    }
    set_gains(&mut into[first..], &qualities);
}

/// The slopes of the upper hull over the points (cost, quality), beginning at nothing for nothing.
fn set_gains(steps: &mut [Step], quality: &[f32; MOST_RUNGS]) {
    let mut from = 0;
    let mut base = (0.0f32, 0.0f32);
    while from < steps.len() {
        let slope = |at: usize| {
            let (cost, quality) = (steps[at].cost as f32 - base.0, quality[at] - base.1);
            if cost > 0.0 { quality / cost } else { f32::MAX }
        };
        let (mut to, mut best) = (from, slope(from));
        for at in from + 1..steps.len() {
            if slope(at) >= best {
                (to, best) = (at, slope(at));
            }
        }
        steps[from..=to].iter_mut().for_each(|step| step.gain = best);
        base = (steps[to].cost as f32, quality[to]);
        from = to + 1;
    }
}
