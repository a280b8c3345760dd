//! What is missing, and what becomes of it.

use domain::{Gap, GapCause, GapState, Tick, TimeRange, UnixNanos};
use store::{GapKey, GapQuery, GapTotals, OpenGaps, Order};

use crate::{
    database::{Database, on_each_database, write},
    ticks::{at, backfilled, instrument, trade, trade_of},
};

on_each_database!(
    many_at_once_are_what_they_are_one_by_one,
    a_trade_is_missing_once,
    what_is_stored_is_not_missing,
    fills_are_counted_and_close_the_gap,
    a_gap_is_given_up_in_part,
    a_new_numbering_is_another_matter,
    gaps_come_in_pages,
    open_gaps_are_told_by_product,
    the_newest_open_gaps_come_first,
);

pub(crate) fn gap(first: u64, last: u64) -> Gap {
    Gap {
        instrument: instrument("BTC-USD"),
        run: 0,
        first_trade_id: first,
        last_trade_id: last,
        after: Some(at(i64::try_from(first).unwrap() - 1)),
        before: Some(at(i64::try_from(last).unwrap() + 1)),
        detected_at: at(1_000),
        cause: GapCause::Disconnect,
        state: GapState::Open,
        repaired_count: 0,
    }
}

pub(crate) fn query(product: &str) -> GapQuery {
    let name = instrument(product);
    GapQuery {
        venue: name.venue,
        product: Some(name.product),
        range: TimeRange::ALL,
        states: Vec::new(),
        after: None,
        limit: 10_000,
    }
}

fn live(ids: impl IntoIterator<Item = u64>) -> Vec<Tick> {
    ids.into_iter().map(|id| trade(id, at(i64::try_from(id).unwrap()), "5.25")).collect()
}

/// As REST gives them: a little beside the time of the feed.
fn fills(ids: impl IntoIterator<Item = u64>) -> Vec<Tick> {
    let beside = std::time::Duration::from_millis(1);
    let other = |tick: &Tick| Tick { event_time: tick.event_time.saturating_add(beside), ..backfilled(tick) };
    live(ids).iter().map(other).collect()
}

fn spans(gaps: &[Gap]) -> Vec<(u64, u64, GapState, u64)> {
    gaps.iter().map(|gap| (gap.first_trade_id, gap.last_trade_id, gap.state, gap.repaired_count)).collect()
}

async fn many_at_once_are_what_they_are_one_by_one(db: Database) {
    let other = |first, last| Gap { instrument: instrument("ETH-USD"), ..gap(first, last) };
    write(&db.store, &live([1, 7, 20, 900_000])).await;
    let told =
        [gap(5, 8), other(5, 8), gap(2, 6), gap(800_000, 899_999), gap(30, 29), gap(20, 21), gap(6, 6)];
    for gap in &told {
        db.store.record_gap(&Gap { run: 1, ..gap.clone() }).await.unwrap();
    }
    let recorded = db.store.record_gaps(&told).await.unwrap();
    let of = |gaps: &[Gap], run| -> Vec<_> {
        let of_run = gaps.iter().filter(|gap| gap.run == run).cloned().collect::<Vec<_>>();
        spans(&of_run).into_iter().map(|(first, last, ..)| (first, last)).collect()
    };
    let btc = db.store.gaps(&query("BTC-USD")).await.unwrap();
    assert_eq!(of(&btc, 0), [(2, 6), (7, 8), (20, 21), (800_000, 899_999)]);
    let missing = |gaps: &[(u64, u64)]| gaps.iter().map(|(first, last)| last - first + 1).sum::<u64>();
    assert_eq!(missing(&of(&btc, 0)), missing(&of(&btc, 1)), "the same trades, whatever the cuts");
    let counted: Vec<_> =
        spans(&btc).into_iter().zip(&btc).filter(|(_, gap)| gap.run == 0).map(|(span, _)| span).collect();
    assert_eq!(counted[1], (7, 8, GapState::Open, 1));
    assert_eq!(counted[2], (20, 21, GapState::Open, 1));
    assert_eq!(recorded.len(), 5);
    assert_eq!(db.store.record_gaps(&told).await.unwrap(), recorded, "told again, nothing changes");
    assert_eq!(spans(&db.store.gaps(&query("ETH-USD")).await.unwrap()).len(), 2);
    assert_eq!(db.store.record_gaps(&[]).await.unwrap(), []);
}

