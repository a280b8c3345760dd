//! Which instances of query there are, from DNS, again and again.

use std::{net::SocketAddr, time::Duration};

use http::Uri;
use runtime::Shutdown;
use tokio::{net::TcpStream, time::timeout};
use tracing::warn;

use super::pool::{Member, Pool};

/// How often names are looked up, which is also how late a new instance gets its first call.
const LOOK_UP_EVERY: Duration = Duration::from_secs(3);
/// How long one look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often instances that are down are tried.
const TRY_EVERY: Duration = Duration::from_millis(500);

impl Pool {
    /// Keeps the instances as DNS has them until the shutdown. A name that cannot be looked up keeps the ones it had.
    pub(crate) async fn follow(self, shutdown: Shutdown) {
        let look = async {
            let mut known: Vec<Vec<(SocketAddr, Uri)>> = vec![Vec::new(); self.addresses().len()];
            loop {
                for (found, address) in known.iter_mut().zip(self.addresses()) {
                    match look_up(address).await {
                        Ok(now) => *found = now,
                        Err(error) if found.is_empty() => {
                            warn!(%address, %error, "query cannot be looked up")
                        }
                        Err(_) => {}
                    }
                }
                let mut all = known.concat();
                all.sort_by_key(|(address, _)| *address);
                all.dedup_by_key(|(address, _)| *address);
                if !all.is_empty() {
                    self.replace(&all);
                }
                tokio::time::sleep(LOOK_UP_EVERY).await;
            }
        };
        let try_again = async {
            loop {
                for member in self.members().iter().filter(|member| member.is_down()) {
                    member.set_down(!takes_connections(member).await);
                }
                self.count();
                tokio::time::sleep(TRY_EVERY).await;
            }
        };
        shutdown.run_until(async { tokio::join!(look, try_again) }).await;
    }
}

async fn look_up(address: &Uri) -> std::io::Result<Vec<(SocketAddr, Uri)>> {
    let default_port = if address.scheme_str() == Some("https") { 443 } else { 80 };
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, address.port_u16().unwrap_or(default_port)));
    let found = timeout(LOOK_UP_TIMEOUT, found).await.map_err(std::io::Error::other)??;
    Ok(found.map(|found| (found, address.clone())).collect())
}

/// Whether somebody listens there again; what it is worth the next call will show.
async fn takes_connections(member: &Member) -> bool {
    matches!(timeout(TRY_EVERY, TcpStream::connect(member.address)).await, Ok(Ok(_)))
}
