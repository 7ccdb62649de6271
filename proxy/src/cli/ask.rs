//! Asking a running proxy's admin API.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use outrigger::drill::client::authorization;
pub use outrigger::drill::client::escaped;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

/// For the whole conversation: it is with a process on this machine, usually.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer: some 100,000 endpoints.
const MAX_ANSWER: usize = 64 << 20;

/// The answer to a GET, or what to tell whoever typed the command.
pub fn ask(admin: &str, path: &str) -> Result<String, String> {
    send(admin, Method::GET, path, None)
}

/// The answer to a request with a JSON body or none, or what to tell whoever typed the command.
pub fn send(admin: &str, method: Method, path: &str, body: Option<&Value>) -> Result<String, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| format!("cannot start: {e}"))?;
    runtime.block_on(send_within(PATIENCE, admin, method, path, body))
}

/// The same where there is a runtime already, in so much time.
pub async fn send_within(
    patience: Duration,
    admin: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<String, String> {
    let late = format!("{admin} did not answer within {} s", patience.as_secs());
    tokio::time::timeout(patience, converse(admin, method, path, body)).await.map_err(|_| late)?
}

/// An answer as what it should be.
pub fn understand<T: DeserializeOwned>(admin: &str, body: &str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|e| format!("{admin} answered something else than an Outrigger does: {e}"))
}

async fn converse(admin: &str, method: Method, path: &str, body: Option<&Value>) -> Result<String, String> {
    let expected = || format!("found `{admin}`, expected a URL like http://127.0.0.1:9901");
    let full = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let uri: Uri = full.parse().map_err(|_| expected())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(expected)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let advice = "is the proxy running, and is this its admin address?";
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|e| format!("cannot connect to {admin}: {e}; {advice}"))?;
    let broken = |e: hyper::Error| format!("{admin} broke off: {e}; {advice}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let conversation = async {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", authority.as_str())
            .header("accept", "application/json");
        if method != Method::GET
            && let Some(field) = authorization()
        {
            request = request.header("authorization", field);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if status.is_success() { Ok(text) } else { Err(format!("{admin} answered {status}: {}", said(&text))) }
    };
    // The connection has to be driven beside the conversation; when it ends first, its last answer still counts.
    tokio::pin!(conversation);
    tokio::select! {
        answer = &mut conversation => answer,
        _ = connection => conversation.await,
    }
}

/// What an answer says went wrong.
fn said(text: &str) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    match serde_json::from_str::<Failure>(text) {
        Ok(failure) => failure.error,
        Err(_) => text.lines().next().unwrap_or_default().chars().take(200).collect(),
    }
}
