//! The bytes of one connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Fault, Orders};

const PIECE_BYTES: usize = 64 * 1024;
/// A throttled connection passes a piece so often.
const THROTTLE_INTERVAL: Duration = Duration::from_millis(50);

/// Passes bytes both ways until both sides have ended, or one direction was cut off.
pub(super) async fn pass(client: &mut TcpStream, server: &mut TcpStream, orders: watch::Receiver<Orders>) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // An error of either ends both: whoever is left sees the end of the connection.
    let _ = tokio::try_join!(
        pump(from_client, to_server, orders.clone(), |orders| orders.to_server),
        pump(from_server, to_client, orders, |orders| orders.to_client),
    );
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    fault_of: impl Fn(&Orders) -> Fault,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = None;
    loop {
        let fault = fault_of(&orders.borrow_and_update());
        let size = match fault {
            Fault::Blackhole | Fault::Reset => {
                changed(&mut orders).await?;
                continue;
            }
            Fault::Truncate(bytes) => *left.get_or_insert(bytes),
            Fault::Throttle(bytes) => bytes / 20,
            Fault::Pass | Fault::Delay(_) => PIECE_BYTES,
        };
        if !matches!(fault, Fault::Truncate(_)) {
            left = None;
        } else if size == 0 {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let room = size.clamp(1, PIECE_BYTES);
        let count = tokio::select! {
            changed = changed(&mut orders) => {
                changed?;
                continue;
            }
            count = from.read(&mut piece[..room]) => count?,
        };
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::Throttle(_) => tokio::time::sleep(THROTTLE_INTERVAL).await,
            _ => {}
        }
        if count == 0 {
            return to.shutdown().await;
        }
        left = left.map(|left| left - count);
        to.write_all(&piece[..count]).await?;
    }
}

/// The proxy is gone: so are its connections.
async fn changed(orders: &mut watch::Receiver<Orders>) -> io::Result<()> {
    orders.changed().await.map_err(|_| io::ErrorKind::ConnectionAborted.into())
}
