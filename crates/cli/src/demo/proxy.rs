//! A proxy between one client and the relay: what passes is counted, can be recorded, and can be added to, as a dishonest
//! relay would.
//!
//! It forwards WebSocket frames whole, so that a frame of its own never falls into the middle of another.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A running proxy. It ends with the process.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    bytes_count: AtomicU64,
    /// What has passed, if it is recorded.
    recording: Mutex<Option<Recording>>,
    /// The client's side of the latest connection.
    client: Mutex<Option<TcpStream>>,
}

/// What has passed.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Every byte, as it was on the socket.
    pub raw: Vec<u8>,
    /// The messages from the relay to the client, whole.
    pub to_client: Vec<Vec<u8>>,
    /// The messages from the client to the relay, unmasked.
    pub to_relay: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToRelay,
    ToClient,
}

impl Proxy {
    /// Starts on a free port of the loopback.
    ///
    /// # Errors
    /// If the port cannot be listened on.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || connect(client, &shared));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where clients find the relay.
    pub fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Where the relay is now; new connections go there.
    pub fn lead_to(&self, target: SocketAddr) {
        *lock(&self.shared.target) = Some(target);
    }

    /// The bytes that have passed, both ways.
    pub fn bytes_count(&self) -> u64 {
        self.shared.bytes_count.load(Ordering::Relaxed)
    }

    /// Begins to record.
    pub fn record(&self) {
        lock(&self.shared.recording).get_or_insert_default();
    }

    /// What was recorded so far.
    pub fn recording(&self) -> Recording {
        lock(&self.shared.recording).clone().unwrap_or_default()
    }

    /// Says `message` to the client as if the relay had said it. Whether there was a connection.
    pub fn inject(&self, message: &[u8]) -> bool {
        let mut frame = vec![FIN_BINARY];
        match message.len() {
            len @ 0..=125 => frame.push(len as u8),
            len @ 126..=0xffff => {
                frame.push(126);
                frame.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                frame.push(127);
                frame.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(message);
        match lock(&self.shared.client).as_mut() {
            Some(client) => client.write_all(&frame).is_ok(),
            None => false,
        }
    }
}

/// The first byte of a whole binary message (RFC 6455 §5.2).
const FIN_BINARY: u8 = 0x82;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries one connection in both directions until either ends.
fn connect(client: TcpStream, shared: &Arc<Shared>) {
    let target = *lock(&shared.target);
    let Some(relay) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
    // Without it small frames wait for each other.
    let _ = (client.set_nodelay(true), relay.set_nodelay(true));
    let (Ok(from_client), Ok(from_relay), Ok(to_client)) = (client.try_clone(), relay.try_clone(), client.try_clone())
    else {
        return;
    };
    *lock(&shared.client) = Some(to_client);
    let upward = Arc::clone(shared);
    std::thread::spawn(move || carry(from_client, relay, &upward, Direction::ToRelay));
    carry(from_relay, client, shared, Direction::ToClient);
}

fn carry(mut from: TcpStream, mut to: TcpStream, shared: &Shared, direction: Direction) {
    let mut frames = Frames::default();
    let mut chunk = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut chunk) {
        shared.bytes_count.fetch_add(len as u64, Ordering::Relaxed);
        let ready = frames.feed(&chunk[..len]);
        record(shared, direction, &chunk[..len], &ready.messages);
        // Held while writing, so that an added frame stands between two of the relay.
        let _turn = (direction == Direction::ToClient).then(|| lock(&shared.client));
        if to.write_all(&ready.bytes).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn record(shared: &Shared, direction: Direction, raw: &[u8], messages: &[Vec<u8>]) {
    if let Some(recording) = lock(&shared.recording).as_mut() {
        recording.raw.extend_from_slice(raw);
        let of = match direction {
            Direction::ToClient => &mut recording.to_client,
            Direction::ToRelay => &mut recording.to_relay,
        };
        of.extend_from_slice(messages);
    }
}

/// Finds the frames of one direction: first the HTTP handshake, then WebSocket frames.
#[derive(Default)]
struct Frames {
    pending: Vec<u8>,
    is_open: bool,
}

/// What can be forwarded.
#[derive(Default)]
struct Ready {
    bytes: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl Frames {
    fn feed(&mut self, chunk: &[u8]) -> Ready {
        self.pending.extend_from_slice(chunk);
        let mut ready = Ready::default();
        if !self.is_open {
            let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") else { return ready };
            self.is_open = true;
            ready.bytes.extend(self.pending.drain(..end + 4));
        }
        while let Some((len, message)) = frame(&self.pending) {
            ready.bytes.extend(self.pending.drain(..len));
            ready.messages.extend(message);
        }
        ready
    }
}

/// The first frame of `bytes`, if it is whole: its length, and its payload unmasked if it is a binary message.
fn frame(bytes: &[u8]) -> Option<(usize, Option<Vec<u8>>)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (payload_len, rest) = match second & 0x7f {
        126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest))?,
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest))?,
        len => (len.into(), rest),
    };
    let (mask, rest) = match second & 0x80 {
        0 => ([0; 4], rest),
        _ => rest.split_first_chunk().map(|(mask, rest)| (*mask, rest))?,
    };
    let payload = rest.get(..usize::try_from(payload_len).ok()?)?;
    let message = (first == FIN_BINARY)
        .then(|| payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect());
    Some((bytes.len() - rest.len() + payload.len(), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whatever_the_pieces() {
        let mut stream = b"GET /v1/ws HTTP/1.1\r\n\r\n".to_vec();
        let long = vec![7; 300];
        // Masked `hi`, a ping, and a message with a longer length.
        stream.extend_from_slice(&[0x82, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x89, 0x00, 0x82, 126, 1, 44]);
        stream.extend_from_slice(&long);
        for size in [1, 2, 3, 7, 1_000] {
            let mut frames = Frames::default();
            let (mut bytes, mut messages) = (Vec::new(), Vec::new());
            for chunk in stream.chunks(size) {
                let ready = frames.feed(chunk);
                bytes.extend(ready.bytes);
                messages.extend(ready.messages);
            }
            assert_eq!(bytes, stream);
            assert_eq!(messages, [b"hi".to_vec(), long.clone()]);
        }
    }
}
