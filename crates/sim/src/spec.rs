//! Conditions as people write them: `rate=5mbit,delay=25ms,queue=300ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base::Bitrate;

use crate::{Conditions, GilbertElliott, Queue, Reorder, Setting};

/// Longest time that is taken: more is a mistake in the unit, and would keep packets for ever.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// What is wrong with a text, and what was expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseSpecError(String);

impl fmt::Display for ParseSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ParseSpecError {}

impl FromStr for Conditions {
    type Err = ParseSpecError;

    /// A perfect link with these settings. The empty text is the perfect link.
    fn from_str(text: &str) -> Result<Self, ParseSpecError> {
        Ok(Self::default().with(&parse_settings(text)?))
    }
}

/// `key=value` pairs, separated by commas or spaces.
pub fn parse_settings(text: &str) -> Result<Vec<Setting>, ParseSpecError> {
    text.split([',', ' ', '\t']).filter(|pair| !pair.is_empty()).map(str::parse).collect()
}

impl FromStr for Setting {
    type Err = ParseSpecError;

    fn from_str(pair: &str) -> Result<Self, ParseSpecError> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (setting, expected) = match key {
            "rate" => (rate(value).map(Self::Rate), "400kbit, 5mbit, 0 or unlimited"),
            "queue" => (queue(value).map(Self::Queue), "a time like 300ms or a size like 64kB"),
            "delay" => (time(value).map(Self::Delay), "a time like 25ms"),
            "jitter" => (time(value).map(Self::Jitter), "a time like 10ms"),
            "order" => (order(value).map(Self::Ordered), "kept or free"),
            "loss" => (share(value).map(Self::Loss), "a share like 2%"),
            "burst" => (
                burst(value).map(Self::Burst),
                "average/length like 2%/8, p/r/1-k/1-h like 1%/25%/0%/100%, or none",
            ),
            "reorder" => (reorder(value).map(Self::Reorder), "share/time like 1%/30ms, or none"),
            "duplicate" => (share(value).map(Self::Duplicate), "a share like 1%"),
            _ => {
                let keys = "rate, queue, delay, jitter, order, loss, burst, reorder, duplicate";
                return Err(ParseSpecError(format!("`{pair}`: the keys are {keys}")));
            }
        };
        setting.ok_or_else(|| ParseSpecError(format!("`{pair}`: expected {expected}")))
    }
}

/// A time: a number with `us`, `ms`, `s` or `min`; at most a day.
pub fn parse_duration(text: &str) -> Result<Duration, ParseSpecError> {
    time(text).ok_or_else(|| ParseSpecError(format!("`{text}`: expected a time like 25ms, 1.5s or 2min")))
}

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        "" if number == 0.0 => 0.0,
        _ => return None,
    };
    // To the microsecond, so that 0.3 s is 300 ms.
    (seconds <= MAX_TIME.as_secs_f64()).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

fn rate(text: &str) -> Option<Option<Bitrate>> {
    if text == "unlimited" {
        return Some(None);
    }
    let (number, unit) = split(text)?;
    let scale = match unit {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        "" if number == 0.0 => 1.0,
        _ => return None,
    };
    Some(Some(Bitrate((number * scale).round() as u64)))
}

fn queue(text: &str) -> Option<Queue> {
    if let Some(limit) = time(text) {
        return Some(Queue::Time(limit));
    }
    let (number, unit) = split(text)?;
    let scale = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        _ => return None,
    };
    Some(Queue::Bytes((number * scale).round() as u64))
}

fn order(text: &str) -> Option<bool> {
    match text {
        "kept" => Some(true),
        "free" => Some(false),
        _ => None,
    }
}

fn share(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let share = match unit {
        "%" => number / 100.0,
        "" => number,
        _ => return None,
    };
    (share <= 1.0).then_some(share)
}

fn burst(text: &str) -> Option<Option<GilbertElliott>> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["none"] => Some(None),
        [average, length] => {
            let (average, length) = (share(average)?, length.parse::<f64>().ok()?);
            let sensible = average < 1.0 && (1.0..1e6).contains(&length);
            sensible.then(|| Some(GilbertElliott::bursts(average, length)))
        }
        [to_bad, to_good, loss_good, loss_bad] => Some(Some(GilbertElliott {
            to_bad: share(to_bad)?,
            to_good: share(to_good)?,
            loss_good: share(loss_good)?,
            loss_bad: share(loss_bad)?,
        })),
        _ => None,
    }
}

