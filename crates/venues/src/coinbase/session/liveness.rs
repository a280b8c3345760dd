//! What time brings: products that fall silent, answers that do not come, refusals that are worth another attempt.

use std::time::Duration;

use super::{Action, ReconnectReason, Session, State};
use crate::Moment;

/// The first delay before a stale product is asked for once more.
const STALE_RETRY_MIN: Duration = Duration::from_secs(10);
const STALE_RETRY_MAX: Duration = Duration::from_secs(60);

impl Session {
    pub(super) fn look(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let (clock, silence) = (self.clock(now), self.silence(now));
        // With a heartbeat for each product each second, even a connection of quiet products is never quiet.
        let allowed = match self.expects_beats() {
            true => self.config.heartbeat_timeout.min(self.config.idle_timeout),
            false => self.config.idle_timeout,
        };
        let nothing_is_confirmed = self.state == State::Subscribing;
        if nothing_is_confirmed && self.tracks.values().any(|track| track.is_overdue(clock)) {
            return self.end(ReconnectReason::NotConfirmed(self.missing.clone()), actions);
        }
        if !nothing_is_confirmed && silence >= allowed || silence >= self.config.idle_timeout {
            return self.end(ReconnectReason::Mute(silence), actions);
        }
        self.give_up_unconfirmed(clock, now, actions);
        self.wake_stale(clock, actions);
        self.ask_refused_again(now, actions);
    }

    /// How long it is of no use to connect: the exchange has refused every product, and none is worth another attempt yet.
    pub fn rest(&self, now: Moment) -> Duration {
        let waits =
            self.tracks.values().filter(|track| !track.has_left()).map(|track| track.wait(now.uptime));
        waits.min().unwrap_or_default()
    }

    fn expects_beats(&self) -> bool {
        self.beats && self.config.channels.iter().any(|channel| channel == "heartbeat")
    }

    fn give_up_unconfirmed(&mut self, clock: Duration, now: Moment, actions: &mut Vec<Action>) {
        let (delay_min, delay_max) = (self.config.refused_retry_min, self.config.refused_retry_max);
        for track in self.tracks.values_mut().filter(|track| track.is_overdue(clock)) {
            let why = "the exchange did not confirm the subscription to it".to_owned();
            actions.extend(track.refuse(now.uptime, delay_min, delay_max, why).map(Action::State));
        }
    }

    /// A product without heartbeats while others have theirs is stale; to leave it and to join it anew may help.
    fn wake_stale(&mut self, clock: Duration, actions: &mut Vec<Action>) {
        if !self.expects_beats() {
            return;
        }
        let timeout = self.config.heartbeat_timeout;
        let mut silent = Vec::new();
        let mut changes = Vec::new();
        for (name, track) in &mut self.tracks {
            if track.falls_silent(clock, timeout) {
                changes.extend(track.fall_silent(clock, STALE_RETRY_MIN));
                silent.push(name.clone());
            } else if track.wants_attempt(clock, STALE_RETRY_MAX) {
                silent.push(name.clone());
            }
        }
        self.leave_and_ask(&silent, clock, actions);
        actions.extend(changes.into_iter().map(Action::State));
    }

    fn ask_refused_again(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let due = self.tracks.iter().filter(|(_, track)| track.is_due(now.uptime));
        let due: Vec<Box<str>> = due.map(|(name, _)| name.clone()).collect();
        // One by one: a request is refused as a whole (rule 4).
        for name in due {
            self.ask(&[name], self.clock(now), actions);
        }
    }
}
