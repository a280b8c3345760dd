//! Asking for products, and what the exchange answers.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::{FeedState, Product};

use super::super::confirmed_name;
use super::super::message::{ErrorMessage, Subscriptions};
use super::super::request::Request;
use super::{Action, ReconnectReason, Session, State, StateChange};
use crate::Moment;

/// How many of the missing subscriptions are named in a message.
const MISSING_NAMED_MAX: usize = 20;

impl Session {
    /// The products are these from now on: what is new is joined and what is gone is left, the others are not touched.
    pub fn set_products(&mut self, products: &[Product], now: Moment, actions: &mut Vec<Action>) {
        let wanted: BTreeSet<&str> = products.iter().map(Product::as_str).collect();
        let open = self.state != State::Ended;
        let gone: Vec<Box<str>> = self
            .tracks
            .iter()
            .filter(|(name, track)| !wanted.contains(name.as_ref()) && !track.has_left())
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            if let Some(track) = self.tracks.get_mut(name) {
                track.leave();
            }
        }
        if open && !gone.is_empty() {
            actions.push(Action::Send(self.departure(&gone)));
        }
        let is_new =
            |product: &&Product| self.tracks.get(product.as_str()).is_none_or(|track| track.has_left());
        let new: Vec<&Product> = products.iter().filter(is_new).collect();
        for product in &new {
            self.add(product);
        }
        if open && !new.is_empty() {
            let names: Vec<Box<str>> = new.iter().map(|product| product.as_str().into()).collect();
            self.ask(&names, self.clock(now), actions);
        }
    }

    /// The first request on a connection: everything but what the exchange refused lately. Something has to be asked
    /// for (rule 1), so when all were refused, all are asked for.
    pub(super) fn subscribe_first(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let all_refused = self.tracks.values().all(|track| track.is_refused(now.uptime));
        let until = self.clock(now).saturating_add(self.config.confirm_timeout);
        let mut products = Vec::new();
        for (name, track) in &mut self.tracks {
            if all_refused || !track.is_refused(now.uptime) {
                track.ask(until);
                products.push(name.as_ref());
            }
        }
        let channels: Vec<&str> = self.config.channels.iter().map(String::as_str).collect();
        actions.push(Action::Send(Request::subscribe_text(&products, &channels)));
    }

    pub(super) fn ask(&mut self, names: &[Box<str>], clock: Duration, actions: &mut Vec<Action>) {
        let until = clock.saturating_add(self.config.confirm_timeout);
        for name in names {
            if let Some(track) = self.tracks.get_mut(name) {
                track.ask(until);
            }
        }
        if !names.is_empty() {
            let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
            actions.push(Action::Send(self.subscription(&names)));
        }
    }

    pub(super) fn leave_and_ask(&mut self, names: &[Box<str>], clock: Duration, actions: &mut Vec<Action>) {
        if !names.is_empty() {
            actions.push(Action::Send(self.departure(names)));
            self.ask(names, clock, actions);
        }
    }

    fn departure(&self, names: &[Box<str>]) -> String {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        Request::unsubscribe_text(&names, &self.channels_of_products())
    }

    /// Rule 2: each answer lists everything, and several may come.
    pub(super) fn confirm(&mut self, answer: &Subscriptions, actions: &mut Vec<Action>) {
        let (clock, beats) = (self.last_heard, self.beats);
        let listed = self.listed(answer);
        if self.state == State::Subscribing {
            self.missing = self.lacking(answer);
        }
        let mut lost = Vec::new();
        let mut changes: Vec<StateChange> = Vec::new();
        for (name, track) in &mut self.tracks {
            let is_listed = listed.contains(name.as_ref());
            if is_listed && track.is_asked() {
                changes.extend(track.confirm(clock, beats));
            } else if !is_listed && track.is_confirmed() {
                lost.push(name.clone());
            }
        }
        let any = self.tracks.values().any(|track| track.is_confirmed());
        if any && self.state == State::Subscribing {
            self.state = State::Live;
            actions.push(Action::Confirmed);
        }
        actions.extend(changes.into_iter().map(Action::State));
        // The exchange has dropped them; unless it confirms them again they count as refused.
        self.ask(&lost, clock, actions);
    }

    /// The products that are confirmed on every channel.
    fn listed<'a>(&self, answer: &'a Subscriptions) -> BTreeSet<&'a str> {
        let mut of_all: Option<BTreeSet<&str>> = None;
        for channel in self.channels_of_products() {
            let name = confirmed_name(channel);
            // The exchange confirms level2 under either name.
            let of_channel: BTreeSet<&str> = answer
                .channels
                .iter()
                .filter(|confirmed| confirmed_name(&confirmed.name) == name)
                .flat_map(|confirmed| confirmed.product_ids.iter().flatten())
                .map(String::as_str)
                .collect();
            of_all = Some(match of_all {
                Some(known) => known.intersection(&of_channel).copied().collect(),
                None => of_channel,
            });
        }
        of_all.unwrap_or_default()
    }

    /// What an answer lacks, as `channel:product`, or as `channel` when it is not there at all.
    pub(super) fn lacking(&self, answer: &Subscriptions) -> Vec<String> {
        let mut channels: Vec<&str> = self.config.channels.iter().map(|name| confirmed_name(name)).collect();
        channels.sort_unstable();
        let mut missing = Vec::new();
        for channel in channels {
            let mut confirmed = answer
                .channels
                .iter()
                .filter(|confirmed| confirmed_name(&confirmed.name) == channel)
                .peekable();
            if confirmed.peek().is_none() {
                missing.push(channel.to_owned());
                continue;
            }
            if channel == "status" {
                continue;
            }
            let listed: BTreeSet<&str> = confirmed
                .flat_map(|confirmed| confirmed.product_ids.iter().flatten())
                .map(String::as_str)
                .collect();
            let lacking = self.tracks.keys().filter(|product| !listed.contains(product.as_ref()));
            missing.extend(lacking.map(|product| format!("{channel}:{product}")));
        }
        missing.truncate(MISSING_NAMED_MAX);
        missing
    }

    /// Rule 4: a request is refused as a whole. Products that the complaint names are left out, and the others of it are
    /// asked for again.
    pub(super) fn complain(&mut self, error: ErrorMessage, now: Moment, actions: &mut Vec<Action>) {
        let refused: Vec<Box<str>> = named(&error)
            .filter(|word| self.tracks.get(*word).is_some_and(|track| track.is_asked()))
            .map(Into::into)
            .collect();
        if refused.is_empty() && self.state == State::Subscribing {
            return self.end(ReconnectReason::Refused(error), actions);
        }
        let (delay_min, delay_max) = (self.config.refused_retry_min, self.config.refused_retry_max);
        for name in &refused {
            if let Some(track) = self.tracks.get_mut(name) {
                let why = format!("the exchange refuses it: {error}");
                actions.extend(track.refuse(now.uptime, delay_min, delay_max, why).map(Action::State));
            }
        }
        let asked = self.tracks.iter().filter(|(_, track)| track.is_asked());
        let asked: Vec<Box<str>> = asked.map(|(name, _)| name.clone()).collect();
        if refused.is_empty() {
            actions.push(Action::Report(error));
        } else if asked.is_empty() && self.state == State::Subscribing {
            // Not one is left to listen to.
            self.end(ReconnectReason::Refused(error), actions);
        } else {
            actions.push(Action::Report(error));
            self.ask(&asked, self.clock(now), actions);
        }
    }

    /// The state of each product, by name.
    pub fn product_states(&self) -> impl Iterator<Item = (&Product, FeedState)> {
        let here = self.tracks.values().filter(|track| !track.has_left());
        here.map(|track| (&track.instrument.product, track.state()))
    }
}

/// The words of a complaint that may be the names of products.
fn named(error: &ErrorMessage) -> impl Iterator<Item = &str> {
    let texts = [Some(error.message.as_str()), error.reason.as_deref()];
    let around = |letter: char| letter.is_whitespace() || "\"'`,;:()[]{}".contains(letter);
    let words = texts.into_iter().flatten().flat_map(move |text| text.split(around));
    words.map(|word| word.trim_end_matches(['.', '!'])).filter(|word| !word.is_empty())
}
