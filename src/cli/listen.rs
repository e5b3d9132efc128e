//! Sockets to listen on, from addresses as people write them: `HOST:PORT` or `unix:PATH`.

use std::io;

use tokio::net::TcpListener;

use super::exit;
use crate::error::Result;
use crate::serve::Listener;

const UNIX: &str = "unix:";

/// Binds all of `addresses`.
///
/// # Errors
/// [`ErrorKind::Conflict`](crate::error::ErrorKind::Conflict) for one that another process has.
pub(super) async fn bind(addresses: &[String]) -> Result<Vec<Listener>> {
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
        #[cfg(unix)]
        Listener::Unix(listener) => listener.local_addr().map(|address| {
            let path = address.as_pathname().unwrap_or("".as_ref());
            format!("{UNIX}{}", path.display())
        }),
    };
    address.map_err(|error| exit::from_io("a listener has no address", error))
}

/// Removes the socket files of `addresses`, which outlive their listeners.
pub(super) fn clean_up(addresses: &[String]) {
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
