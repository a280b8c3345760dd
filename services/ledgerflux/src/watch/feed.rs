//! A subscription that outlives its connections.

use std::{collections::HashMap, time::Duration};

use anyhow::Context as _;
use ledgerflux_client::{Client, Error, Subscription, Update, v1};
use runtime::{ErrorChain, retry::Backoff};
use v1::subscribe_request::Start;

use super::seam::Seam;
use crate::args::WatchArgs;

const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// What comes of it, in order.
#[derive(Debug)]
pub(super) enum Happening {
    /// The first connection was made; or it was made `again`, and everything from the past has come. `resumed`: it went on
    /// where the one before had ended, and nothing is missing in between.
    Connected { again: bool, resumed: bool },
    /// A message.
    Update(Box<Update>),
    /// The connection is gone; the next attempt follows after `retry`.
    Lost { reason: String, retry: Duration },
}

/// Connects, and connects again.
pub(super) struct Feed {
    server: String,
    key: Option<String>,
    products: Vec<String>,
    lossless: bool,
    /// Resumes the whole subscription.
    token: Option<String>,
    /// The run and sequence of the newest tick of each product: a token is some seconds old, and what followed it comes again.
    newest: HashMap<String, (u32, u64)>,
    subscription: Option<Subscription>,
    connected_before: bool,
    seam: Seam,
    /// What comes after the word about the connection.
    held: Option<Box<Update>>,
    backoff: Backoff,
    /// How long to wait before the next attempt.
    wait: Option<Duration>,
}

impl Feed {
    pub(super) fn new(args: &WatchArgs, lossless: bool) -> anyhow::Result<Self> {
        let products = match args.products.is_empty() {
            true => vec!["*".to_owned()],
            false => args.products.clone(),
        };
        let key = match std::env::var("LEDGERFLUX_KEY") {
            Err(std::env::VarError::NotPresent) => None,
            found => Some(found.context("LEDGERFLUX_KEY")?).filter(|key| !key.is_empty()),
        };
        Ok(Self {
            server: args.server.clone(),
            key,
            products,
            lossless,
            token: None,
            newest: HashMap::new(),
            subscription: None,
            connected_before: false,
            seam: Seam::default(),
            held: None,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
            wait: None,
        })
    }

    /// What happens next. An error ends it: nobody answered the first time, or the server refuses what was asked for.
    ///
    /// Not cancel-safe: dropping the future may drop an attempt to connect.
    pub(super) async fn next(&mut self) -> anyhow::Result<Happening> {
        loop {
            if let Some(update) = self.held.take() {
                return Ok(Happening::Update(update));
            }
            let Some(subscription) = &mut self.subscription else {
                match self.connect().await? {
                    Some(happening) => return Ok(happening),
                    None => continue,
                }
            };
            let reason = match subscription.next().await {
                Ok(Some(update)) => {
                    self.backoff.reset();
                    if !is_new(&mut self.newest, &update) {
                        continue;
                    }
                    if let Some(connected) = self.seam.before(&update) {
                        self.held = Some(update.into());
                        return Ok(connected);
                    }
                    return Ok(Happening::Update(update.into()));
                }
                Ok(None) => "the server has ended the stream".to_owned(),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) => reason(&error),
            };
            if let Some(token) = subscription.resume_token() {
                self.token = Some(token.to_owned());
            }
            self.subscription = None;
            return Ok(self.lost(reason));
        }
    }

    /// One attempt. `None`: there is nothing to tell yet, or the next one is due at once, because the token will not do.
    async fn connect(&mut self) -> anyhow::Result<Option<Happening>> {
        if let Some(wait) = self.wait.take() {
            tokio::time::sleep(wait).await;
        }
        match self.subscribe().await {
            Ok(subscription) => {
                self.subscription = Some(subscription);
                let again = std::mem::replace(&mut self.connected_before, true);
                Ok(self.seam.connected(again, self.token.is_some()))
            }
            // An old token is no reason to give up: the newest state is there all the same, and it is told.
            Err(error) if self.token.is_some() && error.is_request_at_fault() => {
                self.token = None;
                Ok(None)
            }
            Err(error) if !self.connected_before || is_final(&error) => Err(error.into()),
            Err(error) => Ok(Some(self.lost(reason(&error)))),
        }
    }

    async fn subscribe(&self) -> Result<Subscription, Error> {
        use v1::delivery_policy::Policy;
        let mut client = Client::connect(&self.server).await?;
        if let Some(key) = &self.key {
            client = client.with_key(key)?;
        }
        let policy = match self.lossless {
            true => Policy::Lossless(v1::LosslessDelivery {}),
            false => Policy::Conflate(v1::ConflateDelivery { interval: None }),
        };
        let start = match &self.token {
            Some(token) => Start::ResumeToken(token.clone()),
            None => Start::Snapshot(v1::StartSnapshot {}),
        };
        let request = v1::SubscribeRequest {
            venue: String::new(),
            products: self.products.clone(),
            start: Some(start),
            delivery: Some(v1::DeliveryPolicy { policy: Some(policy) }),
        };
        client.subscribe_with(request).await
    }

    fn lost(&mut self, reason: String) -> Happening {
        let retry = self.backoff.next_delay();
        self.wait = Some(retry);
        Happening::Lost { reason, retry }
    }
}

/// Whether a tick comes for the first time. The full state of a product begins anew, whatever was there.
fn is_new(newest: &mut HashMap<String, (u32, u64)>, update: &Update) -> bool {
    match update {
        Update::Tick(update) => {
            let Some(tick) = update.tick.as_ref().filter(|tick| !tick.backfilled) else { return true };
            let Some(sequence) = tick.sequence else { return true };
            let place = (tick.run, sequence);
            if newest.get(&tick.product).is_some_and(|newest| place <= *newest) {
                return false;
            }
            newest.insert(tick.product.clone(), place);
        }
        Update::Snapshot(update) => {
            let Some(snapshot) = &update.snapshot else { return true };
            match snapshot.sequence {
                Some(sequence) => newest.insert(snapshot.product.clone(), (snapshot.run, sequence)),
                None => newest.remove(&snapshot.product),
            };
        }
        Update::Event(_) => {}
    }
    true
}

/// The same request will be refused again.
fn is_final(error: &Error) -> bool {
    error.is_request_at_fault() || error.is_unauthorized()
}

fn reason(error: &Error) -> String {
    ErrorChain(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_repeats_is_dropped_and_a_snapshot_begins_anew() {
        let tick = |run, sequence| {
            let tick =
                v1::Tick { product: "BTC-USD".into(), run, sequence: Some(sequence), ..v1::Tick::default() };
            Update::Tick(v1::TickUpdate { tick: Some(tick), ..v1::TickUpdate::default() })
        };
        let snapshot = |sequence| {
            let product = "BTC-USD".to_owned();
            let snapshot =
                v1::Snapshot { product, run: 0, sequence: Some(sequence), ..v1::Snapshot::default() };
            Update::Snapshot(v1::SnapshotUpdate { snapshot: Some(snapshot), ..v1::SnapshotUpdate::default() })
        };
        let mut newest = HashMap::new();
        let updates = [
            tick(0, 5),
            tick(0, 6),
            tick(0, 5),
            tick(0, 6),
            tick(0, 7),
            tick(1, 1),
            tick(0, 8),
            snapshot(3),
            tick(0, 4),
        ];
        let new: Vec<bool> = updates.iter().map(|update| is_new(&mut newest, update)).collect();
        assert_eq!(new, [true, true, false, false, true, true, false, true, true]);
    }
}
