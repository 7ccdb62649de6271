//! An HTTP/2 client, hyper's, for tests that read top to bottom.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::runtime;

/// The bound of a whole exchange.
const BOUND: Duration = Duration::from_secs(60);

/// A connection in cleartext with prior knowledge.
#[derive(Debug)]
pub struct Client {
    send: SendRequest<BoxBody<Bytes, hyper::Error>>,
    authority: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: http::response::Parts,
    /// Its body.
    pub body: Vec<u8>,
    /// What came after the body.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

impl Client {
    /// Connects; requests are for the given authority.
    #[track_caller]
    pub fn open(address: SocketAddr, authority: &str) -> Self {
        let send = runtime().block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).ok();
            let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                // What is too large is the proxy's to say.
                .max_header_list_size(1 << 20)
                .handshake(TokioIo::new(stream))
                .await
                .expect("h2");
            tokio::spawn(connection);
            send
        });
        Self { send, authority: authority.into() }
    }

    /// A request without a body.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], vec![], HeaderMap::new())
    }

    /// A request without a body, whose answer is left unread.
    #[track_caller]
    pub fn begin(&self, path: &str) -> Response<Incoming> {
        let mut send = self.send.clone();
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
        let request = Request::get(format!("http://{}{path}", self.authority)).body(body).expect("a request");
        runtime().block_on(async {
            tokio::time::timeout(BOUND, send.send_request(request))
                .await
                .expect("an answer in time")
                .expect("an answer")
        })
    }

    /// Requests without a body, all at once; their statuses.
    #[track_caller]
    pub fn all(&self, paths: &[&str]) -> Vec<u16> {
        let asking = paths.iter().map(|path| {
            let mut send = self.send.clone();
            let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed();
            let request = Request::get(format!("http://{}{path}", self.authority)).body(body).expect("a request");
            async move {
                send.ready().await.expect("an open connection");
                whole(send.send_request(request).await.expect("an answer")).await.expect("all of it").status()
            }
        });
        runtime().block_on(async {
            let asking = futures_util::future::join_all(asking);
            tokio::time::timeout(BOUND, asking).await.expect("answers in time")
        })
    }

    /// A request with a body, in frames of 16 KiB, and trailers where there are any.
    #[track_caller]
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
        trailers: HeaderMap,
    ) -> Answer {
        self.try_ask(method, path, fields, body, trailers).expect("a whole answer")
    }

    /// The same.
    ///
    /// # Errors
    /// Hyper's, for a stream or a connection that broke.
    pub fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Vec<u8>,
        trailers: HeaderMap,
    ) -> Result<Answer, hyper::Error> {
        let uri = format!("http://{}{path}", self.authority);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let body = Bytes::from(body);
        let mut frames: Vec<Result<Frame<Bytes>, hyper::Error>> = (0..body.len())
            .step_by(16 * 1024)
            .map(|at| Ok(Frame::data(body.slice(at..body.len().min(at + 16 * 1024)))))
            .collect();
        if !trailers.is_empty() {
            frames.push(Ok(Frame::trailers(trailers)));
        }
        let body = match frames.is_empty() {
            true => http_body_util::Empty::new().map_err(|never| match never {}).boxed(),
            false => BodyExt::boxed(StreamBody::new(stream::iter(frames))),
        };
        let request = request.body(body).expect("a request");
        let sending = self.send.send_request(request);
        runtime().block_on(async {
            tokio::time::timeout(BOUND, async { whole(sending.await?).await }).await.expect("an answer in time")
        })
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, mut incoming) = response.into_parts();
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Answer { head, body, trailers })
}
