//! What is counted, read back within one thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// A name, and the values of its labels.
type Series = (String, Vec<String>);

/// Counters by name and values of labels, and how many values each histogram was given.
#[derive(Default)]
pub(crate) struct Counts(Mutex<BTreeMap<Series, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl Counts {
    /// Whatever the labels are.
    pub(crate) fn of(&self, name: &str) -> u64 {
        self.sum(|of, _| of == name)
    }

    /// Only what has this value for one of its labels.
    pub(crate) fn of_labelled(&self, name: &str, value: &str) -> u64 {
        self.sum(|of, labels| of == name && labels.iter().any(|label| label == value))
    }

    fn sum(&self, is_meant: impl Fn(&str, &[String]) -> bool) -> u64 {
        let counts = self.0.lock().unwrap();
        let meant = counts.iter().filter(|((name, labels), _)| is_meant(name, labels));
        meant.map(|(_, count)| count.0.load(Ordering::Relaxed)).sum()
    }

    fn count(&self, key: &Key) -> Arc<Count> {
        let labels = key.labels().map(|label| label.value().to_owned()).collect();
        Arc::clone(self.0.lock().unwrap().entry((key.name().to_owned(), labels)).or_default())
    }
}

impl metrics::CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl HistogramFn for Count {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.count(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.count(key))
    }
}
