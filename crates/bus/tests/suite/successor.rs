use std::time::Duration;

use bus::{Bus, Config, Reporter};
use domain::{RoleStatus, Shard};
use testkit::eventually;
use tokio::task::JoinHandle;

use crate::fixture::{DEADLINE, Substrate, btc, shard_of};

/// A worker that speaks until it is stopped.
async fn speaking(bus: &Bus, role: &str, shard: Shard, name: &str) -> JoinHandle<()> {
    let reporter = Reporter::new(role, RoleStatus::worker_instance(name, shard));
    reporter.speak();
    let (bus, before) = (bus.clone(), bus.statuses().await.unwrap().len());
    let said = bus.clone();
    let speaking = tokio::spawn(async move { match reporter.keep(&bus, None, |_| ()).await {} });
    while said.statuses().await.unwrap().len() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    speaking
}

pub async fn a_successor_started_later_and_still_speaks(substrate: Substrate) {
    let fixture = substrate.start(Config::default()).await;
    let (first, second) = (&fixture.bus, fixture.participant().await);
    let shard = shard_of(first, &btc());
    let other_shard = first.shards().shards().find(|other| *other != shard).unwrap();
    let _first = speaking(first, "snapshotter", shard, "a-1").await;
    let _role = speaking(&second, "normalizer", shard, "b-1").await;
    let _shard = speaking(&second, "snapshotter", other_shard, "b-1").await;
    assert_eq!(first.successor("snapshotter", shard).await.unwrap(), None, "of another role or shard");
    let speaks = speaking(&second, "snapshotter", shard, "b-1").await;
    // Who is found is listened to for a while; a machine that pauses meanwhile lets nobody speak, and then it is asked again.
    eventually(DEADLINE, || async {
        let found = first.successor("snapshotter", shard).await.unwrap();
        if found == Some(*second.owner()) { Ok(()) } else { Err(found) }
    })
    .await;
    assert_eq!(second.successor("snapshotter", shard).await.unwrap(), None, "who started earlier");
    speaks.abort();
    let _ = speaks.await;
    assert_eq!(first.successor("snapshotter", shard).await.unwrap(), None, "it is gone");
}
