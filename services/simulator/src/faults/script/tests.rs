use super::*;

fn script(flags: &[&str]) -> Script {
    let mut written = FaultScript { seed: 5, ..FaultScript::default() };
    flags.iter().for_each(|flag| written.add_flag(flag).unwrap());
    Script::new(&written)
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What happened, as fault, phase and milliseconds.
fn happened(script: &mut Script, now: Duration) -> Vec<(String, Phase, u128)> {
    script.advance(now);
    let happenings = script.take_happenings().into_iter();
    happenings
        .map(|happening| (happening.fault.to_string(), happening.phase, happening.at.as_millis()))
        .collect()
}

/// Sends `count` tickers; the numbers of those that something happens to.
fn hit(script: &mut Script, product: &str, count: u64, now: Duration) -> Vec<u64> {
    let hit = |number: &u64| {
        let is_hit = !script.on_ticker(product, now).is_empty();
        script.count_ticker(product, now);
        (*number, is_hit).1
    };
    (1..=count).filter(hit).collect()
}

#[test]
fn a_time_begins_and_ends_by_the_clock() {
    let mut script = script(&["mute:at=10s,for=2s,every=1m,times=2"]);
    assert_eq!(script.next_time(), Some(at(10_000)));
    assert_eq!(hit(&mut script, "A", 1, at(9_999)), Vec::<u64>::new());
    assert_eq!(hit(&mut script, "A", 1, at(10_000)), [1]);
    assert_eq!(script.next_time(), Some(at(12_000)));
    assert_eq!(hit(&mut script, "A", 1, at(12_000)), Vec::<u64>::new());
    assert_eq!(script.next_time(), Some(at(70_000)));
    let told = happened(&mut script, at(71_000));
    let mute = |phase, millis| ("mute".to_owned(), phase, millis);
    assert_eq!(told, [mute(Phase::Began, 10_000), mute(Phase::Ended, 12_000), mute(Phase::Began, 70_000)]);
    assert_eq!(happened(&mut script, at(72_000)), [mute(Phase::Ended, 72_000)]);
    assert_eq!(script.next_time(), None, "twice was all");
}

#[test]
fn what_was_slept_through_is_left_out() {
    let mut script = script(&["error:at=1s,every=1s", "mute:at=5s,for=1s"]);
    let told = happened(&mut script, at(10_500));
    assert_eq!(told[0], ("error".to_owned(), Phase::Happened, 1_000));
    assert_eq!(told[1..], [("mute".into(), Phase::Began, 5_000), ("mute".into(), Phase::Ended, 6_000)]);
    assert_eq!(script.next_time(), Some(at(11_000)));
}

#[test]
fn a_count_of_tickers_begins_and_ends_by_tickers() {
    let mut script = script(&["drop:after_ticks=3,count=2,every_ticks=6"]);
    assert_eq!(script.next_time(), None);
    assert_eq!(hit(&mut script, "A", 18, at(0)), [4, 5, 10, 11, 16, 17]);
    let phases: Vec<Phase> = happened(&mut script, at(0)).into_iter().map(|told| told.1).collect();
    assert_eq!(phases, [Phase::Began, Phase::Ended].repeat(3));
}

#[test]
fn only_the_tickers_of_its_products_count_and_are_hit() {
    let mut script = script(&["drop:after_ticks=1,count=1,products=A"]);
    assert_eq!(hit(&mut script, "B", 5, at(0)), Vec::<u64>::new());
    assert_eq!(hit(&mut script, "A", 5, at(0)), [2]);
}

#[test]
fn the_first_fault_that_hits_all_is_the_last_that_is_asked() {
    let mut script = script(&["duplicate:connection=oldest", "drop:count=2", "delay:by=1s"]);
    let kinds = |script: &mut Script| -> Vec<String> {
        script.on_ticker("A", at(0)).iter().map(|treated| treated.fault.to_string()).collect()
    };
    assert_eq!(kinds(&mut script), ["duplicate", "drop"]);
    assert_eq!(kinds(&mut script), ["duplicate", "drop"]);
    assert_eq!(kinds(&mut script), ["duplicate", "delay"]);
}

#[test]
fn the_seed_decides_what_chance_spares() {
    let run = |seed| {
        let mut written = FaultScript { seed, ..FaultScript::default() };
        written.add_flag("drop:percent=30").unwrap();
        hit(&mut Script::new(&written), "A", 1_000, at(0))
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!((200..400).contains(&run(1).len()), "{}", run(1).len());
}

#[test]
fn deeds_are_told_with_what_they_need() {
    let mut script = script(&[
        "stall:at=1s,for=5s,also_new=true,connection=newest",
        "sequence_reset:at=2s,to=7,products=A",
    ]);
    assert_eq!(script.stalls_new(), None);
    script.advance(at(2_000));
    assert_eq!(script.stalls_new().map(|(_, end)| end), Some(Some(at(6_000))));
    let told = script.take_happenings();
    let stall = told[0].deed.as_ref().unwrap();
    assert_eq!((stall.until, stall.connection), (Some(at(6_000)), Connection::Newest));
    let reset = told[1].deed.as_ref().unwrap();
    assert_eq!(
        (&reset.kind, &reset.products),
        (&Kind::SequenceReset { to: 7 }, &Some(["A".to_owned()].into()))
    );
}

#[test]
fn who_connects_subscribes_or_asks_meets_the_fault_that_is_for_him() {
    let mut script = script(&[
        "slow_accept:by=1s,count=2",
        "refuse:products=A,for=10s",
        "disconnect:at=5s,for=5s",
        "rest_500:products=A,count=1",
        "rest_slow:by=2s,at=20s",
        "rest_gone:products=B,count=1",
        "mute:also_heartbeats=true,products=C,connection=oldest",
    ]);
    let accepted: Vec<_> = (0..3).map(|_| script.on_accept(at(0))).collect();
    assert_eq!(accepted, [Some(at(1_000)), Some(at(1_000)), None]);
    assert!(script.refuses("A").is_some() && script.refuses("B").is_none() && script.outage().is_none());
    let asked: Vec<_> =
        [None, Some("B"), Some("A"), Some("A")].map(|product| script.on_rest(product, at(0))).into();
    assert_eq!(asked, [None, None, Some(RestTrouble::Fails), None]);
    assert_eq!(
        [script.is_gone("A", at(0)), script.is_gone("B", at(0)), script.is_gone("B", at(0))],
        [false, true, false]
    );
    assert_eq!(script.mutes("C").len(), 1);
    assert!(script.keeps_greeting("C") && !script.keeps_greeting("A"));
    assert_eq!(script.on_rest(None, at(20_000)), Some(RestTrouble::Slow(at(2_000))));
    assert!(script.refuses("A").is_none(), "its time is over");
    script.take_happenings();
    let mut outage = self::script(&["disconnect:for=5s"]);
    outage.advance(at(0));
    assert!(outage.outage().is_some());
    outage.advance(at(5_000));
    assert!(outage.outage().is_none());
}