fn reorder(text: &str) -> Option<Reorder> {
    if text == "none" {
        return Some(Reorder::default());
    }
    let (probability, by) = text.split_once('/')?;
    Some(Reorder { probability: share(probability)?, by: time(by)? })
}

/// A number that is not negative, and what stands behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// What differs from the perfect link, in the form that is read. The rate is always told, as it is what people look for.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let perfect = Self::default();
        match self.rate {
            None => write!(f, "rate=unlimited")?,
            Some(rate) => write!(f, "rate={},queue={}", Rate(rate), QueueText(self.queue))?,
        }
        if self.delay != perfect.delay {
            write!(f, ",delay={}", Time(self.delay))?;
        }
        if self.jitter != perfect.jitter {
            write!(f, ",jitter={}", Time(self.jitter))?;
        }
        if !self.ordered {
            write!(f, ",order=free")?;
        }
        if self.loss != 0.0 {
            write!(f, ",loss={}", self.loss)?;
        }
        if let Some(GilbertElliott { to_bad, to_good, loss_good, loss_bad }) = self.burst {
            write!(f, ",burst={to_bad}/{to_good}/{loss_good}/{loss_bad}")?;
        }
        if self.reorder.probability != 0.0 {
            write!(f, ",reorder={}/{}", self.reorder.probability, Time(self.reorder.by))?;
        }
        if self.duplicate != 0.0 {
            write!(f, ",duplicate={}", self.duplicate)?;
        }
        Ok(())
    }
}

struct Rate(Bitrate);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            rate if rate >= 1_000_000 && rate % 10_000 == 0 => write!(f, "{}mbit", rate as f64 / 1e6),
            rate if rate % 10 == 0 => write!(f, "{}kbit", rate as f64 / 1e3),
            rate => write!(f, "{rate}bit"),
        }
    }
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_micros() as f64 / 1e3)
    }
}

struct QueueText(Queue);

impl fmt::Display for QueueText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Queue::Time(limit) => Time(limit).fmt(f),
            Queue::Bytes(limit) => write!(f, "{limit}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(text: &str) -> Conditions {
        text.parse().expect(text)
    }

    #[test]
    fn every_key_is_read() {
        let read = conditions(
            "rate=2.5mbit,queue=64kB,delay=25ms,jitter=1.5ms,order=free,loss=2%,burst=5%/10,reorder=1%/30ms,duplicate=0.5%",
        );
        assert_eq!(read.rate, Some(Bitrate::kbps(2500)));
        assert_eq!(read.queue, Queue::Bytes(64_000));
        assert_eq!((read.delay, read.jitter), (Duration::from_millis(25), Duration::from_micros(1500)));
        assert!(!read.ordered);
        assert_eq!((read.loss, read.duplicate), (0.02, 0.005));
        let burst = read.burst.expect("a burst model");
        assert!((burst.average() - 0.05).abs() < 1e-9 && (burst.to_good - 0.1).abs() < 1e-9);
        assert_eq!(read.reorder, Reorder { probability: 0.01, by: Duration::from_millis(30) });
        assert_eq!(conditions(""), Conditions::default());
        assert_eq!(conditions("rate=0 queue=0.3s").queue, Queue::Time(Duration::from_millis(300)));
        assert_eq!(conditions("rate=1mbit,rate=unlimited").rate, None);
    }

    #[test]
    fn what_is_displayed_is_read_back() {
        for text in [
            "rate=unlimited",
            "rate=5mbit,queue=300ms,delay=25ms",
            "rate=0kbit,queue=1500B,jitter=0.5ms,order=free,loss=0.1",
            "rate=64001bit,queue=300ms,burst=0.01/0.25/0/1,reorder=0.01/30ms,duplicate=0.5",
        ] {
            assert_eq!(conditions(text).to_string(), text);
        }
    }

    #[test]
    fn mistakes_are_named_with_what_was_expected() {
        for (text, part) in [
            ("rate=5", "400kbit"),
            ("rate=-5mbit", "400kbit"),
            ("rate=fast", "400kbit"),
            ("delay=25", "a time like 25ms"),
            ("delay=2000min", "a time like 25ms"),
            ("loss=120%", "a share"),
            ("burst=2%/0.5", "average/length"),
            ("reorder=1%", "share/time"),
            ("order=none", "kept or free"),
            ("latency=5ms", "the keys are rate,"),
            ("delay", "a time"),
        ] {
            let error = text.parse::<Conditions>().expect_err(text).to_string();
            assert!(error.contains(part) && error.starts_with(&format!("`{text}`")), "{error}");
        }
    }
}
