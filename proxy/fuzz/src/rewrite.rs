//! How the proxy writes a message that it understood: each head through `outrigger::request::fields`, in the order a
//! connection would, with what `outrigger::http::framed` lets follow of bodies and trailers behind them.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use outrigger::http::framed::Framed;
use outrigger::request::fields::{self, Client, ControlNames, Identity, AttemptFields, Outgoing, Reply, RequestId};
use outrigger::request::{asks_upgrade, screen};
use outrigger::request::target::Target;
use outrigger::request::trailers::{self, Trailers};
use outrigger::http::framing::To;
use outrigger::http::{Head, Length, Version};

use crate::ours::{Kind, Message};

/// Who the proxy is.
pub static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::new(1));
/// The random part of every id that is made here.
pub const RANDOM: u128 = 7;

/// What of the writing does not depend on the message. All of it is in an input's second byte.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// How large the chunks are that we write.
    pub chunk: usize,
    /// Whether the client's word counts.
    pub trusted: bool,
    /// Whether an upgrade that is asked for may be granted.
    pub upgrade: bool,
    /// Whether the client's address is one of IPv6.
    pub v6: bool,
    /// Whether the client speaks HTTP/1.0.
    pub old: bool,
    /// Whether the connection ends after an answer.
    pub close: bool,
    /// Whether an answer is the proxy's own.
    pub own: bool,
    /// Whether a message that came over HTTP/2 has a body, whatever its head says.
    pub body: bool,
    /// Whether the message came over HTTP/2.
    pub h2: bool,
}

impl How {
    /// From an input's second byte.
    pub fn of(byte: u8) -> Self {
        let bit = |n: u8| byte >> n & 1 == 1;
        Self {
            chunk: [1, 2, 3, 5, 16, 17, 1000, usize::MAX][usize::from(byte & 7)],
            trusted: bit(3),
            upgrade: bit(4),
            v6: bit(5),
            old: bit(3),
            close: bit(4),
            own: bit(5),
            body: bit(6),
            h2: bit(7),
        }
    }

    /// The client.
    pub fn client(self) -> Client {
        let peer: SocketAddr =
            if self.v6 { ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 80).into() } else { ([192, 0, 2, 7], 80).into() };
        Client { peer, text: peer.ip().to_string().into(), trusted: self.trusted, tls: None }
    }

    /// What is said of an attempt.
    pub fn onward(self) -> AttemptFields<'static> {
        let names = ControlNames {
            deadline: b"x-request-deadline",
            priority: b"x-outrigger-priority",
            caller: b"x-outrigger-caller",
        };
        let remaining = self.body.then_some(Duration::from_millis(14_999));
        AttemptFields { names, remaining, attempt: 1 + u32::from(self.upgrade) }
    }

    /// Whether this request's upgrade may be granted.
    pub fn grants(self, message: &Message) -> bool {
        self.upgrade && asks_upgrade(&message.head, message.length)
    }

    /// What the answer's head depends on.
    pub fn reply<'a>(self, message: &Message, kind: Kind, id: &'a RequestId) -> Reply<'a> {
        let switches = message.head.status() == 101;
        let mut reply = Reply {
            version: if self.old && !switches { Version::Http10 } else { Version::Http11 },
            close: self.close && !switches,
            to: if kind == Kind::HeadResponses { To::Head } else { To::Other },
            length: message.length,
            identity: (!self.own).then_some(&*IDENTITY),
            id,
            degraded: None,
        };
        reply.close |= reply.ends_by_close(&message.head);
        reply
    }
}

/// Whether an answer is followed by another on its way to the same client.
pub fn is_interim(head: &Head) -> bool {
    matches!(head.status(), 100 | 102..=199)
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The proxy refuses it, and nothing was written.
    Nothing,
    /// All of it.
    Whole {
        /// Whether another may follow on the same connection.
        more: bool,
    },
    /// Its body is not as long as its head says: the connection closes where that was seen.
    Broken,
}

impl Written {
    fn new(whole: bool, more: bool) -> Self {
        if whole { Self::Whole { more } } else { Self::Broken }
    }
}

/// Writes a request anew.
pub fn request(out: &mut Vec<u8>, message: &Message, how: How) -> Written {
    let head = &message.head;
    let Ok(target) = Target::of(head) else { return Written::Nothing };
    if screen(head, &IDENTITY).is_err() {
        return Written::Nothing;
    }
    assert_eq!(target, Target::again(head), "a target is another the second time");
    let client = how.client();
    let outgoing = Outgoing {
        head,
        target: &target.origin,
        host: target.host,
        asked_host: target.host,
        length: message.length,
        client: &client,
        identity: &IDENTITY,
        id: &RequestId::of(head, &client, || RANDOM),
        upgrade: how.grants(message),
        trailers: true,
        onward: how.onward(),
    };
    let mut lead = Vec::new();
    outgoing.write_h1(&mut lead);
    Written::new(body(out, lead, message, how, message.length), true)
}

/// Writes an answer anew.
pub fn answer(out: &mut Vec<u8>, message: &Message, kind: Kind, how: How) -> Written {
    let head = &message.head;
    if is_interim(head) {
        fields::write_interim(head, out);
        return Written::Whole { more: true };
    }
    let id = RequestId::of(&Head::default(), &how.client(), || RANDOM);
    let reply = how.reply(message, kind, &id);
    let mut lead = Vec::new();
    reply.write_h1(head, &mut lead);
    Written::new(body(out, lead, message, how, reply.body(head)), !reply.close && head.status() != 101)
}

/// Writes a head and what it has room for, as a connection does. True when that is the whole message.
fn body(out: &mut Vec<u8>, head: Vec<u8>, message: &Message, how: How, room: Length) -> bool {
    let mut framed = Framed::new(head, room);
    for piece in message.body.chunks(how.chunk) {
        let fits = framed.offer(piece.len()).is_ok();
        drive(out, &mut framed, piece);
        if !fits {
            return false;
        }
    }
    let trailers = (!message.trailers.is_empty()).then_some(&message.trailers);
    let names = how.onward().names;
    let these = trailers.map(|fields| Trailers { fields, of: &message.head, names });
    let whole = framed.end(|out, first| trailers::write_last_chunk(out, first, these)).is_ok();
    drive(out, &mut framed, b"");
    assert_eq!(framed.is_over(), whole, "an end that is none");
    whole
}

fn drive(out: &mut Vec<u8>, framed: &mut Framed, piece: &[u8]) {
    while !framed.is_written() {
        let polled = framed.poll_write(|room| {
            let before = out.len();
            out.extend_from_slice(room.lead());
            out.extend_from_slice(room.of(piece));
            Poll::Ready(Ok(out.len() - before))
        });
        assert!(matches!(polled, Poll::Ready(Ok(_))), "memory takes everything: {polled:?}");
    }
}
