//! Messages as the client library has them, and as ours.

use std::sync::Arc;

use async_nats::{HeaderMap, jetstream::message::StreamMessage};

use crate::{broker::Stored, headers::Headers};

pub(super) fn to_wire(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        map.insert(name, value);
    }
    map
}

fn from_wire(map: Option<&HeaderMap>) -> Headers {
    let mut headers = Headers::default();
    for (name, values) in map.into_iter().flat_map(HeaderMap::iter) {
        if let Some(value) = values.first() {
            headers.set(name.as_ref(), value.as_str());
        }
    }
    headers
}

pub(super) fn from_stream(message: StreamMessage) -> Stored {
    Stored {
        subject: message.subject.as_str().into(),
        sequence: message.sequence,
        headers: Arc::new(from_wire(Some(&message.headers))),
        payload: message.payload,
    }
}

pub(super) fn from_delivery(message: async_nats::Message, sequence: u64) -> Stored {
    Stored {
        subject: message.subject.as_str().into(),
        sequence,
        headers: Arc::new(from_wire(message.headers.as_ref())),
        payload: message.payload,
    }
}
