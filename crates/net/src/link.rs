//! The link: one WebSocket to the relay, made anew whenever it is lost.
//!
//! ```text
//!  waiting ──▶ connecting ──▶ open ──▶ lost ──▶ waiting (0.25 s, doubled up to 30 s, times a random share)
//! ```
//!
//! Frames go out only on the connection for which they were meant. Silence of 10 s is answered with a ping, of 30 s with
//! the end of the connection.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use undertone_wire::frame::RelayFrame;
use undertone_wire::limits::FRAME_LEN_MAX;

/// Where a relay listens: `ws://host:port/v1/ws`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayAddress(String);

/// A text is no address of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address of a relay looks like ws://127.0.0.1:4460/v1/ws")
    }
}

impl std::error::Error for BadAddress {}

impl FromStr for RelayAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let uri: Uri = text.parse().map_err(|_| BadAddress)?;
        let is_plain = uri.scheme_str() == Some("ws") && uri.host().is_some_and(|host| !host.is_empty());
        if is_plain && text.into_client_request().is_ok() { Ok(Self(text.to_owned())) } else { Err(BadAddress) }
    }
}

impl RelayAddress {
    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Counts the connections of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ConnectionNumber(u64);

/// What the link tells the driver.
pub(crate) enum Heard {
    Connected(ConnectionNumber),
    Frame(Vec<u8>),
    Disconnected,
}

/// What the driver tells the link. What is meant for an earlier connection is dropped.
pub(crate) enum Order {
    Transmit(ConnectionNumber, Vec<u8>),
    /// The relay misbehaves.
    Close(ConnectionNumber),
}

/// How a connection ended.
enum End {
    /// The relay or the network ended it, not before this long.
    Lost { retry_after: Duration },
    /// The driver ended it: the relay misbehaves, and does not get off with a reset backoff.
    Bad,
    /// The driver is gone.
    Over,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The link, as the task that it is.
pub(crate) struct Link {
    address: RelayAddress,
    heard: mpsc::Sender<Heard>,
    orders: mpsc::UnboundedReceiver<Order>,
    number: ConnectionNumber,
}

impl Link {
    /// A link whose driver holds the other ends. Orders have no bound here: the client has at most one request for each
    /// log under way, and each connection begins with none.
    pub(crate) fn new(address: RelayAddress) -> (Self, mpsc::Receiver<Heard>, mpsc::UnboundedSender<Order>) {
        let (heard, hearing) = mpsc::channel(HEARD_COUNT_MAX);
        let (ordering, orders) = mpsc::unbounded_channel();
        (Self { address, heard, orders, number: ConnectionNumber::default() }, hearing, ordering)
    }

    /// Connects, again and again, until the driver is gone.
    pub(crate) async fn run(mut self) {
        let mut attempts = 0;
        loop {
            let mut at_least = Duration::ZERO;
            if let Some(socket) = self.connect().await {
                match self.serve(socket).await {
                    End::Lost { retry_after } => (attempts, at_least) = (0, retry_after),
                    End::Bad => {}
                    End::Over => return,
                }
            }
            tokio::select! {
                () = sleep(at_least + backoff(attempts)) => {}
                () = self.heard.closed() => return,
            }
            attempts += 1;
        }
    }

    async fn connect(&self) -> Option<Socket> {
        let config = WebSocketConfig::default()
            .read_buffer_size(SOCKET_BUFFER_LEN)
            .max_message_size(Some(FRAME_LEN_MAX))
            .max_frame_size(Some(FRAME_LEN_MAX));
        let connecting = connect_async_with_config(self.address.as_str(), Some(config), true);
        tokio::select! {
            connected = timeout(CONNECT_TIMEOUT, connecting) => connected.ok()?.ok().map(|(socket, _)| socket),
            () = self.heard.closed() => None,
        }
    }

    /// Serves one connection, and tells the driver of its beginning and its end.
    async fn serve(&mut self, socket: Socket) -> End {
        self.number = ConnectionNumber(self.number.0 + 1);
        if self.heard.send(Heard::Connected(self.number)).await.is_err() {
            return End::Over;
        }
        let end = self.carry(socket).await;
        if self.heard.send(Heard::Disconnected).await.is_err() { End::Over } else { end }
    }

