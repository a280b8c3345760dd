//! The way from the feed to the clients: what everyone gets, what the faults make of it, and the ground truth of both.

mod deeds;
pub(crate) mod spoil;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use runtime::Shutdown;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use venues::coinbase::rest::RestTrade;

use crate::Config;
use crate::client::Client;
use crate::exchange::Exchange;
use crate::faults::script::{Treated, Treatment};
use crate::metrics::{KEPT_BACK, TICKERS};
use crate::truth::{Record, Truth};
use waiting::{Held, Place, Waiting};

/// Sends to the clients what the feed has, and writes the truth about it.
#[derive(Debug)]
pub(crate) struct Outlet {
    exchange: Arc<Exchange>,
    truth: Truth,
    /// How long a client without room is waited for.
    patience: Duration,
    courses: BTreeMap<String, Course>,
    waiting: Waiting,
    /// How many of the newest tickers of each product are kept to be repeated.
    recent_max: usize,
    recipients: Vec<Arc<Client>>,
    /// Once it is requested, no client is waited for.
    shutdown: Shutdown,
    /// Messages queued so far.
    pub(crate) queued: u64,
}

/// What is remembered of one product.
#[derive(Debug, Default)]
struct Course {
    newest: Option<Message>,
    /// The record of the newest ticker, while nobody was sent it.
    unsent: Option<Record>,
    /// The fault that ended the connections; everything until the next one is missing because of it.
    cut_by: Option<Arc<str>>,
    /// The newest tickers that were sent.
    recent: VecDeque<Message>,
}

/// Sequences that begin anew: of these products, at this number.
pub(crate) type SequenceReset = (Option<BTreeSet<String>>, u64);

impl Outlet {
    pub(crate) fn new(exchange: Arc<Exchange>, truth: Truth, config: &Config, shutdown: Shutdown) -> Self {
        let courses =
            exchange.clients.products().map(|product| (product.clone(), Course::default())).collect();
        Self {
            exchange,
            truth,
            patience: config.patience(),
            courses,
            waiting: Waiting::default(),
            recent_max: config.faults.repeated_max(),
            recipients: Vec::new(),
            shutdown,
            queued: 0,
        }
    }

    /// A trade from before the exchange opened.
    pub(crate) fn opening(&mut self, product: &str, ticker: Message, trade: RestTrade) {
        self.record_trade(product, trade);
        if let Some(course) = self.courses.get_mut(product) {
            course.unsent = Some(Record::new(ticker.clone()));
            course.newest = Some(ticker);
        }
    }

    /// Puts the trade where REST finds it, unless a fault keeps it from there.
    pub(crate) fn record_trade(&self, product: &str, trade: RestTrade) {
        if !self.exchange.faults.is_gone(product) {
            self.exchange.rest.tape.record(product, trade);
        }
    }

    /// Sends a ticker to who subscribed to the product on `channel`, or on any.
    pub(crate) async fn ticker(&mut self, product: &str, channel: Option<&str>, ticker: Message) {
        let mut recipients = self.recipients(channel, Some(product));
        let mut record = Record::new(ticker.clone());
        let mut late: Vec<(Place, Vec<Arc<Client>>)> = Vec::new();
        if recipients.is_empty() {
            record.kept_by = self.absence(product);
        } else {
            let treated = self.exchange.faults.on_ticker(product);
            let count = recipients.len();
            for (index, client) in recipients.iter().enumerate() {
                let treated = treated.iter().find(|treated| treated.connection.hits(index, count));
                if let Some(place) = self.send(client, product, &ticker, treated, &mut record).await {
                    match late.iter_mut().find(|(other, _)| *other == place) {
                        Some((_, clients)) => clients.push(Arc::clone(client)),
                        None => late.push((place, vec![Arc::clone(client)])),
                    }
                }
            }
        }
        recipients.clear();
        self.recipients = recipients;
        let course = self.courses.get_mut(product);
        let former = course.and_then(|course| {
            course.newest = Some(ticker.clone());
            course.unsent.take()
        });
        if let Some(former) = former {
            self.write(former).await;
        }
        self.settle_or_hold(product, ticker, record, late).await;
        self.exchange.faults.count_ticker(product);
    }