async fn a_trade_is_missing_once(db: Database) {
    let recorded = db.store.record_gap(&gap(10, 14)).await.unwrap();
    assert_eq!(recorded, [gap(10, 14)]);
    assert_eq!(db.store.record_gap(&gap(10, 14)).await.unwrap(), recorded, "said again");
    let later = Gap { cause: GapCause::Drop, detected_at: at(2_000), ..gap(8, 20) };
    let pieces = db.store.record_gap(&later).await.unwrap();
    let open = GapState::Open;
    assert_eq!(spans(&pieces), [(8, 9, open, 0), (10, 14, open, 0), (15, 20, open, 0)]);
    assert_eq!(pieces[1], gap(10, 14), "what is known stays as it is");
    assert_eq!((pieces[2].cause, pieces[2].detected_at), (GapCause::Drop, at(2_000)));
    assert_eq!(db.store.gaps(&query("BTC-USD")).await.unwrap(), pieces);
    assert_eq!(db.store.record_gap(&gap(9, 8)).await.unwrap(), [], "no trade at all");
}

async fn what_is_stored_is_not_missing(db: Database) {
    write(&db.store, &live([10, 11, 13])).await;
    write(&db.store, &[trade_of("ETH-USD", 12, at(12), "1")]).await;
    let recorded = db.store.record_gap(&gap(10, 13)).await.unwrap();
    assert_eq!(spans(&recorded), [(10, 13, GapState::Open, 3)], "another product's trade is none of it");
    let recorded = db.store.record_gap(&gap(14, 14)).await.unwrap();
    assert_eq!(spans(&recorded), [(14, 14, GapState::Open, 0)]);
    write(&db.store, &live([20, 21])).await;
    let recorded = db.store.record_gap(&gap(20, 21)).await.unwrap();
    assert_eq!(spans(&recorded), [(20, 21, GapState::Repaired, 2)], "nothing of it is missing");
}

async fn fills_are_counted_and_close_the_gap(db: Database) {
    write(&db.store, &live([9])).await;
    db.store.record_gap(&gap(10, 13)).await.unwrap();
    let written = write(&db.store, &live([14, 15])).await;
    assert_eq!((written.inserted, written.gaps), (2, vec![]), "trades that were not missing");
    let written = write(&db.store, &fills([9, 10, 10, 12, 14])).await;
    assert_eq!((written.inserted, written.duplicates), (2, 3));
    assert_eq!(spans(&written.gaps), [(10, 13, GapState::Open, 2)]);
    // A live trade that comes late is as good as a fetched one, and one that was fetched before is no other trade.
    let written = write(&db.store, &live([11, 12])).await;
    assert_eq!((written.inserted, written.duplicates), (1, 1));
    assert_eq!(spans(&written.gaps), [(10, 13, GapState::Open, 3)]);
    let last = fills([12, 13]);
    let written = write(&db.store, &last).await;
    assert_eq!(spans(&written.gaps), [(10, 13, GapState::Repaired, 4)]);
    // Whoever died before it could tell is told again.
    let again = write(&db.store, &last).await;
    assert_eq!((again.inserted, again.gaps), (0, written.gaps.clone()));
    assert_eq!(db.store.gaps(&query("BTC-USD")).await.unwrap(), written.gaps);
}

