use super::*;
use domain::{Decimal, Side, UnixNanos};
use proptest::prelude::*;

fn trade(trade_id: u64) -> RestTrade {
    let (price, size) = (Decimal::ONE, Decimal::ONE);
    RestTrade { trade_id, time: UnixNanos::new(0), price, size, maker_side: Side::Buy }
}

fn trades(ids: impl IntoIterator<Item = u64>) -> Vec<RestTrade> {
    ids.into_iter().map(trade).collect()
}

fn ids(page: &GapPage) -> Vec<u64> {
    page.trades.iter().map(|trade| trade.trade_id).collect()
}

#[test]
fn a_gap_of_one_page_is_asked_for_exactly() {
    let mut gap = GapFetch::new(11, 15);
    assert_eq!(gap.next(), Some(PageRequest { after: 16, limit: 5 }));
    let page = gap.take(trades([15, 14, 13, 12, 11])).unwrap();
    assert_eq!((ids(&page), page.absent), (vec![15, 14, 13, 12, 11], vec![]));
    assert_eq!(gap.next(), None);
}

#[test]
fn a_long_gap_is_asked_for_page_by_page() {
    let mut gap = GapFetch::new(1, 2_500);
    for (after, limit) in [(2_501, 1_000), (1_501, 1_000), (501, 500)] {
        assert_eq!(gap.next(), Some(PageRequest { after, limit }));
        let page = gap.take(trades((after - u64::from(limit)..after).rev())).unwrap();
        assert_eq!((page.trades.len(), page.absent), (usize::from(limit), vec![]));
    }
    assert_eq!(gap.next(), None);
}

#[test]
fn a_shorter_page_than_asked_for_is_followed_by_another() {
    let mut gap = GapFetch::new(1, 300);
    gap.take(trades((201..=300).rev())).unwrap();
    assert_eq!(gap.next(), Some(PageRequest { after: 201, limit: 200 }));
}

#[test]
fn what_the_exchange_has_not_got_is_told() {
    let mut gap = GapFetch::new(10, 20);
    let page = gap.take(trades([18, 17, 15])).unwrap();
    assert_eq!((ids(&page), page.absent), (vec![18, 17, 15], vec![19..=20, 16..=16]));
    assert_eq!(gap.next(), Some(PageRequest { after: 15, limit: 5 }));
    let page = gap.take(trades([])).unwrap();
    assert_eq!(page.absent, [10..=14]);
    assert_eq!(gap.next(), None);

    let mut half = GapFetch::new(10, 20);
    let page = half.take(trades([20, 19, 9])).unwrap();
    assert_eq!((ids(&page), page.absent, half.next()), (vec![20, 19], vec![10..=18], None));

    let mut gone = GapFetch::new(10, 20);
    let page = gone.take(trades([9, 8, 7])).unwrap();
    assert_eq!((ids(&page), page.absent), (vec![], vec![10..=20]));
    assert_eq!(gone.next(), None);
}

#[test]
fn an_answer_out_of_order_changes_nothing() {
    let mut gap = GapFetch::new(10, 20);
    for (answer, at) in [(vec![21, 20], 0), (vec![20, 20], 1), (vec![18, 19], 1)] {
        let fault = gap.take(trades(answer)).unwrap_err();
        assert!(matches!(fault, RestFault::OutOfOrder { index, .. } if index == at), "{fault}");
        assert_eq!(gap, GapFetch::new(10, 20));
    }
}

#[test]
fn the_ends_of_the_numbers() {
    assert_eq!(GapFetch::new(5, 4).next(), None);
    let mut all = GapFetch::new(0, u64::MAX);
    assert_eq!(all.next().unwrap().limit, TRADES_PER_PAGE_MAX);
    assert_eq!(all.take(vec![]).unwrap().absent, [0..=u64::MAX - 1]);
    let mut lowest = GapFetch::new(0, 0);
    assert_eq!(lowest.next(), Some(PageRequest { after: 1, limit: 1 }));
    assert_eq!(ids(&lowest.take(trades([0])).unwrap()), [0]);
    assert_eq!(lowest.next(), None);
}

proptest! {
    /// Whatever the exchange still has, each trade of the gap is either brought or told absent, once, in bounded steps.
    #[test]
    fn every_trade_of_a_gap_is_settled_once(
        first in 1u64..50, length in 0u64..120,
        has in prop::collection::btree_set(0u64..200, 0..200), page_max in 1usize..40,
    ) {
        let last = first + length;
        let (mut gap, mut brought, mut absent) = (GapFetch::new(first, last), vec![], vec![]);
        for _ in 0..=length + 1 {
            let Some(request) = gap.next() else { break };
            let size = usize::from(request.limit).min(page_max);
            let answer = has.range(..request.after).rev().take(size).copied();
            let page = gap.take(trades(answer)).unwrap();
            brought.extend(ids(&page));
            absent.extend(page.absent.into_iter().flatten());
        }
        prop_assert_eq!(gap.next(), None);
        let expected: Vec<u64> = has.range(first..=last).rev().copied().collect();
        prop_assert_eq!(&brought, &expected);
        let mut all: Vec<u64> = brought.into_iter().chain(absent).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (first..=last).collect::<Vec<_>>());
    }
}
