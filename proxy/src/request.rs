//! A request that was found sound, from either protocol.

pub mod body;
pub mod control_fields;
pub mod fields;
pub mod grpc;
pub mod peer;
pub mod target;
pub mod trailers;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::config::settings::{Bulkhead, Cidr, HttpLimits};
use crate::error::Reason;
use crate::http::framing::To;
use crate::http::head::{Name, Version, list};
use crate::http::{Bad, Head, Length, Pools};
use crate::request::body::Upload;
use crate::request::fields::{AttemptFields, Client, ControlNames, Identity, Outgoing, RequestId};
use crate::request::peer::Peer;
use crate::request::target::Target;
use crate::request::trailers::Passing;
use crate::resilience::shape::Shape;
use crate::route::Route;

/// A request on its way through. [`screen`] has been passed.
#[derive(Debug)]
pub struct Request {
    /// As it came.
    pub head: Rc<Head>,
    /// Shared by its attempts.
    pub body: Rc<Upload>,
    /// Who sent it.
    pub client: Rc<Client>,
    /// Its id.
    pub id: RequestId,
    /// The service that its listener belongs to, whatever its host.
    pub service: Option<Rc<str>>,
    /// Where interim answers go: an HTTP/1.1 client that understands them.
    pub interim: Option<Rc<dyn Peer>>,
    /// Whether it asks for an upgrade.
    pub upgrade: bool,
}

/// How often a request may have been here before it is a loop: chained proxies and applications that copy `Via` still
/// work.
const VISITS: usize = 4;

/// What has to be so before anything is done for a request.
pub fn screen(head: &Head, identity: &Identity) -> Result<(), Reason> {
    Target::of(head)?;
    // RFC 9110 section 10.1.1 knows one expectation; whoever hides another behind it hopes that somebody does not.
    if head.has(Name::Expect) && !expects_continue(head) {
        return Err(Reason::BadRequest);
    }
    if head.has(Name::Via) && identity.visits(head) >= VISITS {
        return Err(Reason::Loop);
    }
    // RFC 9110 section 7.6.2.
    let answer_here = matches!(head.method(), b"TRACE" | b"OPTIONS") && head.only(Name::MaxForwards) == Some(b"0");
    if answer_here { Err(Reason::MaxForwards) } else { Ok(()) }
}

impl Request {
    /// Its target, taken apart.
    pub fn target(&self) -> Target<'_> {
        Target::again(&self.head)
    }

    /// What goes to an endpoint, with its trailers or without. The borrowed parts are the request's own.
    pub fn outgoing<'a>(
        &'a self,
        identity: &'a Identity,
        onward: AttemptFields<'a>,
        trailers: bool,
    ) -> OutgoingRequest<'a> {
        OutgoingRequest { request: self, target: self.target(), identity, onward, trailers }
    }

    /// What of its trailers goes on.
    pub fn passing(&self, http: &Arc<HttpLimits>) -> Passing {
        Passing { of: Rc::clone(&self.head), http: Arc::clone(http) }
    }

    /// What it has in common with others of its kind.
    pub fn shape(&self) -> Shape {
        Shape::of(self.head.method(), self.target().path())
    }

    /// What its answer is the answer to.
    pub fn to(&self) -> To {
        To::of(self.head.method())
    }

    /// Whether a 101 switches to what was asked for: it says to what, and to nothing else (RFC 9110 section 7.8).
    pub fn is_granted_by(&self, answer: &Head) -> bool {
        let mut granted = answer.all(Name::Upgrade).flat_map(list).peekable();
        granted.peek().is_some() && granted.all(|protocol| self.head.lists(Name::Upgrade, protocol))
    }

    /// What the answer's reading depends on.
    pub fn asked(&self) -> Asked {
        Asked { to: self.to(), upgrade: self.upgrade }
    }

    /// Whose part of a service it takes.
    pub fn divided_by(&self, bulkhead: Bulkhead, names: &ControlNames<'_>, route: Option<&Route>) -> Vec<u8> {
        match bulkhead {
            Bulkhead::PerRoute(_) => route.map(|route| route.name.as_bytes().to_vec()).unwrap_or_default(),
            Bulkhead::PerCaller(_) => self.caller(names).unwrap_or(self.client.text.as_bytes()).to_vec(),
        }
    }

    /// Whose request it is, as far as it can be told: the client, or whom a trusted one forwards for.
    pub fn origin(&self) -> IpAddr {
        let said = if self.client.trusted { self.head.all(Name::XForwardedFor).last() } else { None };
        let last =
            said.and_then(|chain| std::str::from_utf8(chain.rsplit(|b| *b == b',').next()?).ok()?.trim().parse().ok());
        last.unwrap_or(self.client.peer.ip())
    }

    /// Who a trusted client says that it is.
    pub fn caller(&self, names: &ControlNames<'_>) -> Option<&[u8]> {
        self.client.trusted.then(|| self.head.named(names.caller)).flatten()
    }

    /// Passes an interim answer on, where there is somebody for it.
    pub fn interim(&self, head: &Head) {
        if let Some(peer) = &self.interim {
            peer.interim(head);
        }
    }
}

