//! Every client with every server, through the proxy.

use std::net::SocketAddr;

use chaos_tests::fleet::Origin;
use chaos_tests::foreign::{self, Nginx, Process};
use chaos_tests::proxy::{self, Proxy};
use chaos_tests::raw::get;
use chaos_tests::{SOON, pattern, wait_for};

/// Runs every client against a server behind the proxy. `get` is for a server of files.
fn all_clients(origin: SocketAddr, extent: &str, name: &str) {
    let mut config = proxy::to(&[origin]);
    // The clients ask for their trailers back.
    config["services"]["app"]["request_trailers"] = true.into();
    let proxy = Proxy::start(&config);
    let clients = [
        ("python_client.py", "http.client"),
        ("python_client.py", "aiohttp"),
        ("node_client.mjs", "undici"),
        ("node_client.mjs", "http"),
    ];
    for (script, client) in clients {
        let Some(mut command) = foreign::script(script) else { continue };
        // Node's http client compares nothing with the origin; it is told which origin it is, for the trailers.
        let origin = if client == "http" { name.to_owned() } else { origin.to_string() };
        command.args([client, extent, &proxy.address.to_string(), &origin]);
        let said = foreign::finish(&mut command);
        assert!(said.contains("fine"), "{client} with {name}: {said}");
    }
}

#[test]
fn every_client_is_served_by_aiohttp() {
    let Some(mut command) = foreign::script("aiohttp_server.py") else { return };
    let (_server, address) = Process::server(&mut command);
    all_clients(address, "full", "aiohttp");
}

#[test]
fn every_client_is_served_by_node() {
    let Some(mut command) = foreign::script("node_server.mjs") else { return };
    let (_server, address) = Process::server(&mut command);
    all_clients(address, "full", "node");
}

#[test]
fn every_client_is_served_by_hyper() {
    let origin = Origin::named("hyper");
    all_clients(origin.address, "full", "hyper");
}

#[test]
fn every_client_is_served_by_nginx() {
    let files: Vec<_> = [1000, 100_000, 1_000_000, 9_000_000].map(|n| (n.to_string(), pattern(n))).into();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let http = "server { listen LISTEN; keepalive_requests 1000; location /bytes/ { alias ROOT/; } }";
    let Some(nginx) = Nginx::start(http, &files) else { return };
    all_clients(nginx.address, "get", "nginx");
    let proxy = Proxy::before(&[nginx.address]);
    let part = chaos_tests::raw::ask(
        proxy.address,
        "GET /bytes/1000000 HTTP/1.1\r\nHost: a\r\nRange: bytes=5-9\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((part.status(), &part.body[..]), (206, &pattern(1_000_000)[5..10]));
    let tag = get(proxy.address, "a", "/bytes/1000").field("etag").expect("an ETag").to_owned();
    let unchanged = chaos_tests::raw::ask(
        proxy.address,
        format!("GET /bytes/1000 HTTP/1.1\r\nHost: a\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n"),
    );
    assert_eq!((unchanged.status(), unchanged.body.len()), (304, 0));
}

#[test]
fn hyper_is_served_as_a_client() {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::TokioIo;

    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let body = Bytes::from(pattern(1_000_000));
    chaos_tests::runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for n in 0..20 {
            send.ready().await.expect("the connection is kept");
            let request = hyper::Request::post("/echo").header("host", "a").body(Full::new(body.clone())).unwrap();
            let answer = send.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let echoed = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(echoed == body, "echo {n}: {} bytes", echoed.len());
        }
        send.ready().await.expect("the connection is kept");
        let request = hyper::Request::get("/abort").header("host", "a").body(Full::default()).unwrap();
        let answer = send.send_request(request).await.unwrap();
        assert!(answer.into_body().collect().await.is_err(), "a body that broke off ended cleanly");
    });
}

#[test]
fn nginx_is_served_as_a_client() {
    let origin = Origin::named("a");
    let proxy = Proxy::before(&[origin.address]);
    let http = format!(
        "upstream outrigger {{ server {}; keepalive 4; }}\n\
         server {{ listen LISTEN; client_max_body_size 100m;\n\
           location / {{ proxy_pass http://outrigger; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n\
           location /stream/ {{ proxy_pass http://outrigger/; proxy_http_version 1.1; proxy_request_buffering off;\n\
             proxy_buffering off; proxy_set_header Connection \"\"; }}\n\
           location /old/ {{ proxy_pass http://outrigger/; proxy_http_version 1.0; }} }}",
        proxy.address
    );
    let Some(nginx) = Nginx::start(&http, &[]) else { return };
    let body = pattern(3_000_000);
    for prefix in ["", "/stream", "/old"] {
        for _ in 0..5 {
            assert!(get(nginx.address, "a", &format!("{prefix}/bytes/3000000")).body == body, "{prefix}");
        }
        let mut request =
            format!("POST {prefix}/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(&body);
        let mut client = chaos_tests::raw::Connection::open(nginx.address);
        let mut writer = chaos_tests::raw::Connection::from(client.stream());
        let writing = std::thread::spawn(move || writer.send(request));
        assert!(client.answer().body == body, "{prefix}");
        writing.join().unwrap();
    }
    // A client that leaves nginx leaves the proxy and the origin.
    let mut client = chaos_tests::raw::Connection::open(nginx.address);
    client.send("GET /stream/endless HTTP/1.1\r\nHost: a\r\n\r\n");
    client.bytes(1_000_000).expect("a part");
    drop(client);
    wait_for("the end at the origin", SOON, || origin.gone() == 1);
}
