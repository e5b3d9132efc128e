//! A wire that can be cut: a TCP proxy that refuses, stalls, and breaks off after so many bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// They pass.
    Whole,
    /// New connections are closed at once, and old ones broken.
    Broken,
    /// None pass, either way, and nobody is told.
    Stalled,
    /// ... and on connections that were tried meanwhile none ever will.
    Frozen,
    /// What the server sends breaks the connection instead; what the client sends passes.
    Mute,
    /// The connection breaks after so many bytes from the server, counted from its start.
    CutAfter(usize),
}

/// A proxy in front of a server.
pub(super) struct Proxy {
    pub(super) address: String,
    wire: watch::Sender<Wire>,
    _running: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (wire, watched) = watch::channel(Wire::Whole);
        let server = server.to_owned();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("accepted");
                let (server, watched) = (server.clone(), watched.clone());
                connections.spawn(async move {
                    // A wire that breaks is no failure of the test.
                    let _ = connect(client, &server, watched).await;
                });
            }
        });
        Self {
            address,
            wire,
            _running: running,
        }
    }

    pub(super) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// Breaks all connections; new ones are whole again.
    pub(super) async fn reset(&self) {
        self.set(Wire::Broken);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.set(Wire::Whole);
    }
}

async fn connect(
    client: TcpStream,
    server: &str,
    mut wire: watch::Receiver<Wire>,
) -> std::io::Result<()> {
    if *wire.borrow() == Wire::Broken {
        client.set_zero_linger()?;
        return Ok(());
    }
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    // Dropped, both ends say that the connection was reset.
    client.set_zero_linger()?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, down) = (wire.clone(), wire.clone());
    tokio::select! {
        _ = wire.wait_for(|wire| *wire == Wire::Broken) => Ok(()),
        _ = pass(from_client, to_server, up, false) => Ok(()),
        _ = pass(from_server, to_client, down, true) => Ok(()),
    }
}

/// Passes bytes on until either side ends, or the wire breaks.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    is_answer: bool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let now = *wire
            .wait_for(|wire| *wire != Wire::Stalled)
            .await
            .expect("the proxy lives");
        match now {
            Wire::Frozen => std::future::pending().await,
            Wire::Mute if is_answer => return Ok(()),
            Wire::CutAfter(bytes) if is_answer && passed + read > bytes => {
                to.write_all(&buffer[..bytes.saturating_sub(passed)])
                    .await?;
                to.flush().await?;
                // So that what was sent arrives before the reset.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return Ok(());
            }
            _ => to.write_all(&buffer[..read]).await?,
        }
        passed += read;
    }
}

/// A port on which nobody listens.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").to_string()
}

/// Something that speaks, but no HTTP/2.
pub(super) async fn babbler() -> (String, Arc<JoinSet<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("accepted");
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = client.shutdown().await;
        }
    });
    (address, Arc::new(running))
}
