//! The server: the socket, the routes, the sweeper, and a clean stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use undertone_wire::limits::FRAME_LEN_MAX;

use crate::config::Config;
use crate::connection::{self, Shared};
use crate::door::{Door, Visitor};
use crate::hub::{ConnectionId, Hub};
use crate::ledger::Write;
use crate::store::{Committing, Store, StoreError};

/// Why a relay does not start, or stops.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        error: io::Error,
    },
    /// The socket failed.
    Socket(io::Error),
    /// The store does not open, or failed.
    Store(StoreError),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::Socket(error) => write!(f, "the socket failed: {error}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A relay that is bound and has its store open, and serves once it is told to.
pub struct Relay {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    committing: Committing,
    draining: watch::Sender<bool>,
    sweep_interval: Duration,
}

impl Relay {
    /// Binds the address and opens the store of `config`.
    ///
    /// # Errors
    /// [`Error::Listen`] if the address is taken, [`Error::Store`] if the data directory is used by another relay,
    /// damaged, or not ours.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let Config { listen, data, limits, retention, memory } = config;
        let listener = TcpListener::bind(listen).await.map_err(|error| Error::Listen { address: listen, error })?;
        let address = listener.local_addr().map_err(Error::Socket)?;
        let hub = Arc::new(Hub::default());
        let sweep_interval = Duration::from_secs(retention.sweep_interval_s.max(1));
        let opening = {
            let hub = Arc::clone(&hub);
            tokio::task::spawn_blocking(move || Store::open(&data, &memory, retention, hub))
        };
        let (store, committing) = opening.await.map_err(|_| StoreError::Foreign)??;
        let (draining, drained) = watch::channel(false);
        let shared = Arc::new(Shared { store, hub, limits, draining: drained });
        Ok(Self { listener, address, shared, committing, draining, sweep_interval })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that clients connect to, `ws://ADDRESS/v1/ws`.
    pub fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Serves until `stop` completes; then answers what is in flight, tells every client to come back later, closes,
    /// and flushes the store.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed: what was acknowledged is safe, nothing else was acknowledged.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { listener, address: _, shared, committing, draining, sweep_interval } = self;
        let (alive, mut all_gone) = mpsc::channel::<()>(1);
        let door = Door::new(listener, &shared.limits);
        let state = Arc::new(Routes { shared, alive, connections: AtomicU64::new(0) });
        let routes = Router::new()
            .route("/v1/ws", get(upgrade))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .with_state(Arc::clone(&state));
        let mut stopping = draining.subscribe();
        let serving = axum::serve(door, routes.into_make_service_with_connect_info::<Visitor>())
            .with_graceful_shutdown(async move {
                // The sender lives as long as `serve`.
                let _ = stopping.wait_for(|draining| *draining).await;
            });
        let serving = tokio::spawn(serving.into_future());
        let sweeping = tokio::spawn(sweep(Arc::clone(&state), sweep_interval));
        let mut failed = state.shared.store.failed();
        tokio::select! {
            () = stop => {}
            // An error says that the committer is gone, which is a failure as well.
            _ = failed.wait_for(|failed| *failed) => {}
        }
        tracing::info!("draining");
        draining.send_replace(true);
        sweeping.abort();
        let _ = sweeping.await;
        drop(state);
        let serving_abort = serving.abort_handle();
        if timeout(DRAIN_TIMEOUT, async { (serving.await, all_gone.recv().await) }).await.is_err() {
            tracing::warn!("some connections did not close in time");
            serving_abort.abort();
        }
        // The committer ends when the last handle of the store is gone.
        let result = tokio::task::spawn_blocking(move || committing.join());
        match timeout(DRAIN_TIMEOUT, result).await {
            Ok(joined) => Ok(joined.map_err(|_| StoreError::Foreign)??),
            Err(_) => Ok(()),
        }
    }
}

/// Serves `config` until SIGTERM or SIGINT, and says on standard output where: `listening on ws://ADDRESS/v1/ws`.
///
/// # Errors
/// As [`Relay::open`] and [`Relay::serve`].
pub async fn run(config: Config) -> Result<(), Error> {
    let relay = Relay::open(config).await?;
    println!("listening on {}", relay.url());
    relay.serve(signalled()).await
}

async fn signalled() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

struct Routes {
    shared: Arc<Shared>,
    /// Each connection holds a clone, so that the end of all of them can be awaited.
    alive: mpsc::Sender<()>,
    connections: AtomicU64,
}

async fn readyz(State(routes): State<Arc<Routes>>) -> (StatusCode, &'static str) {
    if *routes.shared.draining.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if *routes.shared.store.failed().borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "store failed\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn upgrade(
    State(routes): State<Arc<Routes>>,
    axum::extract::ConnectInfo(visitor): axum::extract::ConnectInfo<Visitor>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let id = ConnectionId(routes.connections.fetch_add(1, Ordering::Relaxed));
    let shared = Arc::clone(&routes.shared);
    let alive = routes.alive.clone();
    upgrade
        .read_buffer_size(SOCKET_BUFFER_LEN)
        .write_buffer_size(SOCKET_BUFFER_LEN)
        .max_message_size(FRAME_LEN_MAX)
        .max_frame_size(FRAME_LEN_MAX)
        .on_upgrade(async move |socket| {
            visitor.let_in();
            connection::serve(socket, shared, id).await;
            drop(alive);
        })
}

async fn sweep(routes: Arc<Routes>, every: Duration) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for _ in 0..SWEEPS_PER_TICK {
            if routes.shared.store.submit(Write::Sweep).await.await.is_err() {
                return;
            }
        }
    }
}

/// Sweeps of one tick, each a commit of its own: together they keep up with what connections may write.
const SWEEPS_PER_TICK: usize = 32;
/// Bytes of each socket buffer: the defaults cost 137 kB per idle connection.
const SOCKET_BUFFER_LEN: usize = 4 << 10;
/// How long connections may take to close.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
