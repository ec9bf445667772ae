//! Ringing: the invitations of one call.
//!
//! All devices of everybody invited ring. The first of a person's devices that answers takes the call for that person, and the others stop;
//! the first person who answers begins it. Who declines, is busy or does not answer in time stops ringing everywhere; when nobody is left
//! ringing and nobody answered, the call is over. Who was rung and never answered or declined has missed it. Asking twice for the same is no
//! error, so that a client may send again what it had no answer to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::{CallId, DeviceId, UserId};

use crate::event::CallStage;

/// How long people are rung.
pub const TIMEOUT: Duration = Duration::from_secs(45);

/// People whom one call may ring.
pub const RUNG: usize = 256;

/// One call that rings, or runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ring {
    call: CallId,
    caller: UserId,
    people: BTreeMap<UserId, Callee>,
    until: Instant,
    began: Option<Instant>,
    over: bool,
}

/// Where somebody stands who was rung.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Callee {
    /// All their devices ring.
    Ringing,
    /// One of their devices answered.
    Answered {
        /// Which.
        device: DeviceId,
    },
    /// They do not want to.
    Declined,
    /// They are in another call.
    Busy,
    /// They did not answer in time, or the caller gave up.
    Missed,
}

/// What somebody is to be told, or the channel to remember.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Somebody's devices are to ring.
    Ring {
        /// Whose.
        user: UserId,
    },
    /// Somebody's devices are to stop ringing, but the one that answered.
    Stop {
        /// Whose.
        user: UserId,
        /// Which goes on.
        but: Option<DeviceId>,
    },
    /// The caller's devices hear where somebody stands.
    Caller {
        /// Who.
        user: UserId,
        /// Where.
        callee: Callee,
    },
    /// Somebody has missed the call: an event for their inbox.
    Missed {
        /// Who.
        user: UserId,
    },
    /// An event of the call's channel.
    Event {
        /// Which.
        stage: CallStage,
    },
}

/// Why somebody cannot answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// They were not rung.
    NotInvited,
    /// Another of their devices was first.
    AnsweredElsewhere,
    /// Nobody rings any more.
    Over,
}

impl Ring {
    /// Rings these people, those who are `busy` apart. `None`: too many, or nobody but the caller.
    pub fn invite(
        now: Instant,
        call: CallId,
        caller: UserId,
        callees: impl IntoIterator<Item = UserId>,
        busy: impl Fn(&UserId) -> bool,
    ) -> Option<(Self, Vec<Notice>)> {
        let people: BTreeMap<UserId, Callee> =
            callees.into_iter().filter(|user| *user != caller).map(|user| (user, Callee::Ringing)).collect();
        if people.is_empty() || people.len() > RUNG {
            return None;
        }
        let mut ring = Self { call, caller, people, until: now + TIMEOUT, began: None, over: false };
        let users: Vec<UserId> = ring.people.keys().cloned().collect();
        let mut notices = vec![Notice::Event { stage: CallStage::Invited { users: users.clone() } }];
        for user in users {
            if busy(&user) {
                ring.settle(&user, Callee::Busy, &mut notices);
            } else {
                notices.push(Notice::Ring { user });
            }
        }
        ring.end_if_alone(now, &mut notices);
        Some((ring, notices))
    }

    /// A call that another owner began `ago`, and that was answered `talked` ago, if it was: those who were rung go on ringing for the rest of
    /// their time. Who answered is not known here; a call that runs takes in whoever answers again.
    pub fn resume(
        now: Instant,
        call: CallId,
        caller: UserId,
        callees: impl IntoIterator<Item = UserId>,
        ago: Duration,
        talked: Option<Duration>,
    ) -> Self {
        let stands = if talked.is_some() { Callee::Missed } else { Callee::Ringing };
        let people = callees.into_iter().take(RUNG).map(|user| (user, stands.clone())).collect();
        let began = talked.map(|talked| now.checked_sub(talked).unwrap_or(now));
        Self { call, caller, people, until: now + TIMEOUT.saturating_sub(ago), began, over: false }
    }

    /// Was it answered?
    pub fn is_running(&self) -> bool {
        self.began.is_some() && !self.over
    }

    /// Which call.
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// Where everybody stands.
    pub fn people(&self) -> &BTreeMap<UserId, Callee> {
        &self.people
    }