async fn a_gap_is_given_up_in_part(db: Database) {
    db.store.record_gap(&gap(10, 19)).await.unwrap();
    write(&db.store, &fills([10, 13, 18])).await;
    let lost = db.store.give_up_gap(&gap(12, 15)).await.unwrap();
    let (open, lost_for_good) = (GapState::Open, GapState::Unrepairable);
    assert_eq!(spans(&lost), [(12, 15, lost_for_good, 1)]);
    let all = db.store.gaps(&query("BTC-USD")).await.unwrap();
    assert_eq!(spans(&all), [(10, 11, open, 1), (12, 15, lost_for_good, 1), (16, 19, open, 1)]);
    assert_eq!(db.store.give_up_gap(&gap(12, 15)).await.unwrap(), lost, "said again");
    write(&db.store, &fills([11])).await;
    // What nobody knew to be missing is lost all the same; what is repaired stays so.
    let lost = db.store.give_up_gap(&gap(8, 25)).await.unwrap();
    let expected = [
        (8, 9, lost_for_good, 0),
        (10, 11, GapState::Repaired, 2),
        (12, 15, lost_for_good, 1),
        (16, 19, lost_for_good, 1),
        (20, 25, lost_for_good, 0),
    ];
    assert_eq!(spans(&lost), expected);
    // It comes all the same.
    let written = write(&db.store, &fills([12, 14, 15])).await;
    assert_eq!(spans(&written.gaps), [(12, 15, GapState::Repaired, 4)]);
}

async fn a_new_numbering_is_another_matter(db: Database) {
    let in_run = |run: u32, ticks: Vec<Tick>| -> Vec<Tick> {
        ticks
            .into_iter()
            .map(|tick| Tick { run, event_time: tick.event_time.saturating_add(DAY), ..tick })
            .collect()
    };
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    write(&db.store, &live([10, 11])).await;
    db.store.record_gap(&gap(12, 13)).await.unwrap();
    // The exchange begins anew: the same numbers, other trades.
    let other = Gap { run: 1, ..gap(10, 13) };
    let recorded = db.store.record_gap(&other).await.unwrap();
    assert_eq!(spans(&recorded), [(10, 13, GapState::Open, 0)]);
    let written = write(&db.store, &in_run(1, live([12]))).await;
    assert_eq!((written.gaps[0].run, written.gaps[0].repaired_count), (1, 1));
    // Whoever fetched a trade may not know the run: it is that of the newest gap for it.
    let written = write(&db.store, &in_run(0, fills([13]))).await;
    assert_eq!(
        (written.gaps[0].run, written.gaps[0].repaired_count),
        (0, 1),
        "its own run, where that has a gap"
    );
    let third = Gap { run: 3, ..gap(30, 31) };
    db.store.record_gap(&third).await.unwrap();
    let written = write(&db.store, &fills([30, 31])).await;
    assert_eq!(written.gaps, [Gap { state: GapState::Repaired, repaired_count: 2, ..third }]);
    let stored = crate::database::history(&db.store, &instrument("BTC-USD")).await;
    assert_eq!(stored.iter().filter(|(_, tick)| tick.run == 3).count(), 2);
}

