//! What people tell a running proxy, at once or by timetable.

use std::str::FromStr;

use sim::{Schedule, Setting};

/// A line of standard input.
#[derive(Debug, PartialEq)]
pub enum Order {
    Change(Change),
    Quit,
}

/// New values for one direction or both.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub down: bool,
    pub up: bool,
    pub settings: Vec<Setting>,
}

/// Changes at their times, for each direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timetable {
    pub down: Schedule,
    pub up: Schedule,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        if line.trim() == "quit" { Ok(Self::Quit) } else { line.parse().map(Self::Change) }
    }
}

impl FromStr for Change {
    type Err = String;

    /// `down rate=400kbit,loss=1%`
    fn from_str(text: &str) -> Result<Self, String> {
        let (direction, settings) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let (down, up) = match direction {
            "down" => (true, false),
            "up" => (false, true),
            "both" => (true, true),
            other => return Err(format!("`{other}`: expected down, up or both, and then conditions")),
        };
        let settings = sim::parse_settings(settings).map_err(|error| error.to_string())?;
        if settings.is_empty() {
            return Err(format!("`{direction}`: and which conditions?"));
        }
        Ok(Self { down, up, settings })
    }
}

impl FromStr for Timetable {
    type Err = String;

    /// `10s down rate=400kbit`, each on its line or separated by `;`. What follows a `#` is a comment.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut timetable = Self::default();
        let lines = text.lines().filter_map(|line| line.split('#').next());
        for entry in lines.flat_map(|line| line.split(';')).map(str::trim).filter(|entry| !entry.is_empty()) {
            let (time, change) = entry.split_once(' ').unwrap_or((entry, ""));
            let time = sim::parse_duration(time).map_err(|error| error.to_string())?;
            let Change { down, up, settings } = change.parse()?;
            for setting in settings {
                let add = |schedule: &mut Schedule| *schedule = std::mem::take(schedule).at(time, setting);
                [(down, &mut timetable.down), (up, &mut timetable.up)]
                    .into_iter()
                    .filter(|(wanted, _)| *wanted)
                    .for_each(|(_, schedule)| add(schedule));
            }
        }
        Ok(timetable)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timetable_is_read_with_lines_semicolons_and_comments() {
        let text = "# a fall\n10s down rate=0,loss=5% # and\n\n30s both loss=0; 1min up delay=50ms\n";
        let timetable: Timetable = text.parse().expect(text);
        let times = |schedule: &Schedule| {
            schedule.changes().iter().map(|(time, _)| time.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!((times(&timetable.down), times(&timetable.up)), (vec![10, 10, 30], vec![30, 60]));
        assert_eq!(timetable.up.changes()[1].1, Setting::Delay(Duration::from_millis(50)));
        assert_eq!("".parse(), Ok(Timetable::default()));
    }

    #[test]
    fn orders_are_read_and_mistakes_named() {
        let order: Order = " up  loss=10% ".parse().expect("an order");
        assert_eq!(
            order,
            Order::Change(Change { down: false, up: true, settings: vec![Setting::Loss(0.1)] })
        );
        assert_eq!("quit".parse(), Ok(Order::Quit));
        for (line, part) in [("loss=5%", "down, up or both"), ("down", "which"), ("up loss=x", "a share")] {
            let error = line.parse::<Order>().expect_err(line);
            assert!(error.contains(part), "{error}");
        }
    }
}