    /// Is it over?
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Somebody's device answers.
    pub fn accept(&mut self, now: Instant, user: &UserId, device: &DeviceId) -> Result<Vec<Notice>, Refused> {
        match self.people.get(user) {
            None => return Err(Refused::NotInvited),
            Some(Callee::Answered { device: first }) if first == device => return Ok(Vec::new()),
            Some(Callee::Answered { .. }) => return Err(Refused::AnsweredElsewhere),
            _ if self.over => return Err(Refused::Over),
            // A call that runs takes in who declined or came late.
            Some(Callee::Declined | Callee::Busy | Callee::Missed) if self.began.is_none() => {
                return Err(Refused::Over);
            }
            Some(_) => {}
        }
        let mut notices = Vec::new();
        if self.began.is_none() {
            self.began = Some(now);
            notices.push(Notice::Event { stage: CallStage::Accepted });
        }
        self.settle(user, Callee::Answered { device: device.clone() }, &mut notices);
        Ok(notices)
    }

    /// Somebody does not want to, on whichever device.
    pub fn decline(&mut self, now: Instant, user: &UserId) -> Vec<Notice> {
        self.refuse(now, user, Callee::Declined)
    }

    /// A device says that its person is in another call.
    pub fn busy(&mut self, now: Instant, user: &UserId) -> Vec<Notice> {
        self.refuse(now, user, Callee::Busy)
    }

