//! One end of an HTTP/2 connection by hand: it does what a test says, which no library would.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A frame as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A request's fields.
pub fn asks(method: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", "/cart"), (":authority", "orders")])
}

/// One that reads, answers PINGs and acknowledges SETTINGS, and opens no window of itself.
pub struct Peer {
    pub stream: DuplexStream,
    /// Whether it answers PINGs and SETTINGS.
    pub answers: bool,
    /// What the other side lets be sent: of each stream at first, and of all together as it stands.
    pub window: i64,
    pub left: i64,
}

impl Peer {
    /// One that has said nothing yet.
    pub fn new(stream: DuplexStream) -> Self {
        Self { stream, answers: true, window: 65_535, left: 65_535 }
    }

    /// An instance that says its first words; it takes 65,535 bytes on a stream, and of all streams.
    pub async fn server(stream: DuplexStream) -> Self {
        let mut peer = Self::new(stream);
        peer.stream.read_exact(&mut [0; super::PREFACE.len()]).await.unwrap();
        peer.send(&frame(SETTINGS, 0, 0, b"")).await;
        peer
    }

    /// Reads until there is nothing more for the moment.
    pub async fn settle(&mut self) {
        while tokio::time::timeout(std::time::Duration::from_millis(5), self.next())
            .await
            .is_ok_and(|came| came.is_some())
        {}
    }

    /// Sends as much of a body as the windows allow at first; how much that was.
    pub async fn fill(&mut self, stream: u32) -> i64 {
        let all = self.window.min(self.left).max(0);
        let mut to_go = all as usize;
        while to_go > 0 {
            let n = to_go.min(16_384);
            self.send(&frame(DATA, 0, stream, &vec![b'x'; n])).await;
            to_go -= n;
        }
        self.left -= all;
        all
    }

    /// A client that says its first words, with windows of that size for its streams.
    pub async fn client(stream: DuplexStream, window: u32) -> Self {
        let mut peer = Self::new(stream);
        peer.send(super::PREFACE).await;
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        peer.send(&frame(SETTINGS, 0, 0, &settings)).await;
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// What comes next, but for PINGs and SETTINGS; none at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, s @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            let came = Frame { kind, flags, stream: u32::from_be_bytes(s), payload };
            if let Some(at) = came.payload.chunks(6).find(|one| came.kind == SETTINGS && one.starts_with(&[0, 4])) {
                self.window = i64::from(u32::from_be_bytes([at[2], at[3], at[4], at[5]]));
            }
            if let (WINDOW, 0, [a, b, c, d]) = (came.kind, came.stream, &came.payload[..]) {
                self.left += i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
            }
            match came.kind {
                SETTINGS if flags & ACK == 0 && self.answers => {
                    drop(self.stream.write_all(&frame(SETTINGS, ACK, 0, b"")).await)
                }
                PING if flags & ACK == 0 && self.answers => {
                    drop(self.stream.write_all(&frame(PING, ACK, 0, &came.payload)).await);
                }
                SETTINGS | PING => {}
                _ => return Some(came),
            }
        }
    }

    /// Reads until a frame of that kind comes.
    pub async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let came = self.next().await.expect("the connection goes on");
            if came.kind == kind {
                return came;
            }
        }
    }

    /// Reads to the end.
    pub async fn end(&mut self) {
        while self.next().await.is_some() {}
    }
}