async fn gaps_come_in_pages(db: Database) {
    let mut expected = Vec::new();
    for product in ["ADA-USD", "BTC-USD"] {
        for (run, first) in [(0, 20), (0, 40), (1, 5)] {
            let gap = Gap { instrument: instrument(product), run, ..gap(first, first + 4) };
            db.store.record_gap(&gap).await.unwrap();
            expected.push(gap);
        }
    }
    db.store.give_up_gap(&expected[1]).await.unwrap();
    expected[1].state = GapState::Unrepairable;
    let mut page = GapQuery { product: None, limit: 4, ..query("BTC-USD") };
    let first = db.store.gaps(&page).await.unwrap();
    assert_eq!(first, expected[..4]);
    page.after = first.last().map(GapKey::from);
    assert_eq!(db.store.gaps(&page).await.unwrap(), expected[4..]);
    let touching = |from, until| GapQuery { range: TimeRange { from, until }, ..query("ADA-USD") };
    // The first lies between 19 s and 25 s.
    assert_eq!(db.store.gaps(&touching(at(25), at(26))).await.unwrap(), expected[..1]);
    assert_eq!(db.store.gaps(&touching(UnixNanos::new(at(25).nanos() + 1), at(39))).await.unwrap(), []);
    assert_eq!(db.store.gaps(&touching(at(13), at(20))).await.unwrap(), expected[..1]);
    let lost = GapQuery { states: vec![GapState::Unrepairable, GapState::Repaired], ..query("ADA-USD") };
    assert_eq!(db.store.gaps(&lost).await.unwrap(), expected[1..2]);
    assert_eq!(db.store.gaps(&query("ETH-USD")).await.unwrap(), []);
    // What is not known of its times, the time when it was noticed stands for.
    let vague = Gap { instrument: instrument("ETH-USD"), after: None, before: None, ..gap(1, 2) };
    db.store.record_gap(&vague).await.unwrap();
    let around = |from, until| GapQuery { range: TimeRange { from, until }, ..query("ETH-USD") };
    assert_eq!(db.store.gaps(&around(at(1_000), at(1_001))).await.unwrap(), [vague]);
    assert_eq!(db.store.gaps(&around(at(0), at(1_000))).await.unwrap(), []);

    let among = |trades, order| {
        let store = db.store.clone();
        async move { store.gaps_among(&instrument("ADA-USD"), trades, TimeRange::ALL, order, 2).await.unwrap() }
    };
    assert_eq!(among((24, 40), Order::Ascending).await, expected[..2]);
    assert_eq!(among((0, 100), Order::Descending).await, [expected[1].clone(), expected[0].clone()]);
    assert_eq!(among((25, 39), Order::Ascending).await, []);
}

async fn open_gaps_are_told_by_product(db: Database) {
    assert_eq!(db.store.open_gaps().await.unwrap(), []);
    db.store.record_gap(&gap(10, 19)).await.unwrap();
    db.store.record_gap(&gap(30, 30)).await.unwrap();
    db.store.record_gap(&Gap { instrument: instrument("ADA-USD"), ..gap(1, 1) }).await.unwrap();
    db.store.give_up_gap(&Gap { instrument: instrument("ADA-USD"), ..gap(1, 1) }).await.unwrap();
    write(&db.store, &fills([10, 11, 30])).await;
    let btc = OpenGaps { instrument: instrument("BTC-USD"), gaps: 1, missing_trades: 8 };
    assert_eq!(db.store.open_gaps().await.unwrap(), [btc]);
    let totals = |product, state, gaps, missing_trades, repaired_trades| GapTotals {
        instrument: instrument(product),
        state,
        gaps,
        missing_trades,
        repaired_trades,
    };
    let expected = [
        totals("ADA-USD", GapState::Unrepairable, 1, 1, 0),
        totals("BTC-USD", GapState::Open, 1, 8, 2),
        totals("BTC-USD", GapState::Repaired, 1, 0, 1),
    ];
    assert_eq!(db.store.gap_totals().await.unwrap(), expected);
}

async fn the_newest_open_gaps_come_first(db: Database) {
    let noticed = |first, second| Gap { detected_at: at(second), ..gap(first, first) };
    let ether = Gap { instrument: instrument("ETH-USD"), ..noticed(5, 30) };
    for gap in
        [&noticed(10, 20), &noticed(20, 40), &ether, &noticed(30, 10), &noticed(40, 50), &noticed(50, 60)]
    {
        db.store.record_gap(gap).await.unwrap();
    }
    db.store.give_up_gap(&noticed(20, 40)).await.unwrap();
    let newest = async |limit| db.store.newest_open_gaps(at(60), limit).await.unwrap();
    assert_eq!(newest(10).await, [noticed(40, 50), ether.clone(), noticed(10, 20), noticed(30, 10)]);
    assert_eq!(newest(2).await, [noticed(40, 50), ether]);
}
