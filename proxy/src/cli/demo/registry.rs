//! How the fleet gets into the registry, and out of it: by Consul's HTTP API, as services register themselves.

use std::io;

use http::{Method, StatusCode};
use serde_json::json;

use super::Stage;
use super::fleet::{Ended, Fleet};

/// Registers every instance.
pub(crate) async fn register(stage: &Stage, fleet: &Fleet) -> io::Result<()> {
    for (service, members) in stage.services.iter().zip(&fleet.members) {
        for (number, member) in members.iter().enumerate() {
            let body = json!({
                "ID": format!("{service}-{number}"),
                "Name": service,
                "Address": member.address.ip(),
                "Port": member.address.port(),
                "Meta": { "pid": member.pid.to_string() },
            });
            put(stage, "/v1/agent/service/register", body.to_string()).await?;
        }
    }
    Ok(())
}

/// Deregisters what a process stood for.
pub(crate) async fn deregister(stage: &Stage, ended: &Ended) -> io::Result<()> {
    for (service, number) in &ended.hosted {
        put(stage, &format!("/v1/agent/service/deregister/{service}-{number}"), String::new()).await?;
    }
    Ok(())
}

async fn put(stage: &Stage, path: &str, body: String) -> io::Result<()> {
    match stage.client.ask(stage.registry, Method::PUT, path, body).await {
        Ok(answer) if answer.status == StatusCode::OK => Ok(()),
        Ok(answer) => {
            let reason = String::from_utf8_lossy(&answer.body).into_owned();
            Err(io::Error::other(format!("the registry refused {path}: {} {reason}", answer.status)))
        }
        Err(failure) => {
            Err(io::Error::other(format!("the registry at {} does not answer: {failure:?}", stage.registry)))
        }
    }
}