    /// Sends any other message to who subscribed to its product, or to everyone who subscribed when it has none.
    pub(crate) async fn other(&mut self, channel: Option<&str>, product: Option<&str>, message: &Message) {
        let recipients = self.recipients(channel, product);
        let mutes = product.map_or_else(Vec::new, |product| self.exchange.faults.mutes(product));
        for (index, client) in recipients.iter().enumerate() {
            if !mutes.iter().any(|(_, connection)| connection.hits(index, recipients.len())) {
                self.deliver(client, message).await;
            }
        }
        self.recipients = recipients;
    }

    /// Each new subscriber to `ticker` gets the last trade of the product at once, as on the exchange.
    pub(crate) async fn greet(&mut self) {
        for (client, channel, product) in self.exchange.clients.take_fresh() {
            if channel != "ticker" || self.exchange.faults.keeps_greeting(&product) {
                continue;
            }
            let Some(newest) = self.courses.get(&product).and_then(|course| course.newest.clone()) else {
                continue;
            };
            if !self.deliver(&client, &newest).await {
                continue;
            }
            if let Some(mut record) = self.courses.get_mut(&product).and_then(|course| course.unsent.take()) {
                record.sent = true;
                self.write(record).await;
            } else if let Some(record) = self.waiting.record_of(&product, &newest) {
                // It is late for others, who may be gone before it is due.
                record.sent = true;
            }
        }
    }

