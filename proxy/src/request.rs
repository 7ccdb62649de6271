//! A request that has passed the first checks, whichever protocol it came over.
//!
//! HTTP/1.1 and HTTP/2 make the same [`Request`] of what they have read. It owns its head and its body, and it knows
//! its client's connection only as a [`Peer`].

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

use crate::config::settings::{Access, Bulkhead, Cidr, HashBy, HttpLimits};
use crate::error::Reason;
use crate::http::framing::To;
use crate::http::head::{Name, Version, list};
use crate::http::{Bad, Head, Length, Pools};
use crate::http2::websocket;
use crate::request::body::Upload;
use crate::request::fields::{AttemptFields, Client, ControlNames, Identity, Outgoing, RequestId};
use crate::request::peer::Peer;
use crate::request::target::Target;
use crate::request::trailers::Passing;
use crate::resilience::shape::Shape;
use crate::route::{Ask, Route, key};

/// A request on its way through the proxy. It has passed [`screen`].
#[derive(Debug)]
pub struct Request {
    /// Its head, as it came.
    pub head: Rc<Head>,
    /// Its body, shared by all attempts.
    pub body: Rc<Upload>,
    /// Who sent it.
    pub client: Rc<Client>,
    /// Its id.
    pub id: RequestId,
    /// What its listener says of all its requests, if it says anything.
    pub entrance: Option<Rc<Entrance>>,
    /// The head as it came, where a route has changed it.
    pub asked: Option<Rc<Head>>,
    /// Where interim answers go. None where the client does not understand them.
    pub interim: Option<Rc<dyn Peer>>,
    /// Whether it asks for an upgrade.
    pub upgrade: bool,
}

/// What a listener says of all its requests.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// The service that they are for, whatever their host.
    pub service: Option<Arc<str>>,
    /// Who may call.
    pub access: Option<Arc<Access>>,
}

/// How often a request may have passed this process before it counts as a loop. More than once, so that chained
/// proxies and applications that copy `Via` still work.
const VISITS: usize = 4;

/// Checks what has to be so before anything is done for a request.
pub fn screen(head: &Head, identity: &Identity) -> Result<(), Reason> {
    Target::of(head)?;
    // RFC 9110 section 10.1.1 knows one expectation. A second one is an attempt to be read in two ways.
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

    /// The head that goes to an endpoint, with trailers announced or without. It borrows what the request has.
    pub fn outgoing<'a>(
        &'a self,
        identity: &'a Identity,
        onward: AttemptFields<'a>,
        trailers: bool,
    ) -> OutgoingRequest<'a> {
        OutgoingRequest { request: self, target: self.target(), identity, onward, trailers }
    }

    /// What decides which of its trailers go on, for trailers that have not come yet.
    pub fn passing(&self, http: &Arc<HttpLimits>) -> Passing {
        Passing { of: Rc::clone(&self.head), http: Arc::clone(http) }
    }

    /// Its shape: what it has in common with requests for the same kind of page.
    pub fn shape(&self) -> Shape {
        Shape::of(self.head.method(), self.target().path())
    }

    /// What kind of request the answer is for, as far as it decides where the answer ends.
    pub fn to(&self) -> To {
        To::of(self.head.method())
    }

    /// Whether a 101 switches to protocols that this request has asked for, and to nothing else (RFC 9110 section
    /// 7.8).
    pub fn is_granted_by(&self, answer: &Head) -> bool {
        let mut granted = answer.all(Name::Upgrade).flat_map(list).peekable();
        granted.peek().is_some() && granted.all(|protocol| self.head.lists(Name::Upgrade, protocol))
    }

    /// Whether it asks for a WebSocket.
    pub fn asks_websocket(&self) -> bool {
        self.upgrade && self.head.lists(Name::Upgrade, websocket::PROTOCOL.as_bytes())
    }

    /// What the reading of the answer depends on.
    pub fn asked(&self) -> Asked {
        Asked { to: self.to(), upgrade: self.upgrade }
    }

    /// The key of its bulkhead: its route, or its caller.
    pub fn divided_by(&self, bulkhead: Bulkhead, names: &ControlNames<'_>, route: Option<&Route>) -> Vec<u8> {
        match bulkhead {
            Bulkhead::PerRoute(_) => route.map(|route| route.name.as_bytes().to_vec()).unwrap_or_default(),
            Bulkhead::PerCaller(_) => self.caller(names).unwrap_or(self.client.text.as_bytes()).to_vec(),
        }
    }

    /// The address that the request comes from: the client's, or the one that a trusted client says it forwards for.
    pub fn origin(&self) -> IpAddr {
        self.stated_origin().unwrap_or(self.client.peer.ip())
    }

    /// The same; none where a trusted client forwards for something that is no address.
    pub fn stated_origin(&self) -> Option<IpAddr> {
        let said = if self.client.trusted { self.head.all(Name::XForwardedFor).last() } else { None };
        let Some(chain) = said else { return Some(self.client.peer.ip()) };
        let last = std::str::from_utf8(chain.rsplit(|b| *b == b',').next()?).ok()?.trim();
        // Some proxies add the port.
        let with_port = || last.parse::<SocketAddr>().ok().map(|address| address.ip());
        last.parse().ok().or_else(with_port)
    }

    /// What it asks for, for the table of routes and for what keeps requests together.
    pub fn ask<'a>(&'a self, target: &'a Target<'_>) -> Ask<'a> {
        let (path, query) = target.path_and_query();
        Ask { method: self.head.method(), path, query, head: &self.head }
    }

    /// What it has in common with others, by the head as it came.
    pub fn key(&self, by: &HashBy) -> Option<u64> {
        let head = self.head_as_asked();
        let target = Target::again(head);
        let (path, query) = target.path_and_query();
        key::of(by, &Ask { method: head.method(), path, query, head }, || self.origin())
    }

    /// The head as it came.
    pub fn head_as_asked(&self) -> &Rc<Head> {
        self.asked.as_ref().unwrap_or(&self.head)
    }

    /// The caller's name, if a trusted client gives one.
    pub fn caller(&self, names: &ControlNames<'_>) -> Option<&[u8]> {
        self.client.trusted.then(|| self.head.named(names.caller)).flatten()
    }

    /// Passes an interim answer on, if the client understands it.
    pub fn interim(&self, head: &Head) {
        if let Some(peer) = &self.interim {
            peer.interim(head);
        }
    }
}

