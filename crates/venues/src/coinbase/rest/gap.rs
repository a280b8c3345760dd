//! Fetching the trades of a gap, page by page, without I/O: what to ask next, what of an answer belongs to the gap, and
//! what the exchange has not got.

use std::ops::RangeInclusive;

use super::{RestFault, RestTrade, TRADES_PER_PAGE_MAX};

/// One gap on its way to be filled, from its newest trade to its oldest: only the cursor `after` gives pages that follow
/// one another (rule 2; `before` gives the newest trades above it, however far away).
///
/// Ask with [`GapFetch::next`] and hand the answer to [`GapFetch::take`], until there is nothing more to ask. A request
/// that failed is simply asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapFetch {
    first: u64,
    /// Everything from here on is settled; nothing is left once this is `first`.
    below: u64,
}

/// What to ask: up to `limit` trades older than the trade `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The cursor.
    pub after: u64,
    /// How many.
    pub limit: u16,
}

/// What an answer has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GapPage {
    /// Trades of the gap, newest first.
    pub trades: Vec<RestTrade>,
    /// Trades of the gap that should have been in this answer and are not, newest first. REST answers may be some
    /// seconds old, so what is missing at the new end may come later; what is missing at the old end is gone.
    pub absent: Vec<RangeInclusive<u64>>,
}

impl GapFetch {
    /// A gap from its first to its last missing trade. There is nothing to fetch when `last` is below `first`.
    pub fn new(first: u64, last: u64) -> Self {
        Self { first, below: last.saturating_add(1).max(first) }
    }

    /// What to ask next; `None` when the gap is settled.
    pub fn next(&self) -> Option<PageRequest> {
        let left = self.below.checked_sub(self.first).filter(|left| *left > 0)?;
        let limit = u16::try_from(left).unwrap_or(u16::MAX).min(TRADES_PER_PAGE_MAX);
        Some(PageRequest { after: self.below, limit })
    }

    /// Takes the answer to [`GapFetch::next`]. An answer that is out of order changes nothing.
    pub fn take(&mut self, answer: Vec<RestTrade>) -> Result<GapPage, RestFault> {
        in_order(&answer, self.below)?;
        let mut page = GapPage::default();
        // A page holds the next older trades, so once it is empty or reaches beyond the gap, nothing of the gap follows.
        let mut is_last = answer.is_empty();
        for trade in answer {
            if trade.trade_id < self.first {
                is_last = true;
                break;
            }
            page.absent.extend(range(trade.trade_id.saturating_add(1), self.below));
            self.below = trade.trade_id;
            page.trades.push(trade);
        }
        if is_last {
            page.absent.extend(range(self.first, self.below));
            self.below = self.first;
        }
        Ok(page)
    }
}

/// The numbers from `first` on and below `below`, if there are any.
fn range(first: u64, below: u64) -> Option<RangeInclusive<u64>> {
    below.checked_sub(1).filter(|last| first <= *last).map(|last| first..=last)
}

fn in_order(answer: &[RestTrade], after: u64) -> Result<(), RestFault> {
    let mut below = after;
    for (index, RestTrade { trade_id, .. }) in answer.iter().enumerate() {
        if *trade_id >= below {
            return Err(RestFault::OutOfOrder { index, trade_id: *trade_id, below });
        }
        below = *trade_id;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
