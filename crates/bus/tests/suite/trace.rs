use std::sync::Once;

use bus::{Config, FollowFrom};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::fixture::{Substrate, batch, btc, fetch, raw_reader, session, shard_of, tick};

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let provider = SdkTracerProvider::builder().build();
        let filter = tracing_subscriber::filter::LevelFilter::DEBUG;
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

pub async fn the_trace_goes_with_the_message(substrate: Substrate) {
    install();
    let fixture = substrate.start(Config::default()).await;
    let frame = tracing::info_span!("frame");
    let trace_id = frame.context().span().span_context().trace_id();
    let publisher = fixture.bus.raw_publisher(session("host-1"));
    publisher.send(tick(&btc(), 1)).instrument(frame).await.unwrap();
    publisher.close().await;
    let deliveries = fetch(&mut raw_reader(&fixture.bus, &btc()), 1).await;
    let hop = deliveries[0].context.span().span_context().clone();
    assert!(hop.is_valid() && hop.is_remote());
    assert_eq!(hop.trace_id(), trace_id);

    let work = tracing::info_span!("work");
    work.set_parent(deliveries[0].context.clone()).unwrap();
    let mut ticks = fixture.bus.tick_publisher(shard_of(&fixture.bus, &btc()));
    ticks.publish(&batch(&btc(), [1])).instrument(work).await.unwrap();
    // Without a span there is no context, and none is made up.
    ticks.publish(&batch(&btc(), [2])).await.unwrap();
    let mut follower = fixture.bus.follow_ticks(FollowFrom::AfterSequence(0));
    let followed = follower.next().await.unwrap();
    assert_eq!(followed.context.span().span_context().trace_id(), trace_id);
    let untraced = follower.next().await.unwrap();
    assert!(!untraced.context.span().span_context().is_valid());
}
