//! Who a WebSocket client is, and what it may therefore ask for.
//!
//! A program shows its key or token in a header. A browser can set none: it offers it as a subprotocol, or sends it as its
//! first message, `{"op":"auth","token":"…"}`.

use std::time::Instant;

use futures::{SinkExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, header};
use live::Policy;
use metrics::counter;
use runtime::config::Secret;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    refusal::{Code, Refusal},
    request::{Selection, Subscribe},
    upgrade::Sessions,
};
use crate::{
    access::{Caller, Ended, Refused, Seat},
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
    /// When the time of the caller is over.
    pub(super) ended: BoxFuture<'static, Ended>,
    _seat: Seat,
}

/// Whether the client offers to speak this subprotocol.
pub(super) fn offers(headers: &HeaderMap, subprotocol: &str) -> bool {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|offered| offered.trim() == subprotocol))
}

/// Finds out who the client is, waiting for its first message if need be, and gives it one of the connections that its key
/// allows; or says how it is turned away.
pub(super) async fn admit<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    sessions: &Sessions,
    shown: Shown,
) -> Result<Admitted, CloseFrame> {
    let caller = match shown {
        Shown::Caller(caller) => caller,
        Shown::Token(token) => check(sessions, Some(&token))?,
        Shown::Nothing => {
            let waited = timeout(sessions.guard.auth_timeout(), first_message(socket));
            let caller = match sessions.shutdown.run_until(waited).await {
                Some(Ok(token)) => check(sessions, token.as_ref())?,
                Some(Err(_)) => check(sessions, None)?,
                None => return Err(close(CloseCode::Restart, "the server restarts, connect again")),
            };
            let name = serde_json::Value::from(caller.name());
            let answer = Message::text(format!(r#"{{"op":"auth","name":{name}}}"#));
            // A client that does not take it is found out by its session.
            drop(timeout(sessions.guard.auth_timeout(), socket.send(answer)).await);
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
async fn first_message<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Option<Secret> {
    #[derive(Deserialize)]
    struct Auth {
        #[serde(alias = "operation")]
        op: String,
        token: String,
    }
    loop {
        match socket.next().await {
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
        Self { ended: Box::pin(caller.clone().ended()), caller, _seat: seat }
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
        let refuse = |message: String| Err(Refusal::new(Code::SubscribeError, message));
        if let Err(wait) = self.caller.charge_call(Instant::now()) {
            counter!(names::QUOTA_REFUSED, "quota" => "calls").increment(1);
            return refuse(format!("the quota of calls is used up for {} ms", wait.as_millis().max(1)));
        }
        subscribe.selection = match (subscribe.selection, self.caller.only()) {
            (selection, None) => selection,
            (Selection::All, Some(only)) => Selection::These(only.clone()),
            (Selection::These(these), Some(_)) => {
                if let Some(other) = these.iter().find(|instrument| !self.caller.allows(instrument)) {
                    return refuse(format!("the key or token does not allow {other}"));
                }
                Selection::These(these)
            }
        };
        Ok(subscribe)
    }
}
