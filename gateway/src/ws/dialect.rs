//! In which form a client is spoken to, and the frames of that form.

use live::{Delivery, Encoding, Ended, Event, LiveTick};

use proto::v1::StreamEventKind;
use runtime::ErrorChain;

use super::{
    frame::{self, Numbers},
    wire::Frame,
};
use crate::grpc::stream;

/// The subprotocol of protobuf frames.
pub(crate) const PROTOBUF: &str = "ledgerflux.v1.proto";
/// The subprotocol of JSON, which is also spoken without one.
pub(crate) const JSON: &str = "ledgerflux.v1.json";

/// In which form a client is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// JSON text.
    Json(Numbers),
    /// `SubscribeResponse`, binary. Requests other than `SubscribeRequest`, and the answers to them, are JSON text.
    Protobuf,
}

impl Dialect {
    /// The frames of a delivery, in order; none for an event that the client did not ask for. That of a tick is made once
    /// and shared by all who receive it.
    pub(super) fn encode(self, delivery: &Delivery, wants_events: bool, mut push: impl FnMut(Frame)) {
        match (self, delivery) {
            (_, Delivery::Tick { tick, skipped: 0 }) => push(self.tick(tick)),
            (Self::Json(_), Delivery::Tick { tick, skipped }) => {
                let text = String::from_utf8_lossy(self.tick(tick).payload()).into_owned();
                push(Frame::text(&frame::with_skipped(&text, *skipped)));
            }
            (Self::Json(numbers), Delivery::Snapshot { snapshot, skipped: 0, token }) => {
                push(Frame::text(&frame::snapshot(snapshot, token, numbers)));
            }
            (Self::Json(numbers), Delivery::Snapshot { snapshot, skipped, token }) => {
                let text = frame::snapshot(snapshot, token, numbers);
                push(Frame::text(&frame::with_skipped(&text, *skipped)));
            }
            (Self::Json(_), Delivery::Event(Event::RateLimited { retry })) => {
                push(Frame::text(&frame::rate_limit(retry.as_millis().max(1))));
            }
            (Self::Json(numbers), Delivery::Event(event)) if wants_events => {
                push(Frame::text(&event_text(event, numbers)));
            }
            (Self::Json(_), Delivery::Event(_)) => {}
            (Self::Protobuf, delivery) => {
                stream::encode(delivery).iter().for_each(|message| push(Frame::binary(message)));
            }
        }
    }

    fn tick(self, tick: &LiveTick) -> Frame {
        let encoding = match self {
            Self::Json(Numbers::Number) => Encoding::JsonNumbers,
            Self::Json(Numbers::Text) => Encoding::JsonStrings,
            Self::Protobuf => Encoding::ProtobufFrames,
        };
        let encode = |tick: &LiveTick| match self {
            Self::Json(numbers) => Frame::text(&frame::incr(tick.tick(), &tick.token(), numbers)),
            Self::Protobuf => Frame::binary(&stream::tick_frame(tick, 0)),
        };
        Frame(tick.frame(encoding, |tick| encode(tick).0))
    }

    /// The server ends the connection; whoever resumes with the token loses nothing.
    pub(super) fn closing(self, why: &str, token: Option<&str>) -> Frame {
        match self {
            Self::Json(_) => {
                let members = [("detail", why.into()), ("token", token.into())];
                Frame::text(&frame::event("closing", None, members))
            }
            Self::Protobuf => Frame::binary(&stream::event(StreamEventKind::Closing, None, |event| {
                event.resume_token = token.unwrap_or_default().into();
                event.detail = why.into();
            })),
        }
    }

    /// The subscription has ended by itself.
    pub(super) fn ended(self, ended: &Ended, token: Option<&str>) -> Frame {
        let (name, kind) = match ended {
            Ended::FellBehind { .. } => ("lagged", StreamEventKind::Lagged),
            Ended::Interrupted { .. } => ("not_recovered", StreamEventKind::NotRecovered),
        };
        match self {
            Self::Json(_) => {
                let members = [("detail", ErrorChain(ended).to_string().into()), ("token", token.into())];
                Frame::text(&frame::event(name, Some(ended.instrument()), members))
            }
            Self::Protobuf => Frame::binary(&stream::event(kind, Some(ended.instrument()), |event| {
                event.resume_token = token.unwrap_or_default().into();
                event.detail = ErrorChain(ended).to_string();
            })),
        }
    }
}

fn event_text(event: &Event, numbers: Numbers) -> String {
    match event {
        Event::Live => frame::event("live", None, []),
        Event::Checkpoint { token } => {
            let token = Some(token.as_str()).filter(|token| !token.is_empty());
            frame::event("checkpoint", None, [("token", token.into())])
        }
        Event::NotRecovered { instrument, reason, .. } => frame::event(
            "not_recovered",
            Some(instrument),
            [("detail", ErrorChain(reason).to_string().into())],
        ),
        Event::Feed(event) => frame::feed_event(event, numbers),
        Event::EventsSkipped(count) => frame::event("events_skipped", None, [("count", (*count).into())]),
        // Said in a frame of its own kind, as the original protocol does, whether events are wanted or not.
        Event::RateLimited { retry } => frame::rate_limit(retry.as_millis().max(1)),
    }
}
