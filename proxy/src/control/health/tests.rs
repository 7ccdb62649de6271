use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::settings::Probe;

const SOON: Duration = Duration::from_secs(20);

/// A server for one answer, over HTTP/1.1 and HTTP/2; what was asked is in its log.
struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Request<Bytes>>,
}

type Stream = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn body(frames: Vec<Frame<Bytes>>) -> Stream {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok).collect::<Vec<_>>()))
}

async fn server(http2: bool, answer: impl Fn() -> Response<Stream> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, seen) = mpsc::unbounded_channel();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tell, answer) = (tell.clone(), Arc::clone(&answer));
            let service = service_fn(move |request: Request<Incoming>| {
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    tell.send(Request::from_parts(head, body)).ok();
                    Ok::<_, Infallible>(answer())
                }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                match http2 {
                    false => hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok(),
                    true => hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await
                        .ok(),
                }
            });
        }
    });
    Server { address, seen }
}

fn status(code: u16, text: &'static str) -> Response<Stream> {
    let mut response = Response::new(body(vec![Frame::data(Bytes::from_static(text.as_bytes()))]));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
    response
}

fn question(address: SocketAddr, probe: Probe) -> Question {
    let service = "orders".into();
    Question { address, port: None, probe, protocol: Protocol::Http1, tls: None, service, timeout: SOON }
}

fn http(path: &str) -> Probe {
    Probe::Http { path: path.into(), host: None }
}

fn grpc(service: &str) -> Probe {
    Probe::Grpc { service: service.into() }
}

async fn why(question: Question) -> String {
    match probe::ask(question).await {
        Ok(()) => "good".into(),
        Err(Fault::Theirs(why)) => why,
        Err(Fault::Ours(why)) => format!("ours: {why}"),
    }
}

/// An address that refuses.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A listener that answers each connection with these bytes, or with silence.
async fn raw(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            match answer {
                Some(answer) => {
                    if stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {
                        stream.write_all(answer).await.ok();
                    }
                }
                None => held.push(stream),
            }
        }
    });
    address
}

#[tokio::test]
async fn http_is_good_from_200_to_399() {
    for (code, expected) in [(200, "good"), (204, "good"), (302, "good"), (399, "good")].into_iter().chain([
        (404, "status 404"),
        (500, "status 500"),
        (503, "status 503"),
    ]) {
        for http2 in [false, true] {
            let text = if code == 204 { "" } else { "some text" };
            let server = server(http2, move || status(code, text)).await;
            let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
            let question = Question { protocol, ..question(server.address, http("/healthz?full=1")) };
            assert_eq!(why(question).await, expected, "HTTP/2: {http2}");
        }
    }
}

#[tokio::test]
async fn a_check_says_who_it_is_and_for_which_host() {
    let mut server = server(false, || status(200, "")).await;
    assert_eq!(why(question(server.address, http("/healthz?full=1"))).await, "good");
    let seen = server.seen.recv().await.unwrap();
    assert_eq!((seen.method().as_str(), seen.uri().to_string().as_str()), ("GET", "/healthz?full=1"));
    assert_eq!(seen.headers()["host"], "orders");
    assert_eq!(seen.headers()["connection"], "close");
    assert!(seen.headers()["user-agent"].to_str().unwrap().starts_with("outrigger-health-check/"));
    let probe = Probe::Http { path: "/".into(), host: Some("orders.example.com".into()) };
    assert_eq!(why(question(server.address, probe)).await, "good");
    assert_eq!(server.seen.recv().await.unwrap().headers()["host"], "orders.example.com");
    let nonsense = Probe::Http { path: "/".into(), host: Some("a\nb".into()) };
    assert_eq!(why(question(server.address, nonsense)).await, "`a\nb/` cannot be asked for");
}

#[tokio::test]
async fn another_port_is_asked_in_http1_whatever_the_service_speaks() {
    let server = server(false, || status(200, "")).await;
    let elsewhere = SocketAddr::new(server.address.ip(), refusing().await.port());
    let question =
        Question { port: Some(server.address.port()), protocol: Protocol::Http2, ..question(elsewhere, http("/")) };
    assert_eq!(why(question).await, "good");
}

