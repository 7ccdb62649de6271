//! HTTP/2 by hand: frames go out as they are given, sound or not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::SOON;

/// What a connection opens with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A type of frame: a body's bytes.
pub const DATA: u8 = 0;
/// A type of frame: a head, or trailers.
pub const HEADERS: u8 = 1;
/// A type of frame: what a stream depends on.
pub const PRIORITY: u8 = 2;
/// A type of frame: the stream is given up.
pub const RST_STREAM: u8 = 3;
/// A type of frame.
pub const SETTINGS: u8 = 4;
/// A type of frame.
pub const PING: u8 = 6;
/// A type of frame: no further streams.
pub const GOAWAY: u8 = 7;
/// A type of frame: room for more DATA.
pub const WINDOW_UPDATE: u8 = 8;
/// A type of frame: the rest of a head.
pub const CONTINUATION: u8 = 9;

/// A flag: nothing more of its sender on this stream.
pub const END_STREAM: u8 = 1;
/// A flag: the whole block of fields.
pub const END_HEADERS: u8 = 4;
/// A flag: the payload begins with how much of it is padding.
pub const PADDED: u8 = 8;
const ACK: u8 = 1;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection's own.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether the stream's sender has no more to say.
    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects as a client.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let mut frames = Self::over(TcpStream::connect_timeout(&address, SOON).expect("a connection"));
        frames.stream.write_all(PREFACE).expect("sending");
        frames.send(SETTINGS, 0, 0, &[]);
        frames
    }

    /// Takes a client's preface. None where it does not come.
    pub fn accept(stream: TcpStream, settings: &[u8]) -> Option<Self> {
        let mut frames = Self::over(stream);
        let mut preface = [0; PREFACE.len()];
        frames.stream.read_exact(&mut preface).ok().filter(|()| preface == *PREFACE)?;
        frames.send(SETTINGS, 0, 0, settings);
        Some(frames)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(SOON)).expect("a read timeout");
        stream.set_write_timeout(Some(SOON)).expect("a write timeout");
        Self { stream }
    }

    /// The socket itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a frame, as far as the peer lets it.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        // Whoever has gone is seen at the next read.
        let _gone = self.press(&frame(kind, flags, stream, payload));
    }

    /// Sends frames, whatever they are. Returns whether the peer has taken them.
    pub fn press(&mut self, frames: &[u8]) -> bool {
        self.stream.write_all(frames).is_ok()
    }

    /// The next frame that is not housekeeping: SETTINGS and PING are answered here. None at the end.
    pub fn receive(&mut self) -> Option<Frame> {
        std::iter::from_fn(|| self.read()).find(|frame| !matches!(frame.kind, SETTINGS | PING))
    }

    /// Returns when the peer has looked at all that was sent. What comes before its answer is lost.
    pub fn ping(&mut self) {
        self.send(PING, 0, 0, &[0; 8]);
        std::iter::from_fn(|| self.read()).find(|frame| frame.kind == PING && frame.flags & ACK != 0);
    }

    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
            self.send(kind, ACK, 0, if kind == PING { &payload } else { &[] });
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1), payload })
    }

    /// The next frame of that kind, whatever comes before it.
    pub fn find(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.receive()).find(|frame| frame.kind == kind)
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).expect("a length of 24 bits").to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A field as a literal that is put into no table (RFC 7541 section 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).ok().filter(|len| *len < 127).expect("a short text");
    [&[0, short(name)], name.as_bytes(), &[short(value)], value.as_bytes()].concat()
}

/// Fields, one after the other.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A server that plays a script on each connection, which opens with these SETTINGS.
pub fn serve(settings: &'static [u8], script: impl Fn(&mut Frames) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    let script = std::sync::Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let script = std::sync::Arc::clone(&script);
            std::thread::spawn(move || {
                if let Some(mut frames) = Frames::accept(stream, settings) {
                    script(&mut frames);
                }
            });
        }
    });
    address
}