    async fn carry(&mut self, mut socket: Socket) -> End {
        let mut heard_at = Instant::now();
        let mut pinged_at = heard_at;
        let mut retry_after = Duration::ZERO;
        loop {
            let ping_at = heard_at.max(pinged_at) + PING_AFTER;
            let heard = &self.heard;
            let next = tokio::select! {
                // The driver takes no more while it is behind; then nothing is read, and the relay waits.
                (permit, message) = async { (heard.reserve().await, socket.next().await) } => {
                    heard_at = Instant::now();
                    match (permit, message) {
                        (Err(_), _) => return End::Over,
                        (Ok(permit), Some(Ok(Message::Binary(bytes)))) => {
                            retry_after = draining(&bytes).unwrap_or(retry_after);
                            permit.send(Heard::Frame(bytes.into()));
                            continue;
                        }
                        (Ok(_), Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                        (Ok(_), _) => Next::Lost,
                    }
                }
                order = self.orders.recv() => order.map_or(Next::Over, Next::Order),
                () = sleep_until(ping_at) => Next::Ping,
            };
            let done = match next {
                Next::Order(Order::Transmit(number, bytes)) if number == self.number => {
                    self.transmit(&mut socket, bytes).await
                }
                Next::Order(Order::Close(number)) if number == self.number => Err(Unsent::Bad),
                Next::Order(_) => Ok(()),
                // While the driver is behind, it is we who are silent.
                Next::Ping if heard_at.elapsed() >= DEAD_AFTER && self.heard.capacity() > 0 => Err(Unsent::Lost),
                Next::Ping => {
                    pinged_at = Instant::now();
                    written(socket.send(Message::Ping(Vec::new().into()))).await
                }
                Next::Lost => Err(Unsent::Lost),
                Next::Over => {
                    goodbye(&mut socket).await;
                    return End::Over;
                }
            };
            match done {
                Ok(()) => {}
                Err(Unsent::Lost) => return End::Lost { retry_after },
                Err(Unsent::Bad) => {
                    goodbye(&mut socket).await;
                    return End::Bad;
                }
            }
        }
    }

    /// Writes a frame, and with it all that are queued behind it, with one flush.
    async fn transmit(&mut self, socket: &mut Socket, first: Vec<u8>) -> Result<(), Unsent> {
        let mut next = Some(first);
        while let Some(bytes) = next {
            written(socket.feed(Message::Binary(bytes.into()))).await?;
            next = match self.orders.try_recv() {
                Ok(Order::Transmit(number, bytes)) if number == self.number => Some(bytes),
                Ok(Order::Close(number)) if number == self.number => return Err(Unsent::Bad),
                Ok(_) | Err(_) => None,
            };
        }
        written(socket.flush()).await
    }
}

/// What a connection turns to next.
enum Next {
    Order(Order),
    Ping,
    Lost,
    Over,
}

/// Tells the relay that we go, if it still listens.
async fn goodbye(socket: &mut Socket) {
    let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
}

/// Why frames were not written.
enum Unsent {
    Lost,
    Bad,
}

/// Waits for a write, until the peer counts as dead.
async fn written<E>(writing: impl Future<Output = Result<(), E>>) -> Result<(), Unsent> {
    match timeout(DEAD_AFTER, writing).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Unsent::Lost),
    }
}

/// For how long a relay that is about to stop asks to be left alone.
fn draining(frame: &[u8]) -> Option<Duration> {
    if frame.len() > DRAINING_LEN_MAX {
        return None;
    }
    match RelayFrame::decode(frame) {
        Ok(RelayFrame::Draining { retry_after_ms }) => {
            Some(Duration::from_millis(retry_after_ms.into()).min(BACKOFF_MAX))
        }
        _ => None,
    }
}

/// A random share of a delay that doubles with each attempt: full jitter, so that clients do not come back in step.
fn backoff(attempts: u32) -> Duration {
    let ceiling = BACKOFF_FIRST.saturating_mul(1 << attempts.min(16)).min(BACKOFF_MAX);
    ceiling.mul_f64(rand::rng().random())
}

/// The ceiling of the first delay.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// The ceiling of every delay.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the relay may take to see us go.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Silence after which we ask whether the relay is still there.
const PING_AFTER: Duration = Duration::from_secs(10);
/// Silence after which the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// Frames that wait for the driver.
const HEARD_COUNT_MAX: usize = 64;
/// Bytes of the read buffer: frames are small, and a phone has many sockets.
const SOCKET_BUFFER_LEN: usize = 16 << 10;
/// Bytes of the longest `Draining` frame: version, kind, and four bytes.
const DRAINING_LEN_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_ceiling_and_are_drawn_from_zero_up() {
        for attempts in 0..20 {
            let ceiling = Duration::from_millis(250 << attempts.min(8)).min(BACKOFF_MAX);
            let drawn: Vec<Duration> = (0..200).map(|_| backoff(attempts)).collect();
            assert!(drawn.iter().all(|delay| *delay <= ceiling), "attempt {attempts}");
            assert!(drawn.iter().any(|delay| *delay < ceiling / 2) && drawn.iter().any(|delay| *delay > ceiling / 2));
        }
    }

    #[test]
    fn an_address_is_a_web_socket_in_clear() {
        assert!("ws://127.0.0.1:4460/v1/ws".parse::<RelayAddress>().is_ok());
        for wrong in ["", "127.0.0.1:4460", "http://127.0.0.1/", "wss://example.org/v1/ws", "ws://", "ws:// x/"] {
            assert_eq!(wrong.parse::<RelayAddress>(), Err(BadAddress), "{wrong}");
        }
    }

    #[test]
    fn only_draining_delays_the_next_attempt() {
        let frame = RelayFrame::Draining { retry_after_ms: 1_500 }.encode();
        assert_eq!(frame.len(), DRAINING_LEN_MAX);
        assert_eq!(draining(&frame), Some(Duration::from_millis(1_500)));
        assert_eq!(draining(&RelayFrame::Draining { retry_after_ms: u32::MAX }.encode()), Some(BACKOFF_MAX));
        assert_eq!(draining(b"\x01\x07"), None);
    }
}
