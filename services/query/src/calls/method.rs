//! Which method a call is of: a label of bounded cardinality, whatever clients make up.

/// A method, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// One of `MarketDataService`.
    Data { name: &'static str, streams: bool },
    /// `grpc.health.v1.Health`.
    Health,
    /// Server reflection.
    Reflection,
    /// Nobody serves it.
    Unknown,
}

const SERVICE: &str = "/ledgerflux.v1.MarketDataService/";
/// Those of `MarketDataService`; a test compares them with the contract.
const NAMES: [&str; 9] = [
    "GetLatestPrice",
    "BatchGetLatestPrices",
    "ListTicks",
    "StreamTicks",
    "GetSnapshot",
    "ListCandles",
    "ListProducts",
    "ListGaps",
    "GetPipelineStatus",
];

impl Method {
    pub(super) fn of(path: &str) -> Self {
        if let Some(asked) = path.strip_prefix(SERVICE) {
            let known = NAMES.into_iter().find(|name| *name == asked);
            return known.map_or(Self::Unknown, |name| Self::Data { name, streams: name == "StreamTicks" });
        }
        if path.starts_with("/grpc.health.") {
            return Self::Health;
        }
        if path.starts_with("/grpc.reflection.") { Self::Reflection } else { Self::Unknown }
    }

    /// Its name in metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Data { name, .. } => name,
            Self::Health => "Health",
            Self::Reflection => "Reflection",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn is_stream(self) -> bool {
        matches!(self, Self::Data { streams: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn every_method_of_the_contract_is_known() {
        let set = prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut services = set.file.iter().flat_map(|file| &file.service);
        let service = services.find(|service| service.name() == "MarketDataService").unwrap();
        let declared: Vec<(&str, bool)> =
            service.method.iter().map(|method| (method.name(), method.server_streaming())).collect();
        let known: Vec<(&str, bool)> =
            NAMES.iter().map(|name| (*name, Method::of(&format!("{SERVICE}{name}")).is_stream())).collect();
        assert_eq!(known, declared);
        assert_eq!(Method::of("/ledgerflux.v1.MarketDataService/Nonsense").label(), "unknown");
        assert_eq!(Method::of("/grpc.health.v1.Health/Check"), Method::Health);
    }
}