    fn refuse(&mut self, now: Instant, user: &UserId, callee: Callee) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.people.get(user) == Some(&Callee::Ringing) {
            self.settle(user, callee, &mut notices);
            self.end_if_alone(now, &mut notices);
        }
        notices
    }

    /// The caller gives up, or the call ends: whoever still rings has missed it.
    pub fn end(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if !self.over {
            self.stop_ringing(&mut notices);
            self.over(now, &mut notices);
        }
        notices
    }

    /// When ringing ends.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rings = self.people.values().any(|callee| *callee == Callee::Ringing);
        (rings && !self.over).then_some(self.until)
    }

    /// Its time has come: who has not answered has missed it. A call that runs goes on.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.stop_ringing(&mut notices);
            self.end_if_alone(now, &mut notices);
        }
        notices
    }

    fn stop_ringing(&mut self, notices: &mut Vec<Notice>) {
        let ringing = self.people.iter().filter(|(_, callee)| **callee == Callee::Ringing);
        let users: Vec<UserId> = ringing.map(|(user, _)| user.clone()).collect();
        users.iter().for_each(|user| self.settle(user, Callee::Missed, notices));
    }

    fn settle(&mut self, user: &UserId, callee: Callee, notices: &mut Vec<Notice>) {
        let but = match &callee {
            Callee::Answered { device } => Some(device.clone()),
            _ => None,
        };
        if callee != Callee::Busy || self.people.get(user) != Some(&Callee::Busy) {
            notices.push(Notice::Stop { user: user.clone(), but });
        }
        if matches!(callee, Callee::Missed | Callee::Busy) {
            notices.push(Notice::Missed { user: user.clone() });
        }
        notices.push(Notice::Caller { user: user.clone(), callee: callee.clone() });
        self.people.insert(user.clone(), callee);
    }

    fn end_if_alone(&mut self, now: Instant, notices: &mut Vec<Notice>) {
        let hope = |callee: &Callee| matches!(callee, Callee::Ringing | Callee::Answered { .. });
        if !self.over && !self.people.values().any(hope) {
            self.over(now, notices);
        }
    }

    fn over(&mut self, now: Instant, notices: &mut Vec<Notice>) {
        self.over = true;
        let talked = self.began.map_or(0, |began| (now - began).as_millis() as u64);
        notices.push(Notice::Event { stage: CallStage::Ended { talked } });
    }

    /// Who called.
    pub fn caller(&self) -> &UserId {
        &self.caller
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, user};

    fn ring(now: Instant, callees: &[&str]) -> Ring {
        let callees: Vec<UserId> = callees.iter().map(|name| user(name)).collect();
        Ring::invite(now, CallId::new("c"), user("ann"), callees, |_| false).expect("there is somebody").0
    }

    fn missed(notices: &[Notice]) -> Vec<&str> {
        let names = notices.iter().filter_map(|notice| match notice {
            Notice::Missed { user } => Some(user.as_str()),
            _ => None,
        });
        names.collect()
    }

    fn stages(notices: &[Notice]) -> Vec<CallStage> {
        let stages = notices.iter().filter_map(|notice| match notice {
            Notice::Event { stage } => Some(stage.clone()),
            _ => None,
        });
        stages.collect()
    }

    #[test]
    fn the_first_device_takes_the_call_and_the_others_stop() {
        let now = Instant::now();
        let mut ring = ring(now, &["bob"]);
        let notices = ring.accept(now, &user("bob"), &device("phone")).expect("it rings");
        assert_eq!(stages(&notices), [CallStage::Accepted]);
        assert!(notices.contains(&Notice::Stop { user: user("bob"), but: Some(device("phone")) }));
        assert_eq!(ring.accept(now, &user("bob"), &device("desk")), Err(Refused::AnsweredElsewhere));
        assert_eq!(ring.accept(now, &user("bob"), &device("phone")), Ok(Vec::new()), "asked again");
    }

    #[test]
    fn who_does_not_answer_in_time_has_missed_it_and_the_call_is_over() {
        let now = Instant::now();
        let mut ring = ring(now, &["bob"]);
        assert_eq!(ring.poll_timeout(), Some(now + TIMEOUT));
        let notices = ring.handle_timeout(now + TIMEOUT);
        assert_eq!((missed(&notices), stages(&notices)), (vec!["bob"], vec![CallStage::Ended { talked: 0 }]));
        assert_eq!(ring.accept(now, &user("bob"), &device("phone")), Err(Refused::Over));
        assert_eq!(ring.poll_timeout(), None);
    }

    #[test]
    fn in_a_group_the_others_go_on_ringing_when_one_has_answered() {
        let now = Instant::now();
        let mut ring = ring(now, &["bob", "eve", "joe"]);
        ring.accept(now, &user("bob"), &device("phone")).expect("it rings");
        assert_eq!(ring.people()[&user("eve")], Callee::Ringing);
        assert!(stages(&ring.accept(now, &user("eve"), &device("desk")).expect("it rings")).is_empty());
        let notices = ring.handle_timeout(now + TIMEOUT);
        assert_eq!((missed(&notices), ring.is_over()), (vec!["joe"], false));
        let end = ring.end(now + Duration::from_secs(60));
        assert_eq!(stages(&end), [CallStage::Ended { talked: 60_000 }]);
    }

    #[test]
    fn who_declines_stops_on_all_devices_and_has_missed_nothing() {
        let now = Instant::now();
        let mut ring = ring(now, &["bob"]);
        let notices = ring.decline(now, &user("bob"));
        assert!(notices.contains(&Notice::Stop { user: user("bob"), but: None }));
        assert_eq!((missed(&notices).len(), stages(&notices)), (0, vec![CallStage::Ended { talked: 0 }]));
        assert_eq!(ring.decline(now, &user("bob")), []);
    }

    #[test]
    fn who_is_busy_does_not_ring_and_finds_a_missed_call() {
        let callees = [user("bob"), user("eve")];
        let busy = |who: &UserId| *who == user("bob");
        let (ring, notices) = Ring::invite(Instant::now(), CallId::new("c"), user("ann"), callees, busy)
            .expect("there is somebody");
        assert!(!notices.contains(&Notice::Ring { user: user("bob") }));
        assert_eq!((missed(&notices), ring.is_over()), (vec!["bob"], false));
    }

    #[test]
    fn a_caller_who_gives_up_leaves_missed_calls_once() {
        let now = Instant::now();
        let mut ring = ring(now, &["bob", "eve"]);
        assert_eq!(missed(&ring.end(now)), ["bob", "eve"]);
        assert_eq!(ring.end(now), []);
    }

    #[test]
    fn a_new_owner_goes_on_ringing_for_the_rest_of_the_time() {
        let now = Instant::now();
        let resume =
            |ago, talked| Ring::resume(now, CallId::new("c"), user("ann"), [user("bob")], ago, talked);
        let mut rings = resume(Duration::from_secs(40), None);
        assert_eq!(rings.poll_timeout(), Some(now + Duration::from_secs(5)));
        assert_eq!(missed(&rings.handle_timeout(now + Duration::from_secs(5))), ["bob"]);
        let mut late = resume(Duration::from_secs(400), None);
        assert_eq!(missed(&late.handle_timeout(now)), ["bob"]);
        let mut runs = resume(Duration::from_secs(400), Some(Duration::from_secs(1)));
        assert_eq!((runs.poll_timeout(), runs.is_running()), (None, true));
        assert_eq!(stages(&runs.accept(now, &user("bob"), &device("phone")).expect("it runs")), []);
        assert_eq!(stages(&runs.end(now)), [CallStage::Ended { talked: 1_000 }]);
    }

    #[test]
    fn nobody_rings_themselves_or_everybody() {
        let invite = |callees: Vec<UserId>| {
            Ring::invite(Instant::now(), CallId::new("c"), user("ann"), callees, |_| false)
        };
        assert!(invite(vec![user("ann")]).is_none());
        assert!(invite((0..=RUNG).map(|index| user(&index.to_string())).collect()).is_none());
    }

    #[test]
    fn who_was_not_rung_cannot_answer() {
        let now = Instant::now();
        assert_eq!(ring(now, &["bob"]).accept(now, &user("eve"), &device("x")), Err(Refused::NotInvited));
    }
}
