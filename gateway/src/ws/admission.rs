//! Who a WebSocket client is, and what it may therefore ask for.
//!
//! A program shows its key or token in a header. A browser can set none: it offers it as a subprotocol, or sends it as its
//! first message, `{"op":"auth","token":"…"}`.

use std::time::Instant;

use futures::future::{self, BoxFuture, FutureExt as _};
use http::Request;
use live::Policy;
use metrics::counter;
use runtime::config::Secret;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    frame,
    refusal::{Code, Refusal},
    request::{Selection, Subscribe},
    upgrade::Sessions,
    wire::{Frame, Wire},
};
use crate::{
    Config,
    access::{Caller, Ended, Meter, Refused, Seat, subprotocol_token},
    grpc::subscribe::Plan,
    metrics as names,
};

/// What came with the handshake.
pub(super) enum Shown {
    /// Good credentials in a header, or nobody is asked for any.
    Caller(Caller),
    /// Credentials that were not looked at yet.
    Token(Secret),
    Nothing,
}

/// A client that is let in.
pub(super) struct Admitted {
    caller: Caller,
    /// What its quota leaves of messages where none is left out.
    meter: Option<Meter>,
    _seat: Seat,
}

impl Shown {
    /// What the request has of credentials.
    pub(super) fn of<B>(request: &mut Request<B>) -> Self {
        match (request.extensions_mut().remove::<Caller>(), subprotocol_token(request.headers())) {
            (Some(caller), _) => Self::Caller(caller),
            (None, Some(token)) => Self::Token(Secret::new(token)),
            (None, None) => Self::Nothing,
        }
    }
}

/// Finds out who the client is, waiting for its first message if need be, and gives it one of the connections that its key
/// allows; or says how it is turned away.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    sessions: &Sessions,
    shown: Shown,
) -> Result<Admitted, CloseFrame> {
    let caller = match shown {
        Shown::Caller(caller) => caller,
        Shown::Token(token) => check(sessions, Some(&token))?,
        Shown::Nothing => {
            let waited = timeout(sessions.guard.auth_timeout(), first_message(wire));
            let caller = match sessions.shutdown.run_until(waited).await {
                Some(Ok(token)) => check(sessions, token.as_ref())?,
                Some(Err(_)) => check(sessions, None)?,
                None => return Err(close(CloseCode::Restart, "the server restarts, connect again")),
            };
            // It goes before everything that the session has to say.
            wire.push(Frame::text(&frame::auth(caller.name())));
            caller
        }
    };
    let seat = caller.sit_down().map_err(|max| {
        counter!(names::QUOTA_REFUSED, "quota" => "connections").increment(1);
        close(CloseCode::Again, &format!("the key or token allows {max} connections at a time"))
    })?;
    Ok(Admitted::new(caller, seat))
}

fn check(sessions: &Sessions, token: Option<&Secret>) -> Result<Caller, CloseFrame> {
    sessions.guard.check(token.map(Secret::reveal)).map_err(|refused| {
        counter!(names::AUTH_REFUSED, "reason" => refused.as_str()).increment(1);
        let reason = match refused {
            Refused::Missing => r#"the first message must be {"op":"auth","token":"…"}"#.to_owned(),
            Refused::Unknown => "nobody has this key".to_owned(),
            Refused::Expired => "the time of the key or token is over".to_owned(),
            Refused::Invalid(why) => format!("the key or token cannot be used: {why}"),
        };
        close(CloseCode::Policy, &reason)
    })
}

/// The credentials in the first message; `None` when it has none.
async fn first_message<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Auth {
        #[serde(alias = "operation")]
        op: String,
        token: String,
    }
    loop {
        match wire.next().await {
            Some(Ok(Message::Text(text))) => {
                let auth: Auth = serde_json::from_str(&text).ok()?;
                return (auth.op == "auth").then(|| Secret::new(auth.token));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

fn close(code: CloseCode, reason: &str) -> CloseFrame {
    CloseFrame { code, reason: reason.to_owned().into() }
}

impl Admitted {
    pub(super) fn new(caller: Caller, seat: Seat) -> Self {
        Self { meter: Meter::of(&caller), caller, _seat: seat }
    }

    /// The answer to credentials that come later. Where nobody is asked for any, a client that has some need not know.
    pub(super) fn greet_again(&self) -> Result<Frame, Refusal> {
        let name = self.caller.name();
        if self.caller.is_anybody() {
            return Ok(Frame::text(&frame::auth(name)));
        }
        let message = format!("auth comes first, and once: this connection is that of {name}");
        Err(Refusal::new(Code::InvalidOperation, message))
    }

    /// When the time of the caller is over, and why.
    pub(super) fn ended(&self) -> BoxFuture<'static, Ended> {
        if self.caller.is_anybody() {
            return future::pending().boxed();
        }
        self.caller.clone().ended().boxed()
    }

    /// Counts messages, and says whether they may be sent to a client that gets every one.
    pub(super) fn have_room(&mut self, messages: usize) -> bool {
        self.meter.as_mut().is_none_or(|meter| meter.have_room(messages))
    }

    /// Whether the next messages may be more than the quota allows.
    pub(super) fn is_low(&self) -> bool {
        self.meter.as_ref().is_some_and(Meter::is_low)
    }

    /// `policy` at the rate that the caller may be sent to.
    pub(super) fn policy(&self, mut policy: Policy) -> Policy {
        if let Policy::Conflate { rate: Some(rate), .. } = &mut policy {
            *rate = self.caller.rate(*rate);
        }
        policy
    }

    /// The most products that this connection may follow, at most `configured`.
    pub(super) fn products_max(&self, configured: usize) -> usize {
        self.caller.products_max(configured)
    }

    /// The same subscription within what the caller may see: `*` becomes what it may, and what it may not is refused.
    pub(super) fn narrowed(&self, mut subscribe: Subscribe) -> Result<Subscribe, Refusal> {
        self.charge()?;
        if let (Selection::All, None, Some(quota)) =
            (&subscribe.selection, self.caller.only(), self.caller.products_quota())
        {
            counter!(names::QUOTA_REFUSED, "quota" => "products").increment(1);
            let message = format!("name the products: the key or token allows {quota} on a connection");
            return Err(Refusal::new(Code::SubscribeError, message));
        }
        subscribe.selection = match (subscribe.selection, self.caller.only()) {
            (selection, None) => selection,
            (Selection::All, Some(only)) => Selection::These(only.clone()),
            (Selection::These(these), Some(_)) => {
                if let Some(other) = these.iter().find(|instrument| !self.caller.allows(instrument)) {
                    let message = format!("the key or token does not allow {other}");
                    return Err(Refusal::new(Code::SubscribeError, message));
                }
                Selection::These(these)
            }
        };
        Ok(subscribe)
    }

    /// [`Admitted::narrowed`] for a request in protobuf.
    pub(super) fn narrowed_plan(&self, plan: Plan, config: &Config) -> Result<Plan, Refusal> {
        self.charge()?;
        plan.limited_to(&self.caller, config)
            .map_err(|status| Refusal::new(Code::SubscribeError, status.message()))
    }

    /// A subscription is a call.
    fn charge(&self) -> Result<(), Refusal> {
        self.caller.charge_call(Instant::now()).map_err(|wait| {
            counter!(names::QUOTA_REFUSED, "quota" => "calls").increment(1);
            let message = format!("the quota of calls is used up for {} ms", wait.as_millis().max(1));
            Refusal::new(Code::SubscribeError, message)
        })
    }
}
