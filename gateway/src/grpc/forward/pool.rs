//! The instances of query, and which of them is asked.
//!
//! Not tonic's balanced channel: that takes an instance which refuses connections for an idle one, and cannot be told to ask
//! another than the one that has just failed.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Response, Uri};
use metrics::gauge;
use proto::v1::market_data_service_server::SERVICE_NAME;
use runtime::ErrorChain;
use tokio::sync::watch;
use tonic::{
    Code,
    body::Body,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error as TransportError},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Service, ServiceExt};
use tracing::info;

use super::{call::Call, retry::Failure};
use crate::{Config, Error, metrics as names};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// An instance that has gone without a word is noticed after both: early enough to ask another within the time of a call.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// What query may send ahead of the client of one call. The window of the connection has room for all of them: one that does
/// not read must not stop the others.
const CALL_WINDOW_BYTES: u32 = 64 * 1024;

/// All instances. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    addresses: Vec<Uri>,
    /// What query is trusted by, over https.
    tls: Option<ClientTlsConfig>,
    /// What all calls of a connection may be sent ahead.
    window_bytes: u32,
    members: watch::Sender<Vec<Arc<Member>>>,
}

/// One instance.
pub(super) struct Member {
    pub(super) address: SocketAddr,
    channel: Channel,
    calls: AtomicUsize,
    /// It has not said yet that it serves, or did not answer since: it is not asked while others are there.
    is_down: AtomicBool,
}

impl Pool {
    /// Knows no instance until it is told of some ([`Pool::replace`]).
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        // Those of clients, and our own.
        let calls = u32::try_from(config.forwarded_max).unwrap_or(u32::MAX).saturating_mul(2);
        // The largest window that HTTP/2 knows is 2^31 - 1.
        let window_bytes =
            CALL_WINDOW_BYTES.saturating_mul(calls.saturating_add(1)).min(i32::MAX.unsigned_abs());
        let is_secure = config.query.iter().any(|address| address.scheme_str() == Some("https"));
        let tls = match (&config.query_ca_file, is_secure) {
            (_, false) => None,
            (None, true) => Some(ClientTlsConfig::new().with_native_roots()),
            (Some(path), true) => {
                let failed = |source| Error::QueryCa { path: path.clone(), source };
                let pem = std::fs::read(path).map_err(failed)?;
                Some(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
            }
        };
        let members = watch::Sender::new(Vec::new());
        let pool = Self(Arc::new(Shared { addresses: config.query.clone(), tls, window_bytes, members }));
        // What cannot be used at all is told at the start.
        for address in &config.query {
            pool.endpoint(SocketAddr::from(([127, 0, 0, 1], 1)), address).map_err(Error::Query)?;
        }
        Ok(pool)
    }

    pub(super) fn addresses(&self) -> &[Uri] {
        &self.0.addresses
    }

    /// Makes `found` the instances: each with the address it is known by. Those that stay keep their connection; what is under
    /// way with one that goes comes to its end.
    pub(super) fn replace(&self, found: &[(SocketAddr, Uri)]) {
        self.0.members.send_if_modified(|members| {
            let same = members.len() == found.len()
                && members.iter().all(|member| found.iter().any(|(address, _)| *address == member.address));
            if same {
                return false;
            }
            *members = found
                .iter()
                .filter_map(|(address, known_as)| {
                    let known = members.iter().find(|member| member.address == *address).cloned();
                    known.or_else(|| self.member(*address, known_as).map(Arc::new))
                })
                .collect();
            let addresses: Vec<_> = found.iter().map(|(address, _)| address.to_string()).collect();
            info!(instances = addresses.join(","), "the instances of query have changed");
            true
        });
    }

    fn endpoint(&self, address: SocketAddr, known_as: &Uri) -> Result<Endpoint, TransportError> {
        let scheme = known_as.scheme_str().unwrap_or("http");
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
            .origin(known_as.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .initial_stream_window_size(CALL_WINDOW_BYTES)
            .initial_connection_window_size(self.0.window_bytes)
            .tcp_nodelay(true);
        if let Some(tls) = &self.0.tls {
            let host = known_as.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            endpoint = endpoint.tls_config(tls.clone().domain_name(host))?;
        }
        Ok(endpoint)
    }

    fn member(&self, address: SocketAddr, known_as: &Uri) -> Option<Member> {
        let channel = self.endpoint(address, known_as).ok()?.connect_lazy();
        Some(Member { address, channel, calls: AtomicUsize::new(0), is_down: AtomicBool::new(true) })
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.0.members.borrow().clone()
    }

    /// How many there are of which nobody knows that they are down.
    pub(super) fn count(&self) {
        let members = self.0.members.borrow();
        let down = members.iter().filter(|member| member.is_down()).count();
        for (state, count) in [("up", members.len() - down), ("down", down)] {
            gauge!(names::QUERY_INSTANCES, "state" => state)
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }

    /// The instance to ask: one that did not fail this call and is up, with the fewest calls. When there is none the others are
    /// better than nobody.
    async fn choose(&self, tried: &[SocketAddr]) -> Option<Arc<Member>> {
        let mut members = self.0.members.subscribe();
        let known = tokio::time::timeout(CONNECT_TIMEOUT, members.wait_for(|members| !members.is_empty()));
        let members = known.await.ok()?.ok()?;
        let first = turn(members.len());
        let in_turn = members.iter().cycle().skip(first).take(members.len());
        in_turn
            .min_by_key(|member| {
                let tries = tried.iter().filter(|tried| **tried == member.address).count();
                (tries, member.is_down(), member.calls.load(Ordering::Relaxed))
            })
            .cloned()
    }
}

/// Where to begin to look, so that instances with equally many calls take turns.
fn turn(count: usize) -> usize {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    TURN.fetch_add(1, Ordering::Relaxed) % count.max(1)
}

impl Member {
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// Whether it says that it serves. One that has no health service says so by answering at all.
    pub(super) async fn says_it_serves(&self) -> bool {
        let request = HealthCheckRequest { service: SERVICE_NAME.to_owned() };
        match HealthClient::new(self.channel.clone()).check(request).await {
            Ok(answer) => answer.get_ref().status() == ServingStatus::Serving,
            Err(status) => status.code() == Code::Unimplemented,
        }
    }
}

/// An answer, and who gave it.
pub(super) struct Answered {
    pub(super) response: Response<Body>,
    pub(super) member: Arc<Member>,
    pub(super) counted: Counted,
}

/// A call that is with an instance.
pub(super) struct Counted(Arc<Member>);

impl Counted {
    fn new(member: &Arc<Member>) -> Self {
        member.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }

    /// The instance did not bring it to its end.
    pub(super) fn set_down(&self) {
        self.0.set_down(true);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Call> for Pool {
    type Response = Answered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Answered, Failure>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let pool = self.clone();
        Box::pin(async move {
            let nobody = || Failure::Unreachable { member: None, cause: "its address is not known".into() };
            let member = pool.choose(&call.tried).await.ok_or_else(nobody)?;
            let counted = Counted::new(&member);
            match member.channel.clone().oneshot(call.request()).await {
                Ok(response) => Ok(Answered { response, member, counted }),
                Err(error) => Err(Failure::of(&member, ErrorChain(&error).to_string())),
            }
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pool").field(&self.0.addresses).finish()
    }
}
