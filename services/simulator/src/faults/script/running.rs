//! One fault at work: when it begins, how much of it is left, and what it does to a ticker.

use std::sync::Arc;
use std::time::Duration;

use super::{Deed, Happening, Phase, Treatment};
use crate::faults::{Extent, Fault, Kind, Start};
use crate::generate::random::Random;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) fault: Fault,
    pub(super) random: Random,
    /// Tickers of its products since the first subscription.
    pub(super) seen: u64,
    pub(super) next: Option<Start>,
    times_left: Option<u64>,
    pub(super) active: Active,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Active {
    No,
    Until(Duration),
    Left(u64),
    Open,
}

impl Running {
    /// The fault with this number in the script, before it has begun; numbers keep the choices of faults apart.
    pub(super) fn new(fault: Fault, seed: u64, number: u64) -> Self {
        Self {
            random: Random::new(seed.wrapping_add(0xFA17).wrapping_mul(number)),
            seen: 0,
            next: Some(fault.start),
            times_left: fault.times,
            active: Active::No,
            fault,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active != Active::No
    }

    pub(super) fn named_end(&self) -> (Arc<str>, Option<Duration>) {
        let end = if let Active::Until(end) = self.active { Some(end) } else { None };
        (Arc::clone(&self.fault.name), end)
    }

    pub(super) fn advance(&mut self, now: Duration, happenings: &mut Vec<Happening>) {
        self.end_by(now, happenings);
        let due_at = match self.next {
            Some(Start::At(at)) if now >= at => at,
            Some(Start::AfterTicks(count)) if self.seen >= count => now,
            Some(_) | None => return,
        };
        self.next = self.following(now);
        self.begin(due_at, happenings);
        self.end_by(now, happenings);
    }

    fn begin(&mut self, at: Duration, happenings: &mut Vec<Happening>) {
        self.active = match self.fault.extent {
            Extent::Once => Active::No,
            Extent::Count(count) => Active::Left(count),
            Extent::For(length) => Active::Until(at.saturating_add(length)),
            Extent::Open => Active::Open,
        };
        let phase = if self.is_active() { Phase::Began } else { Phase::Happened };
        let until = self.named_end().1;
        let is_deed = matches!(
            self.fault.kind,
            Kind::Disconnect { .. }
                | Kind::Stall { .. }
                | Kind::Repeat { .. }
                | Kind::SequenceReset { .. }
                | Kind::Error { .. }
                | Kind::Oversized { .. }
        );
        let deed = is_deed.then(|| Deed {
            kind: self.fault.kind.clone(),
            connection: self.fault.connection,
            products: self.fault.products.clone(),
            until,
        });
        happenings.push(Happening { fault: Arc::clone(&self.fault.name), phase, at, deed });
    }

    fn end_by(&mut self, now: Duration, happenings: &mut Vec<Happening>) {
        if let Active::Until(end) = self.active
            && now >= end
        {
            self.end(end, happenings);
        }
    }

    fn end(&mut self, at: Duration, happenings: &mut Vec<Happening>) {
        self.active = Active::No;
        let fault = Arc::clone(&self.fault.name);
        happenings.push(Happening { fault, phase: Phase::Ended, at, deed: None });
    }

    /// The next repetition. Those that were missed, because nobody asked for a while, are left out.
    fn following(&mut self, now: Duration) -> Option<Start> {
        let (start, every) = (self.next?, self.fault.every?);
        if let Some(left) = &mut self.times_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return None;
            }
        }
        match (start, every) {
            (Start::At(at), Start::At(every)) => {
                let missed = now.saturating_sub(at).as_nanos() / every.as_nanos().max(1);
                let steps = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
                Some(Start::At(at.saturating_add(every.saturating_mul(steps))))
            }
            (Start::AfterTicks(count), Start::AfterTicks(every)) => {
                Some(Start::AfterTicks(count.saturating_add(every)))
            }
            (Start::At(_), Start::AfterTicks(_)) | (Start::AfterTicks(_), Start::At(_)) => None,
        }
    }

    /// What it does to a ticker; `None` when it does nothing to tickers, or chance spares this one.
    pub(super) fn treatment(&mut self, index: usize) -> Option<Treatment> {
        let percent = match self.fault.kind {
            Kind::Drop { percent } | Kind::Corrupt { percent, .. } | Kind::Duplicate { percent } => percent,
            _ => 100,
        };
        if percent < 100 && !self.random.percent(percent) {
            return None;
        }
        Some(match self.fault.kind {
            Kind::Drop { .. } | Kind::Mute { .. } => Treatment::Lose,
            Kind::Corrupt { how, .. } => Treatment::Corrupt { how, seed: self.random.next() },
            Kind::Duplicate { .. } => Treatment::Twice,
            Kind::Delay { by } => Treatment::Delay(by),
            Kind::Reorder { window } => Treatment::Gather { window, index, seed: self.random.next() },
            _ => return None,
        })
    }

    pub(super) fn use_up(&mut self, now: Duration, happenings: &mut Vec<Happening>) {
        if let Active::Left(left) = &mut self.active {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.end(now, happenings);
            }
        }
    }
}
