//! A tick with the frames that subscribers receive.

use std::sync::OnceLock;

use bytes::Bytes;
use domain::{Position, Tick};

/// How a frame is encoded. What the bytes are is up to the transport that fills them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, with prices and sizes as numbers.
    JsonNumbers,
    /// JSON, with prices, sizes and times as strings.
    JsonStrings,
    /// Protobuf.
    Protobuf,
}

const ENCODINGS: usize = 3;
/// What the frames of a tick weigh once they are encoded, roughly: two times JSON of 500 bytes and protobuf of 200.
const FRAMES_BYTES: usize = 1_200;

/// A tick of the live feed, shared by all who receive it.
#[derive(Debug)]
pub struct LiveTick {
    tick: Tick,
    position: Position,
    stream_sequence: u64,
    frames: [OnceLock<Bytes>; ENCODINGS],
}

impl LiveTick {
    /// `None` for a tick that has no position: what was fetched afterwards is no part of the live feed.
    pub(crate) fn new(tick: Tick, stream_sequence: u64) -> Option<Self> {
        let position = tick.position()?;
        Some(Self { tick, position, stream_sequence, frames: Default::default() })
    }

    /// The tick.
    pub fn tick(&self) -> &Tick {
        &self.tick
    }

    /// Where it stands in the feed of its product.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The message of `LF_TICKS` that brought it.
    pub fn stream_sequence(&self) -> u64 {
        self.stream_sequence
    }

    /// The frame in `encoding`: made by `encode` on the first call, shared afterwards.
    pub fn frame(&self, encoding: Encoding, encode: impl FnOnce(&Tick) -> Bytes) -> Bytes {
        let slot = match encoding {
            Encoding::JsonNumbers => &self.frames[0],
            Encoding::JsonStrings => &self.frames[1],
            Encoding::Protobuf => &self.frames[2],
        };
        slot.get_or_init(|| encode(&self.tick)).clone()
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
        let live = LiveTick::new(tick("BTC-USD", 0, 7), 1).unwrap();
        let mut made = 0;
        for _ in 0..3 {
            let frame = live.frame(Encoding::JsonNumbers, |tick| {
                made += 1;
                Bytes::from(format!("{:?}", tick.sequence))
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
        assert!(LiveTick::new(fetched, 1).is_none());
    }
}
