//! Seeded numbers, the same on every machine.

/// A sequence of numbers that its seed decides (splitmix64; Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`; any value will do.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A sequence of its own, which the next number of this one decides.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly between 0 (included) and 1 (excluded).
    pub fn share(&mut self) -> f64 {
        // 53 bits are what a double holds exactly.
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability. Takes one number whatever it is, so that changing one probability leaves all other
    /// decisions of the sequence as they were.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.share() < probability
    }

    /// Normally distributed, mean 0, standard deviation 1, within ±6: the sum of twelve even ones. Additions alone give the
    /// same bits on every machine, which logarithms and cosines do not.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }

    /// Exponentially distributed with this mean: the time to the next of events that happen independently.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.share()).ln() * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distributions_have_their_moments() {
        let mut random = Random::new(7);
        let n = 100_000;
        let mut mean = |mut draw: Box<dyn FnMut(&mut Random) -> f64>| {
            (0..n).map(|_| draw(&mut random)).sum::<f64>() / f64::from(n)
        };
        assert!((mean(Box::new(Random::share)) - 0.5).abs() < 0.005);
        assert!(mean(Box::new(Random::normal)).abs() < 0.01);
        assert!((mean(Box::new(|r| r.normal().powi(2))) - 1.0).abs() < 0.02);
        assert!((mean(Box::new(|r| r.exponential(3.0))) - 3.0).abs() < 0.05);
        assert!((mean(Box::new(|r| f64::from(u8::from(r.chance(0.1))))) - 0.1).abs() < 0.005);
    }

    #[test]
    fn a_fork_does_not_repeat_its_parent() {
        let mut parent = Random::new(1);
        let mut child = parent.fork();
        let theirs: Vec<u64> = (0..100).map(|_| child.number()).collect();
        assert!((0..100).all(|_| !theirs.contains(&parent.number())));
    }
}
