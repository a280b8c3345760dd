use super::*;
use crate::{Decimal, Instrument, TickFlags, Trade};

const WAIT: Duration = Duration::from_millis(250);

fn at(millis: i64) -> UnixNanos {
    UnixNanos::new((1_600_000_000_000 + millis) * 1_000_000)
}

fn session(id: &str) -> Arc<FeedSession> {
    Arc::new(FeedSession { id: id.into(), started: at(0) })
}

/// A product of which trade 100 was the last, two legs that have been there for long, and what is held back.
struct Scene {
    trades: TradeTracker,
    legs: Legs,
    hold: Hold,
}

impl Scene {
    fn new() -> Self {
        let trades = TradeTracker::recovered(100, at(0), None);
        let mut legs = Legs::new(at(-60_000));
        legs.hear(&session("a-1"), at(0));
        legs.hear(&session("b-1"), at(0));
        Self { trades, legs, hold: Hold::new(WAIT) }
    }

    /// A leg brings a trade, whose sequence is ten times its number.
    fn bring(&mut self, session_id: &str, trade_id: u64, message: u64, millis: i64) -> bool {
        let session = session(session_id);
        let leg = self.legs.hear(&session, at(millis));
        let tick = Tick {
            instrument: Instrument::new("coinbase", "BTC-USD").unwrap(),
            run: 0,
            sequence: Some(trade_id * 10),
            event_time: at(0),
            receive_time: at(0),
            last_trade: Some(Trade {
                price: Decimal::ONE,
                size: Decimal::ONE,
                side: None,
                trade_id: Some(trade_id),
            }),
            best_bid: None,
            best_ask: None,
            day: None,
            flags: TickFlags::default(),
        };
        let held = Held { tick, session, leg, shared: false, message, index: 0 };
        self.hold.push(held, at(millis))
    }

    fn beat(&mut self, last_trade_id: u64, message: u64, millis: i64) {
        let heartbeat = Heartbeat { last_trade_id, time: at(millis) };
        self.hold.push_heartbeat(heartbeat, &session("a-1"), message, at(millis));
    }

    /// Everything that comes out: the trades, and what heartbeats say in negative numbers.
    fn out(&mut self, millis: i64) -> Vec<i64> {
        let mut out = Vec::new();
        while let Some(released) = self.hold.pop(&self.trades, &self.legs, at(millis)) {
            out.push(match released {
                Released::Tick(held) => {
                    let trade_id = held.tick.trade_id().unwrap();
                    self.trades.trade(trade_id, at(millis), &held.session, false);
                    i64::try_from(trade_id).unwrap()
                }
                Released::Heartbeat(heartbeat, session) => {
                    self.trades.heartbeat(&heartbeat, &session);
                    -i64::try_from(heartbeat.last_trade_id).unwrap()
                }
            });
        }
        out
    }
}

#[test]
fn the_other_leg_fills_in() {
    let mut scene = Scene::new();
    assert!(scene.bring("a-1", 102, 1, 0) && scene.bring("a-1", 104, 2, 10));
    assert_eq!((scene.out(10), scene.hold.deadline()), (vec![], Some(at(250))));
    scene.bring("b-1", 101, 3, 20);
    assert_eq!(scene.out(20), [101, 102]);
    assert_eq!(scene.hold.oldest_message(), Some(2));
    assert!(scene.hold.holds(2) && !scene.hold.holds(1) && !scene.hold.holds(3));
    assert_eq!(scene.hold.deadline(), Some(at(260)), "what came at 10 ms waits on its own account");
    scene.bring("b-1", 103, 4, 30);
    assert_eq!((scene.out(30), scene.hold.is_empty(), scene.hold.deadline()), (vec![103, 104], true, None));
}

#[test]
fn nothing_waits_for_longer_than_it_may() {
    let mut scene = Scene::new();
    scene.legs.hear(&session("c-1"), at(0));
    scene.bring("a-1", 104, 1, 0);
    scene.bring("b-1", 102, 2, 200);
    assert_eq!(scene.out(249), []);
    assert_eq!(scene.out(250), [102, 104], "101 and 103 are missing since 0 ms");
    scene.bring("a-1", 107, 3, 300);
    assert_eq!(scene.out(-1), [107], "a clock that was set back makes nobody wait");
}

#[test]
fn what_no_leg_has_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.bring("a-1", 102, 1, 0);
    assert_eq!(scene.out(0), []);
    assert!(!scene.bring("b-1", 102, 2, 5), "it is held back already");
    assert_eq!(scene.out(5), [102], "both have passed the missing one");
    assert!(!scene.hold.holds(1) && !scene.hold.holds(2));
    scene.bring("a-1", 106, 3, 10);
    scene.bring("b-1", 104, 4, 10);
    assert_eq!(scene.out(10), [104], "b may still bring 105");
}

#[test]
fn a_leg_that_is_gone_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.bring("a-1", 102, 1, 10_001);
    assert_eq!(scene.out(10_001), [102]);
}

#[test]
fn a_heartbeat_waits_as_well() {
    let mut scene = Scene::new();
    scene.beat(103, 1, 0);
    scene.beat(102, 2, 10);
    assert!(!scene.hold.holds(2), "it says nothing new");
    scene.beat(105, 3, 20);
    assert!(scene.hold.holds(3) && !scene.hold.holds(1));
    assert_eq!(scene.hold.deadline(), Some(at(250)), "the first of them began to wait");
    scene.bring("b-1", 101, 4, 30);
    scene.bring("b-1", 104, 5, 40);
    scene.bring("b-1", 108, 6, 50);
    assert_eq!(scene.out(50), [101]);
    assert_eq!(scene.out(250), [104, -105]);
    assert_eq!(scene.out(290), []);
    assert_eq!(scene.out(300), [108]);
    assert!(scene.hold.is_empty());
    scene.beat(109, 7, 310);
    scene.bring("b-1", 109, 8, 320);
    assert_eq!(scene.out(320), [109, -109], "it came after all");
}

#[test]
fn given_up_it_holds_nothing_back() {
    let mut scene = Scene::new();
    scene.bring("a-1", 102, 1, 0);
    scene.beat(110, 2, 0);
    scene.bring("a-1", 120, 3, 0);
    scene.hold.give_up();
    assert_eq!(scene.out(0), [102, 120, -110]);
}
