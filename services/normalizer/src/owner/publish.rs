//! What a round became on its way out: rejects, events, fills, ticks.

use std::collections::BTreeMap;

use bus::{Bus, Source, fail_point};
use domain::{EventKind, FeedEvent, Instrument, ShardProgress, TickBatch, UnixNanos};
use futures::future::try_join_all;
use metrics::{counter, gauge, histogram};
use tracing::{info, warn};

use super::Owner;
use crate::{
    metrics as names,
    pending::Pending,
    round::{Refusal, Round},
    worker::{Error, bus_error},
};

/// Of how many products rejects may be on their way at once.
const PUBLISHES_IN_FLIGHT_MAX: usize = 64;

impl Owner<'_> {
    pub(super) fn count(&self, round: &Round) {
        for (name, count) in [
            (names::DUPLICATES, round.duplicates),
            (names::FILLED_LATE, round.filled_late),
            (names::HEARTBEATS, round.heartbeats),
            (names::HOLDS_FULL, round.holds_full),
        ] {
            counter!(name, "shard" => self.label.clone()).increment(count);
        }
        gauge!(names::HELD, "shard" => self.label.clone()).set(self.state.held() as f64);
        for (leg, instance) in self.state.legs() {
            let labels = [("shard", self.label.clone()), ("leg", self.worker.legs.label(instance))];
            let of_leg = |counts: &[u64]| counts.get(leg.index()).copied().unwrap_or_default();
            counter!(names::LEG_WINS, &labels).increment(of_leg(&round.legs.wins));
            counter!(names::LEG_ALONE, &labels).increment(of_leg(&round.legs.alone));
            for (_, lag) in round.legs.lags.iter().filter(|(of, _)| *of == leg) {
                histogram!(names::LEG_LAG, &labels).record(lag.as_secs_f64());
            }
        }
    }

    /// Files what was refused: that of a product one after the other, because each says of those before it that they are filed.
    pub(super) async fn file(&mut self, refusals: &[Refusal]) -> Result<(), Error> {
        let mut lanes: BTreeMap<Option<&Instrument>, Vec<&Refusal>> = BTreeMap::new();
        for refusal in refusals {
            let reject = &refusal.reject;
            let labels = [("shard", self.label.clone()), ("reason", reject.reason.as_str().to_owned())];
            counter!(names::REJECTS, &labels).increment(1);
            if let Some(refusals) = &mut self.refusals {
                refusals.tell(reject);
            }
            lanes.entry(reject.instrument.as_ref()).or_default().push(refusal);
        }
        let lanes: Vec<Vec<&Refusal>> = lanes.into_values().collect();
        for lanes in lanes.chunks(PUBLISHES_IN_FLIGHT_MAX) {
            try_join_all(lanes.iter().map(|lane| file_in_order(&self.worker.bus, lane))).await?;
        }
        Ok(())
    }

    /// Tells what happened in one step: new runs, then gaps, at most one of each product. A gap that somebody else knows
    /// better is not told, and the shard is recovered.
    pub(super) async fn announce(&mut self, events: &[FeedEvent]) -> Result<(), Error> {
        let (gaps, others): (Vec<_>, Vec<_>) =
            events.iter().partition(|event| matches!(event.kind, EventKind::Gap(_)));
        for event in others {
            self.note_event(event);
            self.worker.bus.publish_event(event).await.map_err(bus_error)?;
        }
        self.publisher.publish_gaps(&gaps).await?;
        if !gaps.is_empty() {
            fail_point::pass("normalizer-gap-told");
        }
        for gap in gaps {
            self.note_event(gap);
        }
        Ok(())
    }

    fn note_event(&self, event: &FeedEvent) {
        let instrument = &event.instrument;
        match &event.kind {
            EventKind::NewRun { previous, first } => {
                counter!(names::NEW_RUNS, "shard" => self.label.clone()).increment(1);
                info!(%instrument, %previous, %first, "the sequence of the exchange started anew");
            }
            EventKind::Gap(gap) => {
                let (first, last) = (gap.first_trade_id, gap.last_trade_id);
                let labels = [("shard", self.label.clone()), ("cause", gap.cause.as_str().to_owned())];
                counter!(names::GAPS, &labels).increment(1);
                let missing = (last - first).saturating_add(1);
                counter!(names::MISSING_TRADES, "shard" => self.label.clone()).increment(missing);
                if let Some(swallowed) = self.gap_log.pass(std::time::Instant::now()) {
                    warn!(%instrument, first, last, cause = gap.cause.as_str(), swallowed, "trades are missing");
                }
            }
            _ => {}
        }
    }

    /// Publishes the fills, then the live ticks, whose batches say which raw messages are done, and counts them. Returns
    /// how many ticks went out.
    pub(super) async fn publish(&mut self, pending: Pending) -> Result<u64, Error> {
        let mut ticks = 0;
        for batches in pending.into_batches() {
            self.publisher.publish_all(&batches).await?;
            let now = UnixNanos::now();
            for (source, batch) in &batches {
                ticks += batch.ticks.len() as u64;
                self.note(*source, batch, now);
            }
        }
        counter!(names::TICKS, "shard" => self.label.clone()).increment(ticks);
        self.pause.published(ticks);
        Ok(ticks)
    }

    fn note(&mut self, source: Source, batch: &TickBatch, now: UnixNanos) {
        let Some(newest) = batch.ticks.last() else { return };
        let latency = now.saturating_since(newest.receive_time).as_secs_f64();
        histogram!(names::LATENCY, "shard" => self.label.clone()).record(latency);
        if source == Source::Fill {
            return;
        }
        if let Some(raw_sequence) = batch.raw_sequence {
            self.state.published(&batch.instrument, raw_sequence);
        }
        if let Some(position) = newest.position() {
            let instrument = batch.instrument.clone();
            let shard = self.worker.shard.get();
            let progress = ShardProgress {
                instrument: instrument.clone(),
                shard,
                position,
                event_time: newest.event_time,
            };
            self.progress.insert(instrument, progress);
        }
    }

    /// Brings the status up to date with what a round did.
    pub(super) fn tell(&mut self, ticks: u64, rejected: u64, duplicates: u64) {
        let progress = std::mem::take(&mut self.progress);
        self.worker.reporter.update(|status| {
            status.ticks += ticks;
            status.rejected += rejected;
            status.duplicates += duplicates;
            for (instrument, progress) in progress {
                match status.progress.iter_mut().find(|known| known.instrument == instrument) {
                    Some(known) => *known = progress,
                    None => status.progress.push(progress),
                }
            }
        });
    }
}

async fn file_in_order(bus: &Bus, refusals: &[&Refusal]) -> Result<(), Error> {
    for Refusal { reject, trades } in refusals {
        let filed = match trades {
            Some(trades) => bus.publish_faulty(reject, trades).await,
            None => bus.publish_reject(reject).await,
        };
        filed.map_err(bus_error)?;
        fail_point::pass("normalizer-filed");
    }
    Ok(())
}
