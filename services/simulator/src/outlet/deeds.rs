//! What faults do at once: to connections, and by sending something of their own.

use std::sync::Arc;
use std::time::Duration;

use domain::UnixNanos;
use metrics::counter;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tracing::info;

use super::{Outlet, SequenceReset};
use crate::client::{Client, Farewell, Stall};
use crate::faults::Kind;
use crate::faults::script::{Deed, Happening, Phase};
use crate::metrics::FAULTS;
use crate::wire;

/// How long clients may take to make room for what may be more than all their queue: a large frame, or a repetition.
const BURST_PATIENCE: Duration = Duration::from_secs(5);

impl Outlet {
    /// Tells the truth about it, and does it. Returns what only the market can do.
    pub(super) async fn happen(&mut self, happening: Happening) -> Option<SequenceReset> {
        let Happening { fault, phase, at, deed } = happening;
        let ago = Instant::now().saturating_duration_since(self.exchange.faults.instant(at));
        let happened = UnixNanos::now().saturating_sub(ago);
        info!(fault = &*fault, ?phase, "scripted fault");
        if phase != Phase::Ended {
            counter!(FAULTS).increment(1);
        }
        let reset = match deed {
            Some(deed) => self.perform(&fault, deed).await,
            None => None,
        };
        self.truth.fault(fault, phase, happened).await;
        reset
    }

    async fn perform(&mut self, fault: &Arc<str>, deed: Deed) -> Option<SequenceReset> {
        let mut clients = self.exchange.clients.subscribed();
        clients.retain(|client| !client.ended.is_cancelled());
        let count = clients.len();
        let hit = clients.iter().enumerate().filter(|(index, _)| deed.connection.hits(*index, count));
        let hit: Vec<&Arc<Client>> = hit.map(|(_, client)| client).collect();
        let patience = BURST_PATIENCE.max(self.patience);
        match deed.kind {
            Kind::Disconnect { how } => {
                let mut followers = Vec::new();
                for (product, course) in &mut self.courses {
                    self.exchange.clients.recipients(None, Some(product), &mut followers);
                    if !followers.is_empty() {
                        course.cut_by = Some(Arc::clone(fault));
                    }
                }
                hit.iter().for_each(|client| client.end(Farewell::Fault(how)));
            }
            Kind::Stall { .. } => {
                let until = deed.until.map(|until| self.exchange.faults.instant(until));
                hit.iter().for_each(|client| client.stall(Stall { fault: Arc::clone(fault), until }));
            }
            Kind::Error { message, reason } => {
                for client in hit {
                    self.deliver(client, &wire::error(&message, &reason)).await;
                }
            }
            Kind::Oversized { bytes } => {
                let frame = wire::oversized(bytes);
                for client in hit {
                    self.deliver_patiently(client, &frame, patience).await;
                }
            }
            Kind::Repeat { last } => {
                let wanted = |product: &str| deed.products.as_ref().is_none_or(|all| all.contains(product));
                let again =
                    self.courses.iter().filter(|(product, _)| wanted(product)).flat_map(|(_, course)| {
                        course.recent.range(course.recent.len().saturating_sub(last)..).cloned()
                    });
                let again: Vec<Message> = again.collect();
                let deadline = Instant::now() + patience;
                for ticker in again {
                    for client in &hit {
                        let left = deadline.saturating_duration_since(Instant::now());
                        self.deliver_patiently(client, &ticker, left).await;
                    }
                }
                // What comes next at a rate would find no room.
                for client in hit {
                    tokio::select! {
                        () = client.emptied(deadline) => {}
                        () = self.shutdown.requested() => {}
                    }
                }
            }
            Kind::SequenceReset { to } => return Some((deed.products, to)),
            _ => {}
        }
        None
    }
}
