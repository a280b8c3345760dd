//! Instances that come, die, drain and come back under load: no call fails.

use std::time::Instant;

use proto::v1::{ListTicksRequest, SequenceRange, SortOrder};
use testkit::{Fault, Signal, eventually};

use crate::{
    load::{Load, Past, TICKS},
    support::SOON,
    world::{FOUND, Market, PRODUCT, World, instance},
};

/// Enough calls to say that an instance takes its part.
const PART: u64 = 30;

/// The first ticks that are stored, once there are enough.
async fn past(market: &Market) -> Past {
    let ticks = eventually(SOON, || async {
        let request = ListTicksRequest {
            product: PRODUCT.into(),
            order: SortOrder::Ascending.into(),
            page_size: i32::try_from(TICKS + 1).unwrap(),
            ..Default::default()
        };
        let ticks = market.clone().list_ticks(request).await.map_err(|status| status.to_string())?;
        let ticks = ticks.into_inner().ticks;
        if ticks.len() > TICKS { Ok(ticks) } else { Err(format!("{} ticks", ticks.len())) }
    })
    .await;
    Past(SequenceRange {
        run: Some(ticks[0].run),
        start_sequence: ticks[0].sequence,
        end_sequence: ticks[TICKS].sequence,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_die_drain_and_come_back_under_load_and_no_call_fails() {
    let mut world = World::start(&[], &[]).await;
    world.names.answer(Some(&[instance(1), instance(2)]));
    for number in [1, 2] {
        world.spawn(number);
        world.ready(number).await;
    }
    let market = world.market().await;
    let past = past(&market).await;
    let load = Load::start(&market, &world.address, &past);
    for number in [1, 2] {
        world.is_asked(number, PART).await;
    }
    load.has_not_failed("with two instances");

    // One more, in DNS before it serves.
    world.names.answer(Some(&[instance(1), instance(2), instance(3)]));
    world.is_looked_up(2).await;
    world.spawn(3);
    world.ready(3).await;
    let added = is_found(&world, 3).await;
    load.has_not_failed("with one added");

    // Killed, and DNS does not know.
    world.process(1).kill().await;
    for number in [2, 3] {
        world.is_asked(number, PART).await;
    }
    load.has_not_failed("with one killed");
    world.spawn(1);
    world.ready(1).await;
    let back = is_found(&world, 1).await;
    load.has_not_failed("with the killed one back");

    // One that has lost its database.
    world.to_database.set(Fault::Reset);
    world.leaves_out(1).await;
    for number in [1, 2] {
        world.is_asked(number, PART).await;
    }
    load.has_not_failed("with one without a database");
    world.to_database.set(Fault::Pass);
    world.leaves_out(0).await;
    world.is_asked(3, PART).await;
    load.has_not_failed("with all three again");

    // Drained, and DNS does not know.
    let drained = world.calls(2).await;
    let status = world.process(2).terminate(SOON).await;
    assert!(status.success(), "{status}: {}", world.process(2).stderr());
    for number in [1, 3] {
        world.is_asked(number, PART).await;
    }
    load.has_not_failed("with one drained");
    world.names.answer(Some(&[instance(1), instance(3)]));
    world.leaves_out(0).await;

    // DNS fails: what it said before holds.
    world.names.answer(None);
    world.is_looked_up(2).await;
    world.is_asked(1, PART).await;
    load.has_not_failed("with a name server that fails");

    // One that says nothing any more: a machine that has lost its power, or its network. A stream that had begun to come
    // has to be continued; until then none had to.
    assert_eq!(load.continued(), 0);
    world.process(3).pause().await;
    world.leaves_out(1).await;
    world.is_asked(1, PART).await;
    load.has_not_failed("with one frozen");
    world.process(3).signal(Signal::CONT);
    world.leaves_out(0).await;
    world.is_asked(3, PART).await;

    // One is taken out of DNS while it lives, and then ends.
    world.names.answer(Some(&[instance(1)]));
    eventually(FOUND, || async {
        let before = world.calls(3).await;
        world.is_asked(1, PART).await;
        before == world.calls(3).await
    })
    .await;
    let taken_out = world.calls(3).await;
    world.process(3).kill().await;
    world.is_asked(1, PART).await;

    let continued = load.continued();
    let told = load.stop().await;
    let failed: Vec<_> = told.iter().flat_map(|told| &told.failed).collect();
    let lines: Vec<_> = told.iter().map(ToString::to_string).collect();
    let retried = world.gateway_counts("ledgerflux_gateway_forward_retries_total", "").await;
    let last = world.calls(1).await;
    let lines = lines.join("\n");
    println!(
        "{lines}\nthe added one asked after {added:?}, the killed one after {back:?}; answered by the first since its \
         return {last}, by the second {drained}, by the third {taken_out}; {retried} asked again, {continued} continued"
    );
    assert!(failed.is_empty(), "{} calls failed: {failed:#?}\n{lines}", failed.len());
    assert!(told.iter().all(|told| told.answered > PART), "{lines}");
    for outcome in ["unreachable", "timeout", "shed"] {
        let label = format!("outcome=\"{outcome}\"");
        assert_eq!(world.gateway_counts("ledgerflux_gateway_forwarded_total", &label).await, 0, "{outcome}");
    }
    let cut = world.gateway_counts("ledgerflux_gateway_forwarded_cut_total", "").await;
    assert_eq!(cut, continued, "every stream that broke off was told so");
    assert!(world.gateway.terminate(SOON).await.success(), "{}", world.gateway.stderr());
}

/// How long after it is ready an instance has had a call; returns when it has its part of them.
async fn is_found(world: &World, number: u8) -> std::time::Duration {
    let ready = Instant::now();
    eventually(SOON, || async { world.calls(number).await > 0 }).await;
    let found = ready.elapsed();
    assert!(found < FOUND, "instance {number} got its first call only after {found:?}");
    world.is_asked(number, PART).await;
    found
}
