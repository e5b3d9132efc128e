//! What tests of SQL, push-down and Flight run over: a store in memory, or the same behind BTrDB's protocol.
//!
//! `BTRDB_TEST_BACKEND=loop` puts a server and the remote backend in between, so that every statement crosses the wire.

use std::sync::Arc;

use btrdb_flight::backend::Backend;
use btrdb_flight::backend::observed::{Counts, Observed};
use btrdb_flight::engine::Engine;
use btrdb_flight::query::{Gateway, GatewaySettings};
use btrdb_flight::remote::{self, Remote};
use btrdb_flight::serve::{self, ServeSettings};
use tokio::net::TcpListener;

/// Whether there is a wire between the test and the store.
pub(crate) fn is_loop() -> bool {
    match std::env::var("BTRDB_TEST_BACKEND").as_deref() {
        Ok("loop") => true,
        Ok("engine") | Err(_) => false,
        Ok(other) => panic!("BTRDB_TEST_BACKEND is engine or loop, not {other}"),
    }
}

/// `engine`, or the remote backend of a server over it.
pub(crate) async fn behind(engine: Arc<Engine>) -> Arc<dyn Backend> {
    if is_loop() {
        looped(engine).await.0
    } else {
        engine
    }
}

/// The remote backend of a server over `engine`, and what reaches the engine. The server ends with the test's runtime.
pub(crate) async fn looped(engine: Arc<Engine>) -> (Arc<Remote>, Arc<Counts>) {
    let observed = Observed::new(engine);
    let counts = observed.counts();
    let gateway = Gateway::new(Arc::new(observed), GatewaySettings::default()).expect("a gateway");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "the server lives as long as the test's runtime, which ends it"
    )]
    tokio::spawn(async move {
        let never = std::future::pending();
        serve::run(vec![listener], gateway, ServeSettings::default(), never)
            .await
            .expect("served");
    });
    let remote = Remote::connect(remote::Settings::new(address)).await;
    (remote.expect("connected"), counts)
}

/// An empty store in memory, behind the wire or not.
pub(crate) async fn memory() -> Arc<dyn Backend> {
    behind(Engine::memory()).await
}