#[tokio::test]
async fn what_fails_says_how() {
    let silent = raw(None).await;
    let brief = |question| Question { timeout: Duration::from_millis(200), ..question };
    for probe in [http("/"), grpc(""), Probe::Tcp] {
        let refused = question(refusing().await, probe.clone());
        assert_eq!(why(refused).await, "connection refused", "{probe:?}");
        if probe != Probe::Tcp {
            assert_eq!(why(brief(question(silent, probe))).await, "no answer within 200ms");
        }
    }
    assert_eq!(why(question(silent, Probe::Tcp)).await, "good", "a connection is all that is asked");
    let http2 = Question { protocol: Protocol::Http2, ..question(silent, http("/")) };
    assert_eq!(why(brief(http2)).await, "no answer within 200ms");
    let closing = raw(Some(b"")).await;
    let closed = why(question(closing, http("/"))).await;
    assert!(closed.contains("connection closed") || closed == "connection reset", "{closed}");
    let other = raw(Some(b"220 mail.example.com ESMTP\r\n")).await;
    let said = why(question(other, http("/"))).await;
    assert!(said.contains("invalid HTTP"), "{said}");
    let said = why(question(other, grpc(""))).await;
    assert!(["http2 error", "connection", "broken pipe"].iter().any(|word| said.contains(word)), "{said}");
}

