//! The certificate of a listener, read again when its files change.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::{debug, info, warn};

use super::{TlsError, server_config};
use crate::config::Reader;
use crate::{Shutdown, listen};

/// How often the files are looked at. In a cluster they are replaced rather than written, so that their content is compared,
/// and no watch set on them.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How many handshakes of a gRPC listener may be under way at one time; further connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 256;
/// How long one may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the certificate of a listener and its key are: two PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Files {
    /// Reads `tls_certificate` and `tls_key` of a section: both, or neither for a listener without TLS.
    pub fn read(reader: &mut Reader<'_>) -> Option<Files> {
        match (reader.optional_path("tls_certificate"), reader.optional_path("tls_key")) {
            (Some(certificate), Some(key)) => Some(Files { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                reader.conflict("tls_certificate", "needs the key beside it (tls_key)");
                None
            }
            (None, Some(_)) => {
                reader.conflict("tls_key", "needs the certificate beside it (tls_certificate)");
                None
            }
        }
    }
}

/// What a listener proves itself with. Cheap to clone; all clones are renewed together.
#[derive(Clone, Debug)]
pub struct Identity {
    files: Files,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Identity {
    /// Reads the files, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When a file cannot be read or the key does not fit the certificate.
    pub fn open(files: &Files) -> Result<Identity, TlsError> {
        let current = Arc::new(RwLock::new(Arc::new(config(files)?)));
        Ok(Identity { files: files.clone(), current })
    }

    /// Reads the files again whenever they have changed, until the shutdown. What cannot be used leaves the certificate as it
    /// is: a pair that is just being replaced does not fit for a moment.
    pub async fn follow(&self, shutdown: &Shutdown) {
        let mut known = content(&self.files).await;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until(looks.tick()).await.is_some() {
            let found = content(&self.files).await;
            if found == known {
                continue;
            }
            match config(&self.files) {
                Ok(fresh) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                    info!(certificate = %self.files.certificate.display(), "the certificate has changed");
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the certificate stays as it was");
                }
            }
            known = found;
        }
    }

    /// The server's part of a handshake.
    ///
    /// # Errors
    /// When the client does not speak TLS, or not as it should.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(current).accept(stream).await
    }
}

fn config(files: &Files) -> Result<ServerConfig, TlsError> {
    let mut config = server_config(&files.certificate, &files.key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn content(files: &Files) -> [Option<Vec<u8>>; 2] {
    let read = async |path: &Path| tokio::fs::read(path).await.ok();
    [read(&files.certificate).await, read(&files.key).await]
}

/// A connection with or without TLS.
#[derive(Debug)]
pub enum Connection {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// The socket underneath, for what the system can be told about it.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Connection::Plain(stream) => stream,
            Connection::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// The connections of a gRPC listener, with the handshake done where there is an identity. A client that fails it, or takes too
/// long, is none.
pub fn connections(
    listener: TcpListener,
    identity: Option<Identity>,
) -> impl Stream<Item = std::io::Result<Connection>> {
    let accepted = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    accepted
        .map(move |accepted| {
            let identity = identity.clone();
            async move {
                let stream = match accepted {
                    Ok(stream) => stream,
                    Err(error) => return Some(Err(error)),
                };
                listen::set_nodelay(&stream);
                let Some(identity) = identity else {
                    return Some(Ok(Connection::Plain(stream)));
                };
                match timeout(HANDSHAKE_TIMEOUT, identity.accept(stream)).await {
                    Ok(Ok(stream)) => Some(Ok(Connection::Tls(Box::new(stream)))),
                    Ok(Err(error)) => {
                        debug!(%error, "a TLS handshake failed");
                        None
                    }
                    Err(_) => None,
                }
            }
        })
        .buffer_unordered(HANDSHAKES_MAX)
        .filter_map(std::future::ready)
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.socket().connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Connection::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Connection::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Connection::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Connection::Plain(stream) => stream.is_write_vectored(),
            Connection::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_flush(context),
            Connection::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Connection::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
