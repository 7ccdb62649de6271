//! A sample instance: a process that answers for a service, and now and then does not.
//!
//! It binds a free port on loopback for each instance it stands for, prints the ports as one line of JSON, and
//! serves until its standard input ends. That is how it ends with the demo, however the demo ends.

use std::convert::Infallible;
use std::future::pending;
use std::io::{self, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use super::fault::{Fault, Model, REQUEST};

/// The header that says which service answered.
pub(crate) const SERVICE: &str = "x-demo-service";

/// How late a late answer is.
const LATE: Duration = Duration::from_millis(100);

/// Answers for sample services. Started by `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The seed of the faults.
    #[arg(long)]
    pub seed: u64,
    /// Instances of each service.
    #[arg(long)]
    pub instances: u32,
    /// Which instances to stand for: `orders/2`.
    #[arg(required = true)]
    pub hosted: Vec<Hosted>,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosted {
    /// The service's name.
    pub service: String,
    /// Counted from 0.
    pub instance: u32,
}

impl FromStr for Hosted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once('/').and_then(|(service, instance)| {
            Some(Self { service: service.to_owned(), instance: instance.parse().ok()? })
        });
        parsed.ok_or_else(|| format!("`{text}` is not of the form `orders/2`"))
    }
}

/// Serves until standard input ends.
pub fn run(arguments: Args) -> ExitCode {
    super::end_with_stdin();
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sample instance: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Args) -> io::Result<()> {
    let model = Model { seed: arguments.seed, instances: arguments.instances };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut ports = Vec::new();
        for hosted in arguments.hosted {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            ports.push(listener.local_addr()?.port());
            spawn_local(accept(listener, Rc::new(Instance { model, hosted })));
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(&ports)?)?;
        stdout.flush()?;
        drop(stdout);
        pending().await
    })
}

struct Instance {
    model: Model,
    hosted: Hosted,
}

async fn accept(listener: TcpListener, instance: Rc<Instance>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                spawn_local(connection(stream, Rc::clone(&instance)));
            }
            // Out of descriptors, or a client that is gone already: neither is cured by hurry.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, instance: Rc<Instance>) {
    let _ = stream.set_nodelay(true);
    let reset = Notify::new();
    let service = service_fn(|request| instance.answer(request, &reset));
    let mut served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        _ = &mut served => true,
        () = reset.notified() => false,
    };
    if !ended {
        let stream = served.into_parts().io.into_inner();
        // Without lingering, a close sends a reset.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

impl Instance {
    async fn answer(&self, request: Request<Incoming>, reset: &Notify) -> Result<Response<Full<Bytes>>, Infallible> {
        let Hosted { service, instance } = &self.hosted;
        let number = request.headers().get(REQUEST).and_then(|value| value.to_str().ok()?.parse().ok());
        match number.and_then(|number| self.model.fault(service, *instance, number)) {
            None => Ok(self.say(StatusCode::OK)),
            Some(Fault::Unavailable) => Ok(self.say(StatusCode::SERVICE_UNAVAILABLE)),
            Some(Fault::Late) => {
                tokio::time::sleep(LATE).await;
                Ok(self.say(StatusCode::OK))
            }
            Some(Fault::Reset) => {
                reset.notify_one();
                pending().await
            }
            Some(Fault::Stall) => pending().await,
        }
    }

    fn say(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let Hosted { service, instance } = &self.hosted;
        let pid = std::process::id();
        let body = format!(
            "{{\"service\":\"{service}\",\"instance\":{instance},\"pid\":{pid},\"status\":{}}}\n",
            status.as_u16()
        );
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(name) = HeaderValue::from_str(service) {
            headers.insert(SERVICE, name);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_its_service_and_number() {
        assert_eq!("orders/2".parse(), Ok(Hosted { service: "orders".into(), instance: 2 }));
        for bad in ["orders", "orders/", "orders/x", "/-1"] {
            assert!(bad.parse::<Hosted>().is_err(), "{bad}");
        }
    }
}
