//! toxiproxy_rust through all that it offers: `toxiproxy-client API UPSTREAM`. What it says does not depend on who answers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use toxiproxy_rust::client::Client;
use toxiproxy_rust::proxy::{Proxy, ProxyPack};

/// Sends a word through a proxy and waits for it to come back: what came, how it ended, how long it took.
fn ask(listen: &str) -> (String, String, Duration) {
    let began = Instant::now();
    let mut heard = Vec::new();
    let mut talk = || -> std::io::Result<&str> {
        let mut stream = TcpStream::connect(listen)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"ping")?;
        while heard.len() < 4 {
            let mut buffer = [0; 100];
            match stream.read(&mut buffer)? {
                0 => return Ok("closed"),
                n => heard.extend_from_slice(&buffer[..n]),
            }
        }
        Ok("answered")
    };
    let how = talk().map_or_else(|error| kind(error.kind()), str::to_owned);
    (String::from_utf8_lossy(&heard).into_owned(), how, began.elapsed())
}

fn kind(kind: ErrorKind) -> String {
    format!("{kind:?}")
}

fn toxics(proxy: &Proxy) -> Vec<String> {
    let toxics = proxy.toxics().expect("its toxics");
    let mut shown: Vec<String> = toxics
        .iter()
        .map(|toxic| {
            let mut attributes: Vec<_> = toxic.attributes.iter().collect();
            attributes.sort();
            format!("{} {} {} {} {attributes:?}", toxic.name, toxic.r#type, toxic.stream, toxic.toxicity)
        })
        .collect();
    shown.sort();
    shown
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (api, upstream) = (&arguments[0], &arguments[1]);
    let client = Client::new(api);
    println!("running {} {}", client.is_running(), client.version().expect("a version").trim());
    println!("reset {:?}", client.reset());
    println!("none {}", client.all().expect("all").len());

    let pack = |name: &str| ProxyPack::new(name.into(), "127.0.0.1:0".into(), upstream.clone());
    let made = client.populate(vec![pack("one"), pack("two")]).expect("populated");
    for proxy in &made {
        println!("made {} {} {}", proxy.proxy_pack.name, proxy.proxy_pack.enabled, proxy.proxy_pack.upstream == *upstream);
    }
    let one = client.find_proxy("one").expect("one");
    let listen = one.proxy_pack.listen.clone();
    println!("asked {:?}", &ask(&listen).1);
    println!("nobody {:?}", client.find_proxy("nobody").is_err());

    one.with_latency("downstream".into(), 300, 0, 1.0).apply(|| println!("slow {}", ask(&listen).2 >= Duration::from_millis(300))).expect("applied");
    println!("afterwards {:?}", toxics(&one));
    one.with_bandwidth("downstream".into(), 1000, 1.0).apply(|| println!("bandwidth {:?} {:?}", ask(&listen).1, toxics(&one))).expect("applied");
    one.with_slow_close("downstream".into(), 10, 1.0).apply(|| println!("slow_close {:?} {:?}", ask(&listen).1, toxics(&one))).expect("applied");
    one.with_timeout("downstream".into(), 10, 1.0).apply(|| println!("timeout {:?} {:?}", ask(&listen).1, toxics(&one))).expect("applied");
    one.with_slicer("downstream".into(), 2, 1, 10, 1.0).apply(|| println!("slicer {:?} {:?}", ask(&listen).1, toxics(&one))).expect("applied");
    one.with_limit_data("downstream".into(), 2, 1.0).apply(|| {
        let (heard, how, _) = ask(&listen);
        println!("limit_data {heard:?} {how} {:?}", toxics(&one));
    }).expect("applied");
    one.with_latency("upstream".into(), 5, 2, 0.25);
    one.with_timeout("downstream".into(), 0, 0.0);
    println!("two toxics {:?} {:?}", toxics(&one), ask(&listen).1);
    println!("found and reset {:?}", client.find_and_reset_proxy("one").map(|one| toxics(&one)));
    one.with_down(|| println!("down {:?}", ask(&listen).1)).expect("down");
    println!("up {:?}", ask(&listen).1);
    println!("disabled {:?} {:?}", one.disable(), ask(&listen).1);
    println!("reset {:?} {:?}", client.reset(), ask(&listen).1);
    println!("deleted all {:?} {:?}", one.delete_all_toxics(), toxics(&one));
    println!("deleted {:?} {:?}", one.delete(), ask(&listen).1);
    println!("left {:?}", client.all().expect("all").keys().collect::<Vec<_>>());
    println!("deleted {:?}", client.find_proxy("two").and_then(|two| two.delete()));
    println!("none {}", client.all().expect("all").len());
}
