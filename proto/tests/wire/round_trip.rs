//! Whatever the domain can say, the wire says exactly: values, absences, and the digits of numbers.

use domain::Tick;
use proptest::prelude::*;
use proto::{
    TICK_BYTES_MAX, decode_batch, decode_event, decode_reject, decode_snapshot, decode_status, encode_batch,
    encode_event, encode_reject, encode_snapshot, encode_status, tick_encoded_len, v1,
};

use crate::arbitrary;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ticks(tick in arbitrary::tick()) {
        let read = Tick::try_from(v1::Tick::from(&tick)).unwrap();
        prop_assert_eq!(&read, &tick);
        // Equal decimals may differ in their trailing zeros; these must not.
        prop_assert_eq!(format!("{read:?}"), format!("{tick:?}"));
        prop_assert!(tick_encoded_len(&tick) <= TICK_BYTES_MAX);
    }

    #[test]
    fn batches(batch in arbitrary::batch()) {
        let payload = encode_batch(&batch);
        let read = decode_batch(&payload).unwrap();
        prop_assert_eq!(encode_batch(&read), payload);
        prop_assert_eq!(read, batch);
    }

    #[test]
    fn snapshots(snapshot in arbitrary::snapshot()) {
        let payload = encode_snapshot(&snapshot);
        let read = decode_snapshot(&payload).unwrap();
        prop_assert_eq!(encode_snapshot(&read), payload);
        prop_assert_eq!(read, snapshot);
    }

    #[test]
    fn rejected_ticks(reject in arbitrary::reject()) {
        let payload = encode_reject(&reject);
        let read = decode_reject(&payload).unwrap();
        prop_assert_eq!(encode_reject(&read), payload);
        prop_assert_eq!(read, reject);
    }

    #[test]
    fn events(event in arbitrary::event()) {
        prop_assert_eq!(decode_event(&encode_event(&event)).unwrap(), event);
    }

    #[test]
    fn statuses(status in arbitrary::status()) {
        prop_assert_eq!(decode_status(&encode_status(&status)).unwrap(), status);
    }

    /// Bytes from anywhere are refused or read, and never a panic.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_batch(&bytes);
        let _ = decode_snapshot(&bytes);
        let _ = decode_reject(&bytes);
        let _ = decode_event(&bytes);
        let _ = decode_status(&bytes);
    }

    /// So are real messages with a byte changed or cut off.
    #[test]
    fn damaged_batches_are_survived(batch in arbitrary::batch(), at: usize, by in 1u8.., cut: bool) {
        let mut payload = encode_batch(&batch).to_vec();
        let at = at % payload.len();
        if cut { payload.truncate(at) } else { payload[at] = payload[at].wrapping_add(by) }
        if let Ok(read) = decode_batch(&payload) {
            prop_assert!(read.ticks.iter().all(|tick| tick.instrument == read.instrument));
        }
    }
}
