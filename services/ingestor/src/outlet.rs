//! Where a connection hands over what it reads: to the bus; or, for a recording, to whoever records.

use bus::{Bus, RawPublisher};
use bytes::Bytes;
use domain::{FeedSession, Heartbeat, Instrument, Tick, UnixNanos};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// What the feed brought, for whoever records it. Connections are numbered from 1; one that ended is followed by another
/// of the same number.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A connection was made.
    Opened {
        /// Its number.
        connection: usize,
        /// Which one it is, and when it was made.
        session: FeedSession,
    },
    /// A frame arrived. What it brought follows it.
    Frame {
        /// The connection.
        connection: usize,
        /// When it arrived, by our clock.
        received: UnixNanos,
        /// Its bytes, untouched; at most 8 MiB.
        bytes: Bytes,
        /// Whether it came as binary, rather than as text.
        is_binary: bool,
    },
    /// The last frame brought a tick.
    Tick {
        /// The connection.
        connection: usize,
        /// The tick, not validated.
        tick: Box<Tick>,
    },
    /// Trades that the exchange told of by heartbeats have not come.
    Overdue {
        /// The connection.
        connection: usize,
        /// Of what.
        instrument: Instrument,
        /// How far the trades have come.
        heartbeat: Heartbeat,
    },
    /// A connection ended.
    Closed {
        /// Its number.
        connection: usize,
        /// When.
        time: UnixNanos,
        /// Why.
        why: String,
    },
}

/// Nobody takes what is read any more.
#[derive(Clone, Copy, Debug, Error)]
#[error("nobody takes what is read any more")]
pub(crate) struct NobodyListens;

/// Where all connections hand over what they read.
#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Bus(Bus),
    Recorder(mpsc::Sender<Heard>),
}

impl Sink {
    /// For a connection that has just been made.
    pub(crate) async fn open(&self, connection: usize, session: FeedSession) -> Outlet {
        match self {
            Self::Bus(bus) => Outlet::Bus(bus.raw_publisher(session)),
            Self::Recorder(heard) => {
                let recorder = Recorder { connection, heard: heard.clone() };
                // Should nobody listen, the first frame says so.
                let _ = recorder.tell(Heard::Opened { connection, session }).await;
                Outlet::Recorder(recorder)
            }
        }
    }
}

/// Where one connection hands over what it reads. Each call waits while there is no room.
pub(crate) enum Outlet {
    Bus(RawPublisher),
    Recorder(Recorder),
}

impl Outlet {
    /// A frame, before anybody looks at it. The bus does not want it.
    pub(crate) async fn frame(&self, message: &Message, received: UnixNanos) -> Result<(), NobodyListens> {
        let Self::Recorder(recorder) = self else { return Ok(()) };
        let (bytes, is_binary) = match message {
            Message::Text(text) => (Bytes::from(text.clone()), false),
            Message::Binary(bytes) => (bytes.clone(), true),
            _ => return Ok(()),
        };
        let connection = recorder.connection;
        recorder.tell(Heard::Frame { connection, received, bytes, is_binary }).await
    }

    pub(crate) async fn tick(&self, tick: Tick) -> Result<(), NobodyListens> {
        match self {
            Self::Bus(publisher) => publisher.send(tick).await.map_err(|_| NobodyListens),
            Self::Recorder(recorder) => {
                let connection = recorder.connection;
                recorder.tell(Heard::Tick { connection, tick: Box::new(tick) }).await
            }
        }
    }

    pub(crate) async fn overdue(
        &self,
        instrument: Instrument,
        heartbeat: Heartbeat,
    ) -> Result<(), NobodyListens> {
        match self {
            Self::Bus(publisher) => {
                publisher.send_heartbeat(instrument, heartbeat).await.map_err(|_| NobodyListens)
            }
            Self::Recorder(recorder) => {
                let connection = recorder.connection;
                recorder.tell(Heard::Overdue { connection, instrument, heartbeat }).await
            }
        }
    }

    /// The connection has ended. Returns when everything that was handed over is taken.
    pub(crate) async fn close(self, why: String) {
        match self {
            Self::Bus(publisher) => publisher.close().await,
            Self::Recorder(recorder) => {
                let (connection, time) = (recorder.connection, UnixNanos::now());
                // Should nobody listen, nobody misses it.
                let _ = recorder.tell(Heard::Closed { connection, time, why }).await;
            }
        }
    }
}

pub(crate) struct Recorder {
    connection: usize,
    heard: mpsc::Sender<Heard>,
}

impl Recorder {
    async fn tell(&self, heard: Heard) -> Result<(), NobodyListens> {
        self.heard.send(heard).await.map_err(|_| NobodyListens)
    }
}
