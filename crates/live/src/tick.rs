//! A tick with the frames that subscribers receive.

use std::sync::OnceLock;

use bytes::Bytes;
use domain::{Position, Tick};

use crate::{Token, epoch::EpochCell};

/// How a frame is encoded. What the bytes are is up to the transport that fills them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, with prices and sizes as numbers.
    JsonNumbers,
    /// JSON, with prices, sizes and times as strings.
    JsonStrings,
    /// Protobuf.
    Protobuf,
    /// Protobuf in frames of WebSocket.
    ProtobufFrames,
}

const ENCODINGS: usize = 4;
/// What the frames of a tick weigh once they are encoded, roughly: two times JSON of 600 bytes and protobuf of 200.
const FRAMES_BYTES: usize = 1_600;

/// A tick of the live feed, shared by all who receive it.
#[derive(Debug)]
pub struct LiveTick {
    tick: Tick,
    position: Position,
    stream_sequence: Option<u64>,
    epoch: EpochCell,
    frames: [OnceLock<Bytes>; ENCODINGS],
}

impl LiveTick {
    /// `None` for a tick that has no position: what was fetched afterwards is no part of the live feed.
    pub(crate) fn new(tick: Tick, stream_sequence: Option<u64>, epoch: EpochCell) -> Option<Self> {
        let position = tick.position()?;
        Some(Self { tick, position, stream_sequence, epoch, frames: Default::default() })
    }

    /// The tick.
    pub fn tick(&self) -> &Tick {
        &self.tick
    }

    /// Where it stands in the feed of its product.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The message of `LF_TICKS` that brought it; `None` when it was read from history.
    pub fn stream_sequence(&self) -> Option<u64> {
        self.stream_sequence
    }

    /// Resumes the product after this tick, with [`crate::Start::Token`]; empty while it is not known which history this is.
    /// The same for every subscriber.
    pub fn token(&self) -> String {
        let epoch = self.epoch.get();
        epoch.map(|epoch| Token::text_of(*epoch, &self.tick.instrument, self.position)).unwrap_or_default()
    }

    /// The frame in `encoding`: made by `encode` on the first call, shared afterwards.
    pub fn frame(&self, encoding: Encoding, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        let slot = match encoding {
            Encoding::JsonNumbers => &self.frames[0],
            Encoding::JsonStrings => &self.frames[1],
            Encoding::Protobuf => &self.frames[2],
            Encoding::ProtobufFrames => &self.frames[3],
        };
        slot.get_or_init(|| encode(self)).clone()
    }

    /// What it weighs in the ring; the same for every tick, so that an encoding that is made later changes nothing.
    pub(crate) const fn bytes() -> usize {
        size_of::<Self>() + FRAMES_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::samples::tick;

    #[test]
    fn a_frame_is_encoded_once() {
        let live = LiveTick::new(tick("BTC-USD", 0, 7), Some(1), EpochCell::default()).unwrap();
        let mut made = 0;
        for _ in 0..3 {
            let frame = live.frame(Encoding::JsonNumbers, |live| {
                made += 1;
                Bytes::from(format!("{:?}", live.tick().sequence))
            });
            assert_eq!(frame, "Some(7)");
        }
        assert_eq!(made, 1);
        assert_eq!(live.frame(Encoding::Protobuf, |_| Bytes::from_static(b"p")), "p");
    }

    #[test]
    fn a_backfilled_tick_is_not_live() {
        let mut fetched = tick("BTC-USD", 0, 7);
        fetched.sequence = None;
        assert!(LiveTick::new(fetched, Some(1), EpochCell::default()).is_none());
    }
}
