//! What a session does with requests.

use std::mem;

use domain::Instrument;
use live::{Ended, Policy, Products, Start, Subscription};
use prost::Message as _;
use proto::v1::SubscribeRequest;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    dialect::Dialect,
    end::End,
    frame,
    refusal::{Code, Refusal},
    request::{Request, Selection, Subscribe, Want},
    session::Session,
    wire::Frame,
};
use crate::grpc::subscribe::Plan;

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Does what the client asks for; snapshots come with the next batch.
    pub(super) fn obey(&mut self, text: &str) -> Result<Option<Frame>, Refusal> {
        match Request::parse(text)? {
            Request::Ping(t) => return Ok(Some(Frame::text(&frame::pong(&t)))),
            Request::Auth => return self.admitted.greet_again().map(Some),
            Request::Subscribe(subscribe) => self.subscribe(self.admitted.narrowed(subscribe)?)?,
            Request::Unsubscribe(Selection::All) => {
                self.is_of_all = false;
                self.subscription.remove_all();
            }
            Request::Unsubscribe(Selection::These(instruments)) => {
                for instrument in &instruments {
                    self.subscription.remove(instrument);
                }
            }
        }
        Ok(None)
    }

    /// A `SubscribeRequest`, from a client that speaks protobuf.
    pub(super) fn obey_binary(&mut self, bytes: &[u8]) -> Result<Result<Option<Frame>, Refusal>, End> {
        if self.dialect != Dialect::Protobuf {
            return Err(End::Binary);
        }
        let refuse = |why: String| Refusal::new(Code::SubscribeError, why);
        let subscribed = SubscribeRequest::decode(bytes)
            .map_err(|error| refuse(format!("not a SubscribeRequest: {error}")))
            .and_then(|request| {
                let plan =
                    Plan::new(&request, &self.config).map_err(|status| refuse(status.message().into()))?;
                self.plan(&self.admitted.narrowed_plan(plan, &self.config)?)
            });
        Ok(subscribed.map(|()| None))
    }

    fn plan(&mut self, plan: &Plan) -> Result<(), Refusal> {
        match &plan.products {
            Products::All => {}
            Products::These(instruments) => self.check_room(instruments.iter())?,
        }
        self.set_policy(plan.policy)?;
        self.is_of_all |= plan.products == Products::All;
        plan.apply(&mut self.subscription);
        Ok(())
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Refusal> {
        let Subscribe { selection, start, want_events, want, from_seq } = subscribe;
        match &selection {
            Selection::All => {}
            Selection::These(instruments) => self.check_room(instruments.iter())?,
        }
        if let Some(want) = want {
            self.set_policy(self.policy_of(want))?;
        }
        // Whoever asks for the past, or for a policy, could not make sense of what follows without them.
        let needs_events =
            want.is_some() || !from_seq.is_empty() || matches!(start, Start::Token(_) | Start::Time(_));
        if want_events.unwrap_or(needs_events) && !self.wants_events {
            self.set_wants_events();
        }
        self.add(selection, |instrument| {
            instrument
                .and_then(|instrument| from_seq.get(instrument))
                .map_or_else(|| start.clone(), |sequence| Start::Sequence(*sequence))
        });
        Ok(())
    }

    fn add(&mut self, selection: Selection, start: impl Fn(Option<&Instrument>) -> Start) {
        match selection {
            Selection::All => {
                self.is_of_all = true;
                self.subscription.add_all(&start(None));
            }
            Selection::These(instruments) => {
                for instrument in instruments {
                    let start = start(Some(&instrument));
                    self.subscription.add(instrument, &start);
                }
            }
        }
    }

    fn policy_of(&self, want: Want) -> Policy {
        match (want, self.admitted.policy(self.config.conflate())) {
            (Want::Lossless, _) | (_, Policy::Lossless) => Policy::Lossless,
            (Want::Conflate, conflate) => conflate,
            (Want::Interval(interval), Policy::Conflate { behind_max, rate, .. }) => {
                Policy::Conflate { behind_max, rate, interval: Some(interval) }
            }
        }
    }

    /// One policy for each connection: what was given already was given under it.
    fn set_policy(&mut self, policy: Policy) -> Result<(), Refusal> {
        if policy == self.policy {
            return Ok(());
        }
        if self.is_subscribed() {
            let message =
                "want is another than before: a connection has one policy, leave its products first";
            return Err(Refusal::new(Code::SubscribeError, message));
        }
        self.policy = policy;
        self.subscription = Subscription::idle(&self.feed, policy);
        if self.wants_events {
            self.set_wants_events();
        }
        Ok(())
    }

    /// From now on the client is told of events, and given checkpoints.
    pub(super) fn set_wants_events(&mut self) {
        self.wants_events = true;
        let placeholder = Subscription::idle(&self.feed, self.policy);
        self.subscription = mem::replace(&mut self.subscription, placeholder).with_checkpoints();
    }

    fn check_room<'a>(&self, asked: impl Iterator<Item = &'a Instrument>) -> Result<(), Refusal> {
        let new = asked.filter(|instrument| !self.subscription.contains(instrument)).count();
        let (have, max) =
            (self.subscription.products(), self.admitted.products_max(self.config.products_max));
        if new > 0 && have + new > max {
            let message = format!("{} products are too many: a connection may have {max}", have + new);
            return Err(Refusal::new(Code::SubscribeError, message));
        }
        Ok(())
    }

    /// The last frame before the close, with what the client needs to go on elsewhere. What was read before is sent before
    /// it, so that the token leaves nothing out.
    pub(super) fn farewell(&mut self, end: End, ended: Option<&Ended>) {
        let token = match end {
            End::Quota => self.unsent_from.take(),
            _ => self.subscription.token(),
        };
        let told = match (end, ended) {
            (End::Restart | End::Access(_) | End::Quota, _) if self.wants_events => {
                let reason = end.close().map(|close| close.reason.to_string()).unwrap_or_default();
                self.dialect.closing(&reason, token.as_deref())
            }
            (_, Some(ended)) => self.dialect.ended(ended, token.as_deref()),
            _ => return,
        };
        self.wire.push(told);
    }
}
