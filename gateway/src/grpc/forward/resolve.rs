//! Which instances of query there are, from DNS, again and again.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use http::Uri;
use runtime::Shutdown;
use tokio::time::timeout;
use tracing::warn;

use super::pool::Pool;

/// How often names are looked up, which is also how late a new instance gets its first call.
const LOOK_UP_EVERY: Duration = Duration::from_secs(3);
/// How long one look-up may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often instances that are down are asked whether they serve, and how long they may take to say so.
const ASK_EVERY: Duration = Duration::from_millis(250);
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

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
        shutdown.run_until(async { tokio::join!(look, self.keep_asking()) }).await;
    }

    /// Asks those that are down whether they serve, again and again.
    pub(super) async fn keep_asking(&self) {
        loop {
            let members = self.members();
            let down = members.iter().filter(|member| member.is_down());
            join_all(down.map(|member| async {
                let serves = timeout(ASK_TIMEOUT, member.says_it_serves()).await;
                member.set_down(!serves.unwrap_or(false));
            }))
            .await;
            self.count();
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

async fn look_up(address: &Uri) -> std::io::Result<Vec<(SocketAddr, Uri)>> {
    let default_port = if address.scheme_str() == Some("https") { 443 } else { 80 };
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, address.port_u16().unwrap_or(default_port)));
    let found = timeout(LOOK_UP_TIMEOUT, found).await.map_err(std::io::Error::other)??;
    Ok(found.map(|found| (found, address.clone())).collect())
}