#[tokio::test]
async fn a_status_decides_whatever_becomes_of_the_body() {
    let broken = raw(Some(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")).await;
    assert_eq!(why(question(broken, http("/"))).await, "good");
    let large = server(false, || {
        let piece = || Frame::data(Bytes::from(vec![b'x'; 16 << 10]));
        Response::new(body((0..100).map(|_| piece()).collect()))
    });
    assert_eq!(why(question(large.await.address, http("/"))).await, "good");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endless = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let brief = Question { timeout: Duration::from_millis(200), ..question(endless, http("/events")) };
    assert_eq!(why(brief).await, "good");
}

fn health(message: &'static [u8], grpc_status: Option<&'static str>) -> Response<Stream> {
    let mut trailers = HeaderMap::new();
    if let Some(code) = grpc_status {
        trailers.insert("grpc-status", HeaderValue::from_static(code));
    }
    let frames = vec![Frame::data(Bytes::from_static(message)), Frame::trailers(trailers)];
    let mut response = Response::new(body(frames));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

#[tokio::test]
async fn grpc_is_good_when_it_is_serving() {
    let mut serving = server(true, || health(b"\0\0\0\0\x02\x08\x01", Some("0"))).await;
    assert_eq!(why(question(serving.address, grpc("shop.Cart"))).await, "good");
    let seen = serving.seen.recv().await.unwrap();
    assert_eq!((seen.method().as_str(), seen.uri().path()), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(seen.headers()["content-type"], "application/grpc");
    assert_eq!(seen.headers()["te"], "trailers");
    assert_eq!(seen.headers()["grpc-timeout"], "20000m");
    assert_eq!(&seen.body()[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");

    let not = server(true, || health(b"\0\0\0\0\x02\x08\x02", Some("0"))).await;
    assert_eq!(why(question(not.address, grpc(""))).await, "NOT_SERVING");
    let dying = server(true, || health(b"\0\0\0\0\x02\x08\x01", None)).await;
    assert_eq!(why(question(dying.address, grpc(""))).await, "an answer without grpc-status");
    let only_trailers = server(true, || {
        let mut response = status(200, "");
        *response.body_mut() = body(Vec::new());
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
        response
    });
    let said = why(question(only_trailers.await.address, grpc(""))).await;
    assert_eq!(said, "the server has no grpc.health.v1.Health (UNIMPLEMENTED)");
    let web = server(true, || status(404, "nothing here")).await;
    assert_eq!(why(question(web.address, grpc(""))).await, "status 404, which no gRPC server answers");
}

#[tokio::test]
async fn a_check_leaves_nothing_behind() {
    let silent = raw(None).await;
    let good = server(true, || health(b"\0\0\0\0\x02\x08\x01", Some("0"))).await.address;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..20 {
        let brief = Question { timeout: Duration::from_millis(20), ..question(silent, grpc("")) };
        assert_eq!(why(brief).await, "no answer within 20ms");
        assert_eq!(why(question(good, grpc(""))).await, "good");
    }
    let wait = async {
        while tasks() > before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "{} tasks more than before", tasks() - before);
}

fn every(interval: Duration) -> Policy {
    let check = HealthCheck {
        probe: Probe::Tcp,
        port: None,
        interval,
        timeout: Duration::from_secs(1),
        healthy: 1,
        unhealthy: 1,
        keep_absent: Duration::ZERO,
    };
    Policy { health_check: Some(check), ..Policy::default() }
}

fn thousand() -> BTreeSet<SocketAddr> {
    (1..=1000).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_endpoints_do_not_march_in_step() {
    let started: Arc<Vec<AtomicUsize>> = Arc::new((0..400).map(|_| AtomicUsize::new(0)).collect());
    let (begin, log) = (Instant::now(), Arc::clone(&started));
    let ask: Ask = Arc::new(move |_| {
        let slot = begin.elapsed().as_millis() as usize / 100;
        log[slot].fetch_add(1, Relaxed);
        Box::pin(async { Ok(()) })
    });
    let (tell, mut results) = mpsc::channel(16);
    let mut checker = Checker::new(ask, tell);
    let (mut targets, mut verdicts) = (Targets::default(), Verdicts::new());
    assert!(targets.follow(&every(Duration::from_secs(2))));
    targets.want(&"a".into(), &thousand(), &mut verdicts, &mut checker);
    let end = tokio::time::sleep(Duration::from_secs(30));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(checked) = results.recv() => { targets.take(checked, &mut verdicts, 1); }
        }
    }
    let counts: Vec<usize> = started.iter().map(|count| count.load(Relaxed)).collect();
    assert!(counts[0] >= 1000, "all are checked at once at first: {}", counts[0]);
    // 100 ms of 2 s is 5 %, of a thousand; in step it would be all of them.
    let most = counts[1..300].iter().max().unwrap();
    assert!(*most < 150, "{most} checks in 100 ms: {counts:?}");
    assert!(counts[1..300].iter().sum::<usize>() > 14_000, "{counts:?}");
    assert!(verdicts.values().all(|verdict| verdict.word() == CheckStatus::Passing));
}

#[tokio::test(start_paused = true)]
async fn what_runs_at_the_same_time_is_bounded_and_ends_when_it_is_not_wanted() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let ask: Ask = Arc::new(move |_| {
        peak.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
        let ends = Ends(Arc::clone(&now));
        Box::pin(async move {
            let _ends = ends;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(Fault::Theirs("no answer".into()))
        })
    });
    let (tell, mut results) = mpsc::channel(2000);
    let mut checker = Checker::new(ask, tell);
    let (mut targets, mut verdicts) = (Targets::default(), Verdicts::new());
    targets.follow(&every(Duration::from_secs(1)));
    targets.want(&"a".into(), &thousand(), &mut verdicts, &mut checker);
    for _ in 0..1000 {
        let checked = results.recv().await.unwrap();
        assert_eq!(targets.take(checked, &mut verdicts, 1), Change::Status);
    }
    assert_eq!(most.load(Relaxed), AT_ONCE);
    let stale = results.recv().await.unwrap();
    targets.want(&"a".into(), &BTreeSet::new(), &mut verdicts, &mut checker);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(running.load(Relaxed), 0, "a check in the middle of it ends, too");
    assert!(verdicts.is_empty());
    let again = Checked { pool: "a".into(), result: Err("no answer".into()), address: stale.address, task: stale.task };
    assert_eq!(targets.take(stale, &mut verdicts, 1), Change::None, "nobody asks any more");
    assert!(verdicts.is_empty());
    targets.want(&"a".into(), &BTreeSet::from([again.address]), &mut verdicts, &mut checker);
    assert_eq!(targets.take(again, &mut verdicts, 1), Change::None, "whoever asked was replaced");
    targets.want(&"a".into(), &BTreeSet::new(), &mut verdicts, &mut checker);
    tokio::task::yield_now().await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 0);
}

#[tokio::test(start_paused = true)]
async fn trouble_of_our_own_is_no_result() {
    let ask: Ask = Arc::new(|_| Box::pin(async { Err(Fault::Ours("too many open files".into())) }));
    let (tell, mut results) = mpsc::channel(16);
    let mut checker = Checker::new(ask, tell);
    let (mut targets, mut verdicts) = (Targets::default(), Verdicts::new());
    targets.follow(&every(Duration::from_secs(1)));
    targets.want(&"a".into(), &BTreeSet::from(["10.0.0.1:1".parse().unwrap()]), &mut verdicts, &mut checker);
    let nothing = tokio::time::timeout(Duration::from_secs(60), results.recv()).await;
    assert!(nothing.is_err());
}
