//! Who brings the feed.

use std::time::Duration;

use crate::{FeedSession, UnixNanos};

/// How many legs are told apart. A further one takes the place of the one that was silent for longest.
pub const LEGS_MAX: usize = 8;
/// A leg that was heard of within this time counts as alive. In a market without trades nobody is heard of; what that
/// costs is one gap more, which is filled late.
pub const LEG_ALIVE_FOR: Duration = Duration::from_secs(10);

/// One of the legs: below [`LEGS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegId(u8);

/// The ingestors that bring the products of a shard.
#[derive(Debug)]
pub struct Legs {
    listening_since: UnixNanos,
    legs: Vec<Leg>,
}

#[derive(Debug)]
struct Leg {
    instance: String,
    heard: UnixNanos,
}

impl LegId {
    /// A place in an array of [`LEGS_MAX`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Legs {
    /// Nobody was heard of before `now`. For as long as a leg may be silent it is not known who else is there.
    pub fn new(now: UnixNanos) -> Self {
        Self { listening_since: now, legs: Vec::new() }
    }

    /// Hears something of the ingestor of a session, at a time by our clock.
    pub fn hear(&mut self, session: &FeedSession, now: UnixNanos) -> LegId {
        let instance = session.instance();
        let at = match self.legs.iter().position(|leg| leg.instance == instance) {
            Some(at) => at,
            None if self.legs.len() < LEGS_MAX => {
                self.legs.push(Leg { instance: instance.to_owned(), heard: now });
                self.legs.len() - 1
            }
            None => self.replace_the_most_silent(instance),
        };
        if let Some(leg) = self.legs.get_mut(at) {
            leg.heard = now;
        }
        LegId(u8::try_from(at).unwrap_or(u8::MAX))
    }

    /// Whether another leg than this one is alive, or may be.
    pub fn another_is_alive(&self, leg: LegId, now: UnixNanos) -> bool {
        self.is_new(now) || self.alive(now).any(|alive| alive != leg)
    }

    /// Whether several legs are known to be alive.
    pub fn several_are_alive(&self, now: UnixNanos) -> bool {
        self.alive(now).nth(1).is_some()
    }

    /// Whether something holds for every leg that is alive. `false` while that is not known.
    pub fn all_alive(&self, now: UnixNanos, holds: impl Fn(LegId) -> bool) -> bool {
        !self.is_new(now) && self.alive(now).all(holds)
    }

    /// The legs, with the instance of each.
    pub fn iter(&self) -> impl Iterator<Item = (LegId, &str)> {
        (0..).map(LegId).zip(self.legs.iter().map(|leg| leg.instance.as_str()))
    }

    fn alive(&self, now: UnixNanos) -> impl Iterator<Item = LegId> {
        let is_alive = move |leg: &Leg| !now.is_over(leg.heard, LEG_ALIVE_FOR);
        (0..).map(LegId).zip(&self.legs).filter(move |(_, leg)| is_alive(leg)).map(|(id, _)| id)
    }

    fn is_new(&self, now: UnixNanos) -> bool {
        !now.is_over(self.listening_since, LEG_ALIVE_FOR)
    }

    fn replace_the_most_silent(&mut self, instance: &str) -> usize {
        let most_silent = self.legs.iter().enumerate().min_by_key(|(_, leg)| leg.heard);
        let at = most_silent.map_or(0, |(at, _)| at);
        if let Some(leg) = self.legs.get_mut(at) {
            instance.clone_into(&mut leg.instance);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str) -> FeedSession {
        FeedSession { id: id.into(), started: UnixNanos::new(0) }
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_seconds(1_600_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_leg_is_alive_for_a_while() {
        let mut legs = Legs::new(at(-10));
        let one = legs.hear(&session("a-1"), at(0));
        assert!(!legs.another_is_alive(one, at(0)));
        let two = legs.hear(&session("b-1"), at(5));
        assert_eq!(legs.hear(&session("a-2"), at(6)), one, "a new connection is no new leg");
        assert!(legs.another_is_alive(one, at(14)) && legs.several_are_alive(at(14)));
        assert!(!legs.another_is_alive(one, at(15)), "b is silent for too long");
        assert!(legs.another_is_alive(two, at(15)) && !legs.several_are_alive(at(15)));
        assert!(legs.all_alive(at(15), |leg| leg == one));
        assert!(!legs.all_alive(at(14), |leg| leg == one));
    }

    #[test]
    fn at_first_it_is_not_known_who_is_there() {
        let mut legs = Legs::new(at(0));
        let one = legs.hear(&session("a-1"), at(0));
        assert!(legs.another_is_alive(one, at(9)) && !legs.several_are_alive(at(9)));
        assert!(!legs.all_alive(at(9), |_| true));
        assert!(!legs.another_is_alive(one, at(10)));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_no_dead_leg_alive() {
        let mut legs = Legs::new(at(3600));
        let one = legs.hear(&session("a-1"), at(3600));
        legs.hear(&session("b-1"), at(3600));
        assert_eq!(legs.hear(&session("a-1"), at(1)), one);
        assert!(!legs.another_is_alive(one, at(1)) && legs.all_alive(at(1), |leg| leg == one));
        legs.hear(&session("b-1"), at(2));
        assert!(legs.another_is_alive(one, at(2)), "it is alive again once it is heard of");
    }

    #[test]
    fn the_most_silent_makes_room() {
        let mut legs = Legs::new(at(0));
        for number in 0..LEGS_MAX as i64 {
            legs.hear(&session(&format!("leg{number}-1")), at(number));
        }
        legs.hear(&session("leg0-2"), at(20));
        let new = legs.hear(&session("new-1"), at(21));
        assert_eq!(legs.iter().nth(1), Some((new, "new")));
        assert_eq!(legs.iter().count(), LEGS_MAX);
    }
}
