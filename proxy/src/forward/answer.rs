//! What a request got from an endpoint, or instead.

use std::rc::Rc;

use crate::clock::Instant;
use crate::forward::response_body::Download;
use crate::http::Head;
use crate::request::grpc;
use crate::upstream;

/// What a request got.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every answer is the large one, and a box is an allocation")]
pub enum Answer {
    /// A head and a body that owns everything that has to live until its last byte.
    Response(Rc<Head>, Download),
    /// 101: from here on there are only bytes.
    Tunnel(Rc<Head>, upstream::Tunnelled),
}

impl Answer {
    /// The answer's status.
    pub fn status(&self) -> u16 {
        self.head().status()
    }

    /// The answer's head.
    pub fn head(&self) -> &Rc<Head> {
        match self {
            Self::Response(head, _) | Self::Tunnel(head, _) => head,
        }
    }

    /// The gRPC status in the answer's head, where there is one.
    pub fn grpc_status(&self) -> Option<u8> {
        grpc::status_of(self.head())
    }

    /// Sends no more of the request's body to whoever gave it: another attempt reads it from now on.
    pub fn stop_upload(&mut self) {
        if let Self::Response(_, download) = self {
            download.stop_upload();
        }
    }

    /// What follows the answer's body, as far as that has come.
    pub fn trailers(&self) -> Option<Rc<Head>> {
        match self {
            Self::Response(_, download) => download.trailers(),
            Self::Tunnel(..) => None,
        }
    }
}

/// An answer, and when its head had come.
#[derive(Debug)]
pub struct Response {
    /// The answer.
    pub answer: Answer,
    /// When its head had come.
    pub heard: Instant,
}
