//! The headers of a message, and the trace context in them.

use domain::RefusedTrades;
use opentelemetry::{Context, global, propagation};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// What the payload is encoded as.
pub(crate) const CONTENT_TYPE: &str = "content-type";
/// Which message of the schema the payload is.
pub(crate) const SCHEMA: &str = "lf-schema";
/// Who wrote to a fenced subject.
pub(crate) const OWNER: &str = "lf-owner";
/// When the `LF_RAW` was created that ticks were made from, in nanoseconds since 1970: which stream their raw sequence
/// is of.
pub(crate) const RAW_EPOCH: &str = "lf-raw-epoch";
/// Which history a snapshot is of: the random id of the database.
pub(crate) const HISTORY: &str = "lf-history";
/// Which message stood before this one on its subject, separated by slashes: its sequence, when the stream was created that
/// it stood in (in nanoseconds since 1970), and the run and the sequence of the exchange of its last tick, where it has them.
/// It stays true when that message has left the stream.
pub(crate) const PREVIOUS: &str = "lf-previous";
/// Of the reject of a faulty trade: the trades of its product that were refused lately, its own among them, as the run and the
/// rows of consecutive trades, such as `0:11-12,14-14`.
pub(crate) const REFUSED: &str = "lf-refused";

/// Names and values in the order in which they were set. Names are case-sensitive; ours are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The headers of a payload of `schema`, with the trace context of `context`.
    pub(crate) fn new(schema: &str, context: &Context) -> Self {
        let mut headers = Self::default();
        headers.set(CONTENT_TYPE, "application/x-protobuf");
        headers.set(SCHEMA, schema);
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(context, &mut Injector(&mut headers))
        });
        headers
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Without what the broker gave a meaning to when the message was published.
    pub(crate) fn without_those_of_the_broker(&self) -> Self {
        Self(self.0.iter().filter(|(name, _)| !name.starts_with("Nats-")).cloned().collect())
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How much room they take, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    }

    /// The context of the span that published the message; empty when there is none.
    pub(crate) fn trace_context(&self) -> Context {
        // The current context must not leak into a message that carries none.
        global::get_text_map_propagator(|propagator| {
            propagator.extract_with_context(&Context::new(), &Extractor(self))
        })
    }
}

/// The text of [`REFUSED`].
pub(crate) fn refused_text(trades: &RefusedTrades) -> String {
    let rows: Vec<String> = trades.rows.iter().map(|(first, last)| format!("{first}-{last}")).collect();
    format!("{}:{}", trades.run, rows.join(","))
}

/// What [`refused_text`] has made.
pub(crate) fn parse_refused(text: &str) -> Option<RefusedTrades> {
    let (run, rows) = text.split_once(':')?;
    let row = |row: &str| {
        let (first, last) = row.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    Some(RefusedTrades { run: run.parse().ok()?, rows: rows.split(',').map(row).collect::<Option<_>>()? })
}

/// The context of the span that is current here.
pub(crate) fn current_context() -> Context {
    tracing::Span::current().context()
}

struct Injector<'a>(&'a mut Headers);

impl propagation::Injector for Injector<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagator injects an empty `tracestate` when there is none.
        if !value.is_empty() {
            self.0.set(&key.to_ascii_lowercase(), value);
        }
    }
}

struct Extractor<'a>(&'a Headers);

impl propagation::Extractor for Extractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_set_once() {
        let mut headers = Headers::new("x", &Context::new());
        headers.set(SCHEMA, "y");
        assert_eq!(headers.get(SCHEMA), Some("y"));
        assert_eq!(headers.get("Lf-Schema"), None, "names are case-sensitive");
        assert_eq!(headers.iter().count(), 2, "no trace context, no header");
    }

    #[test]
    fn refused_trades_come_back_as_they_were() {
        let trades = RefusedTrades { run: 3, rows: vec![(11, 12), (u64::MAX, u64::MAX)] };
        assert_eq!(refused_text(&trades), format!("3:11-12,{0}-{0}", u64::MAX));
        assert_eq!(parse_refused(&refused_text(&trades)), Some(trades));
        for bad in ["", "3", "3:", "x:1-2", "3:1", "3:1-2,", "3:-1-2"] {
            assert_eq!(parse_refused(bad), None, "{bad:?}");
        }
    }
}
