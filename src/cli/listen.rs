//! Sockets to listen on, from addresses as people write them: `HOST:PORT` or `unix:PATH`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::net::TcpListener;
use tonic::transport::Identity;

use super::exit;
use crate::error::Result;
use crate::serve::Listener;

/// Where to listen, and with what certificate.
#[derive(Args, Debug)]
pub(super) struct ListenArgs {
    /// Where to listen, HOST:PORT or unix:PATH; may be given more than once. Port 0 takes a free one, which is printed.
    ///
    /// Without this and --tls-listen it is 127.0.0.1:4410.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// Where to listen with TLS, HOST:PORT; may be given more than once. BTrDB's own clients speak TLS to port 4411 only.
    #[arg(long, value_name = "ADDR", requires_all = ["tls_cert", "tls_key"])]
    tls_listen: Vec<String>,

    /// The certificate of TLS, with those that vouch for it behind it, in PEM.
    #[arg(long, value_name = "FILE", env = "BTRDB_FLIGHT_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", env = "BTRDB_FLIGHT_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

impl ListenArgs {
    /// Binds all addresses.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::error::ErrorKind::Conflict) for one that another process has,
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for a certificate and a key that are none, or do not fit.
    pub(super) async fn bind(&self) -> Result<Vec<Listener>> {
        let mut listeners = if self.listen.is_empty() && self.tls_listen.is_empty() {
            bind(&[DEFAULT.to_owned()]).await?
        } else {
            bind(&self.listen).await?
        };
        if let (false, Some(cert), Some(key)) =
            (self.tls_listen.is_empty(), &self.tls_cert, &self.tls_key)
        {
            let identity = Identity::from_pem(pem(cert)?, pem(key)?);
            for listener in bind(&self.tls_listen).await? {
                listeners.push(match listener {
                    Listener::Tcp(listener) => Listener::tls(listener, identity.clone())?,
                    other => other,
                });
            }
        }
        Ok(listeners)
    }

    /// Removes socket files, which outlive their listeners.
    pub(super) fn clean_up(&self) {
        clean_up(&self.listen);
    }
}

fn pem(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|error| exit::from_io(format!("cannot read {}", file.display()), error))
}

const DEFAULT: &str = "127.0.0.1:4410";

const UNIX: &str = "unix:";

async fn bind(addresses: &[String]) -> Result<Vec<Listener>> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = match address.strip_prefix(UNIX) {
            Some(path) => unix::bind(path),
            None => TcpListener::bind(address).await.map(Listener::Tcp),
        };
        listeners.push(listener.map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    ": another process has it, choose a different one with --listen"
                }
                io::ErrorKind::InvalidInput => ": an address is HOST:PORT or unix:PATH",
                _ => "",
            };
            exit::from_io(format!("cannot listen on {address}{hint}"), error)
        })?);
    }
    Ok(listeners)
}

/// Where a client finds `listener`.
pub(super) fn address(listener: &Listener) -> Result<String> {
    let address = match listener {
        Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()),
        Listener::Tls(listener, _) => listener
            .local_addr()
            .map(|address| format!("{address} (TLS)")),
        #[cfg(unix)]
        Listener::Unix(listener) => listener.local_addr().map(|address| {
            let path = address.as_pathname().unwrap_or("".as_ref());
            format!("{UNIX}{}", path.display())
        }),
    };
    address.map_err(|error| exit::from_io("a listener has no address", error))
}

fn clean_up(addresses: &[String]) {
    for path in addresses
        .iter()
        .filter_map(|address| address.strip_prefix(UNIX))
    {
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path, %error, "the socket file stays behind");
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;

    use tokio::net::UnixListener;

    use super::Listener;

    /// A socket file that nobody listens on any more, left by a process that was killed, is replaced.
    pub(super) fn bind(path: &str) -> io::Result<Listener> {
        let is_socket =
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket
            && let Err(error) = UnixStream::connect(path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            std::fs::remove_file(path)?;
        }
        UnixListener::bind(path).map(Listener::Unix)
    }
}

#[cfg(not(unix))]
mod unix {
    use std::io;

    use super::Listener;

    pub(super) fn bind(_path: &str) -> io::Result<Listener> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}