/// What a worker brings to each message that passes through it.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// This process's name in `Via`.
    pub identity: &'a Identity,
    /// Bounds on what a peer may send.
    pub http: &'a Arc<HttpLimits>,
    /// Buffers, heads, scratch.
    pub pools: &'a Rc<Pools>,
}

/// What the request asked for, as far as the reading of its answer depends on it.
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

    /// The fields that are written.
    pub fn fields(&self) -> Outgoing<'_> {
        Outgoing {
            head: &self.request.head,
            target: &self.target.origin,
            host: self.target.host,
            asked_host: match &self.request.asked {
                None => self.target.host,
                Some(asked) => Target::again(asked).host,
            },
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

/// The reason for which a client's malformed message is refused.
pub fn reason_of(bad: Bad) -> Reason {
    match bad {
        Bad::Grammar => Reason::BadRequest,
        Bad::Coding => Reason::UnsupportedCoding,
        Bad::TooLarge | Bad::TooManyLines => Reason::HeadTooLarge,
    }
}

/// Whether a request asks to switch protocols (RFC 9110 section 7.8). One with a body does not.
pub fn asks_upgrade(head: &Head, length: Length) -> bool {
    head.version() == Version::Http11
        && head.has(Name::Upgrade)
        && length == Length::NONE
        && head.lists(Name::Connection, b"upgrade")
        // Whether an endpoint is spoken to over HTTP/2 is configured (`protocol: http2`), and not for a client to
        // choose.
        && !head.lists(Name::Upgrade, b"h2c")
}

/// Whether a client waits for 100 before it sends its body.
pub fn expects_continue(head: &Head) -> bool {
    head.only(Name::Expect).is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// A client by its address, and whether its fields are trusted.
pub fn client(peer: SocketAddr, trusted: &[Cidr]) -> Client {
    let ip = peer.ip().to_canonical();
    let trusted = ip.is_loopback() || trusted.iter().any(|block| block.contains(ip));
    Client { peer: SocketAddr::new(ip, peer.port()), text: ip.to_string().into(), trusted, tls: None }
}