/// What this proxy brings to a message that passes it.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Bounds on what a peer may send.
    pub http: &'a Arc<HttpLimits>,
    /// Buffers, heads, scratch.
    pub pools: &'a Rc<Pools>,
}

/// What the request asked for, as far as the answer's reading depends on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Its method, which may be one whose answer ends at its head.
    pub to: To,
    /// It asked for an upgrade: 101 may come.
    pub upgrade: bool,
}

/// A request's outgoing head.
#[derive(Debug)]
pub struct OutgoingRequest<'a> {
    request: &'a Request,
    /// Its target.
    pub target: Target<'a>,
    identity: &'a Identity,
    onward: AttemptFields<'a>,
    trailers: bool,
}

impl OutgoingRequest<'_> {
    /// Writes it for HTTP/1.1.
    pub fn write_h1(&self, out: &mut Vec<u8>) {
        self.fields().write_h1(out);
    }

    /// What is written.
    pub fn fields(&self) -> Outgoing<'_> {
        Outgoing {
            head: &self.request.head,
            target: &self.target.origin,
            host: self.target.host,
            length: self.request.body.length(),
            client: &self.request.client,
            identity: self.identity,
            id: &self.request.id,
            upgrade: self.request.upgrade,
            trailers: self.trailers,
            onward: self.onward,
        }
    }
}

/// What is wrong with a client's message.
pub fn reason_of(bad: Bad) -> Reason {
    match bad {
        Bad::Grammar => Reason::BadRequest,
        Bad::Coding => Reason::UnsupportedCoding,
        Bad::TooLarge | Bad::TooManyLines => Reason::HeadTooLarge,
    }
}

/// Whether a head asks to switch protocols (RFC 9110 section 7.8), without a body in the way.
pub fn asks_upgrade(head: &Head, length: Length) -> bool {
    head.version() == Version::Http11
        && head.has(Name::Upgrade)
        && length == Length::NONE
        && head.lists(Name::Connection, b"upgrade")
        // An endpoint's HTTP/2 is the endpoint's own affair: `protocol: http2`.
        && !head.lists(Name::Upgrade, b"h2c")
}

/// Whether a client waits for 100 before it sends its body.
pub fn expects_continue(head: &Head) -> bool {
    head.only(Name::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Who a peer is, and whether its word counts.
pub fn client(peer: SocketAddr, trusted: &[Cidr]) -> Client {
    let ip = peer.ip().to_canonical();
    let trusted = ip.is_loopback() || trusted.iter().any(|block| block.contains(ip));
    Client { peer: SocketAddr::new(ip, peer.port()), text: ip.to_string().into(), trusted }
}

impl Cidr {
    /// Whether the block holds the address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let shared = |a: u128, b: u128, bits: u32| {
            let prefix = u32::from(self.prefix).min(bits);
            prefix == 0 || (a ^ b) >> (bits - prefix) == 0
        };
        match (self.address, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => shared(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => shared(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}