    /// Ends when there is something to do; see [`Outlet::act`].
    pub(crate) async fn due(&self) {
        match [self.exchange.faults.next(), self.waiting.next()].into_iter().flatten().min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Does what the faults want done by now, and sends what was held back until now. Returns what the market has to do.
    pub(crate) async fn act(&mut self) -> Vec<SequenceReset> {
        let mut resets = Vec::new();
        if self.exchange.faults.are_none() {
            return resets;
        }
        for happening in self.exchange.faults.happenings() {
            resets.extend(self.happen(happening).await);
        }
        for held in self.waiting.due(Instant::now()) {
            self.release(held).await;
        }
        resets
    }

    /// Sends what is held back, and completes the truth.
    pub(crate) async fn close(mut self) {
        for held in self.waiting.drain() {
            self.release(held).await;
        }
        for course in std::mem::take(&mut self.courses).into_values() {
            if let Some(unsent) = course.unsent {
                self.write(unsent).await;
            }
        }
        self.truth.close().await;
    }

    /// Who is to get a message, without those whose connection is about to end.
    fn recipients(&mut self, channel: Option<&str>, product: Option<&str>) -> Vec<Arc<Client>> {
        let mut recipients = std::mem::take(&mut self.recipients);
        self.exchange.clients.recipients(channel, product, &mut recipients);
        recipients.retain(|client| !client.ended.is_cancelled());
        recipients
    }

    /// Sends one ticker to one client. Says where it has to wait if it is late.
    async fn send(
        &mut self,
        client: &Arc<Client>,
        product: &str,
        ticker: &Message,
        treated: Option<&Treated>,
        record: &mut Record,
    ) -> Option<Place> {
        if let Some(stall) = client.stalled() {
            record.keep_back(stall.fault);
            return None;
        }
        let now = Instant::now();
        // What follows a ticker that is late waits behind it.
        let behind = self.waiting.behind(client.id, product, now);
        let fault = treated.map(|treated| Arc::clone(&treated.fault));
        match treated.map(|treated| treated.treatment) {
            Some(Treatment::Lose) => record.kept_by = record.kept_by.take().or(fault),
            Some(Treatment::Corrupt { how, seed }) => {
                record.kept_by = record.kept_by.take().or(fault);
                let sent = self.deliver(client, &spoil::corrupted(ticker, how, seed)).await;
                record.faulty |=
                    sent && ticker.to_text().is_ok_and(|text| spoil::faulty(text, how).is_some());
            }
            Some(Treatment::Delay(by)) => {
                return Some(Place::Until(behind.map_or(now + by, |behind| behind.max(now + by))));
            }
            Some(Treatment::Gather { window, index, seed }) => {
                return Some(Place::With { window, index, seed });
            }
            Some(Treatment::Twice) | None if behind.is_some() => return behind.map(Place::Until),
            Some(Treatment::Twice) => {
                record.sent |= self.deliver(client, ticker).await;
                self.deliver(client, ticker).await;
            }
            None => record.sent |= self.deliver(client, ticker).await,
        }
        None
    }

    /// The record is settled at once, or travels with the ticker when nobody else has got it yet.
    async fn settle_or_hold(
        &mut self,
        product: &str,
        ticker: Message,
        record: Record,
        late: Vec<(Place, Vec<Arc<Client>>)>,
    ) {
        if record.sent {
            self.remember(product, &ticker);
        }
        let travels = !record.sent && !late.is_empty();
        let mut record = Some(record);
        if !travels && let Some(record) = record.take() {
            self.settle(product, record).await;
        }
        for (place, clients) in late {
            let held =
                Held { product: product.to_owned(), ticker: ticker.clone(), clients, record: record.take() };
            for held in self.waiting.hold(place, held, Instant::now()) {
                self.release(held).await;
            }
        }
    }

    async fn release(&mut self, held: Held) {
        let mut sent = false;
        for client in &held.clients {
            sent |= self.deliver(client, &held.ticker).await;
        }
        if let Some(mut record) = held.record {
            if sent {
                self.remember(&held.product, &held.ticker);
            }
            record.sent |= sent;
            self.settle(&held.product, record).await;
        }
    }

    async fn deliver(&mut self, client: &Client, message: &Message) -> bool {
        let queued = self.deliver_patiently(client, message, self.patience).await;
        self.queued = self.queued.wrapping_add(u64::from(queued));
        queued
    }

    async fn deliver_patiently(&self, client: &Client, message: &Message, patience: Duration) -> bool {
        tokio::select! {
            biased;
            queued = client.deliver(message.clone(), patience) => queued,
            () = self.shutdown.requested() => false,
        }
    }

    fn remember(&mut self, product: &str, ticker: &Message) {
        let Some(course) = self.courses.get_mut(product) else {
            return;
        };
        course.cut_by = None;
        if self.recent_max > 0 {
            course.recent.push_back(ticker.clone());
            while course.recent.len() > self.recent_max {
                course.recent.pop_front();
            }
        }
    }

    /// Writes the record down. One that nobody was sent waits: while its ticker is the newest, who subscribes gets it.
    async fn settle(&mut self, product: &str, record: Record) {
        counter!(KEPT_BACK).increment(u64::from(record.kept_by.is_some()));
        let course = self.courses.get_mut(product);
        match course.filter(|course| !record.sent && course.newest.as_ref() == Some(&record.ticker)) {
            Some(course) => course.unsent = Some(record),
            None => self.write(record).await,
        }
    }

    async fn write(&self, record: Record) {
        counter!(TICKERS).increment(u64::from(record.sent));
        self.truth.trade(record).await;
    }

    /// The fault that leaves nobody to send a ticker of `product` to.
    fn absence(&self, product: &str) -> Option<Arc<str>> {
        let faults = &self.exchange.faults;
        let cut_by = self.courses.get(product).and_then(|course| course.cut_by.clone());
        cut_by.or_else(|| faults.outage()).or_else(|| faults.refuses(product).map(|(fault, _)| fault))
    }
}
