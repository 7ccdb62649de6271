//! The data plane's promises one at a time, each with the one thing that happens to it.

use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use outrigger::config::settings::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use crate::proxy::{Handles, PORT, Setup, network};
use crate::seeds;

const ROUNDS: u32 = 20;
const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_goes_through() {
    seeds::each(|seed| {
        let mut sim = network(seed).build();
        let served = origin(&mut sim, "a", Habit::Answer);
        proxy(&mut sim, &["a"], 1);
        sim.client("client", async {
            let answer = ask("proxy", GET).await?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.ends_with("\r\n\r\nfrom a"), "{answer}");
            Ok(())
        });
        sim.run().unwrap();
        assert_eq!(served.get(), 1);
    });
}

#[test]
fn an_endpoint_behind_a_partition_costs_no_request() {
    seeds::each(|seed| {
        let mut sim = network(seed).build();
        let (lost, reached) = (origin(&mut sim, "a", Habit::Answer), origin(&mut sim, "b", Habit::Answer));
        proxy(&mut sim, &["a", "b"], 1);
        sim.client("client", async {
            turmoil::partition("proxy", "a");
            for _ in 0..8 {
                let answer = ask("proxy", GET).await?;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            Ok(())
        });
        sim.run().unwrap();
        assert_eq!((lost.get(), reached.get()), (0, 8));
    });
}

#[test]
fn an_endpoint_that_hangs_up_costs_no_idempotent_request() {
    seeds::each(|seed| {
        let mut sim = network(seed).build();
        let (rude, kind) = (origin(&mut sim, "a", Habit::HangUp), origin(&mut sim, "b", Habit::Answer));
        proxy(&mut sim, &["a", "b"], 1);
        let failed = Rc::new(Cell::new(0));
        let counted = Rc::clone(&failed);
        sim.client("client", async move {
            for _ in 0..8 {
                let answer = ask("proxy", GET).await?;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
            for _ in 0..8 {
                // What was written and may have been processed is the client's to repeat.
                let post = b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
                let answer = ask("proxy", post).await?;
                assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 502 "), "{answer}");
                counted.set(counted.get() + u32::from(answer.starts_with("HTTP/1.1 502 ")));
            }
            Ok(())
        });
        sim.run().unwrap();
        assert!(rude.get() > 0, "the rude one was never asked, so nothing was shown");
        assert_eq!(kind.get(), 16 - failed.get(), "a POST was sent twice, or a GET was lost");
    });
}

/// Whatever becomes of the endpoints' links: an answer is right, or it says what went wrong, or it is seen to be broken
/// off. Bodies go both ways, larger and smaller than what can be kept for another attempt.
#[test]
fn no_answer_is_wrong_and_none_is_missing() {
    seeds::each(|seed| {
        // The simulated network loses the end of a stream that arrives while as many segments as this wait to be read: no answer
        // here has so many.
        let mut sim = network(seed).tcp_capacity(8 * 1024).build();
        for name in ["a", "b", "c"] {
            origin(&mut sim, name, Habit::Echo);
        }
        proxy(&mut sim, &["a", "b", "c"], 2);
        let tally = Rc::new(Cell::new((0, 0, 0)));
        let counted = Rc::clone(&tally);
        sim.client("client", async move {
            for round in 0..ROUNDS {
                let body: Vec<u8> = (0..fastrand::usize(0..200_000)).map(|n| (n * 7 + round as usize) as u8).collect();
                let method = if fastrand::bool() { "PUT" } else { "POST" };
                let mut request = format!(
                    "{method} /cart HTTP/1.1\r\nHost: orders\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                request.extend_from_slice(&body);
                let answer = tokio::select! {
                    answer = exchange("proxy", &request) => answer?,
                    never = cut_and_mend(&["a", "b", "c"]) => match never {},
                };
                let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("no answer at all") + 4;
                let (head, echoed) = (String::from_utf8_lossy(&answer[..end]), &answer[end..]);
                let (right, refused, broken) = counted.get();
                if head.starts_with("HTTP/1.1 200 ") {
                    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
                    assert!(body.starts_with(echoed), "round {round}: not the bytes that were sent");
                    let whole = echoed.len() == body.len();
                    counted.set((right + u32::from(whole), refused, broken + u32::from(!whole)));
                } else {
                    assert!(head.starts_with("HTTP/1.1 50"), "{head}");
                    assert!(head.contains("Proxy-Status: outrigger; error="), "{head}");
                    counted.set((right, refused + 1, broken));
                }
            }
            for name in ["a", "b", "c"] {
                turmoil::repair("proxy", name);
            }
            let answer = ask("proxy", GET).await?;
            assert!(answer.starts_with("HTTP/1.1 200 "), "with all links whole again: {answer}");
            Ok(())
        });
        sim.run().unwrap();
        let (right, refused, broken) = tally.get();
        eprintln!("{right} right, {refused} refused, {broken} broken off");
        assert_eq!(right + refused + broken, ROUNDS);
        assert!(right > 0 && right < ROUNDS, "nothing was shown");
    });
}

/// What is in flight when the process is told to end is finished, what idles is closed, and the workers end.
#[test]
fn a_drain_loses_nothing_that_was_in_flight() {
    seeds::each(|seed| {
        let mut sim = network(seed).build();
        origin(&mut sim, "a", Habit::AnswerAfter(Duration::from_secs(3)));
        let handles = proxy(&mut sim, &["a"], 2);
        sim.client("client", async move {
            let mut idle = TcpStream::connect(("proxy", PORT)).await?;
            let mut busy = TcpStream::connect(("proxy", PORT)).await?;
            busy.write_all(b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let Handles { drain, .. } = handles.take().unwrap();
            let times = Shutdown { lame_duck: Duration::from_millis(500), deadline: Duration::from_secs(20) };
            let reading = async {
                let (mut answer, mut nothing) = (Vec::new(), Vec::new());
                busy.read_to_end(&mut answer).await?;
                idle.read_to_end(&mut nothing).await?;
                io::Result::Ok((String::from_utf8_lossy(&answer).into_owned(), nothing))
            };
            let (clean, read) = tokio::join!(drain.run(&times, std::future::pending()), reading);
            let (answer, nothing) = read?;
            assert!(clean, "something had to be cut");
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert!(answer.ends_with("from a"), "{answer}");
            assert_eq!(nothing, b"");
            Ok(())
        });
        sim.run().unwrap();
    });
}

#[test]
fn four_connections_to_one_worker_end_up_two_and_two() {
    seeds::each(|seed| {
        let mut sim = network(seed).build();
        origin(&mut sim, "a", Habit::Answer);
        let handles = proxy(&mut sim, &["a"], 2);
        sim.client("client", async move {
            let mut open = Vec::new();
            for _ in 0..4 {
                let mut stream = TcpStream::connect(("proxy", PORT)).await?;
                stream.write_all(b"GET /cart HTTP/1.1\r\nHost: orders\r\n\r\n").await?;
                let mut answer = [0; 512];
                let n = stream.read(&mut answer).await?;
                assert!(answer[..n].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..n]));
                open.push(stream);
            }
            let Handles { balancer, .. } = handles.take().unwrap();
            assert_eq!((balancer.connections(0), balancer.connections(1)), (2, 2));
            Ok(())
        });
        sim.run().unwrap();
    });
}

#[derive(Debug, Clone, Copy)]
enum Habit {
    Answer,
    AnswerAfter(Duration),
    /// Sends the body back, as it comes.
    Echo,
    /// Reads the request, and closes without a word.
    HangUp,
}

/// An endpoint; counts the requests that it has read.
fn origin(sim: &mut Sim<'static>, name: &'static str, habit: Habit) -> Rc<Cell<u32>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    sim.host(name, move || {
        let counted = Rc::clone(&counted);
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::task::spawn_local(converse(stream, name, habit, Rc::clone(&counted)));
            }
        }
    });
    count
}

async fn converse(mut stream: TcpStream, name: &str, habit: Habit, counted: Rc<Cell<u32>>) -> io::Result<()> {
    let mut held = Vec::new();
    loop {
        while !held.windows(4).any(|w| w == b"\r\n\r\n") {
            if stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        }
        let head = held.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let length = content_length(&held[..head]);
        let mut body = held.split_off(head);
        held.clear();
        counted.set(counted.get() + 1);
        if let Habit::Echo = habit {
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
            let mut echoed = 0;
            loop {
                stream.write_all(&body).await?;
                echoed += body.len();
                body.clear();
                if echoed == length {
                    break;
                }
                if stream.read_buf(&mut body).await? == 0 {
                    return Ok(());
                }
            }
            continue;
        }
        while body.len() < length {
            if stream.read_buf(&mut body).await? == 0 {
                return Ok(());
            }
        }
        if let Habit::AnswerAfter(time) = habit {
            tokio::time::sleep(time).await;
        }
        match habit {
            Habit::HangUp => return Ok(()),
            _ => {
                let body = format!("from {name}");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await?;
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = head.lines().find_map(|line| line.strip_prefix("content-length:").map(str::trim));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Cuts and mends the proxy's links, one at a time, in the midst of whatever they carry.
async fn cut_and_mend(origins: &[&str]) -> std::convert::Infallible {
    loop {
        let origin = origins[fastrand::usize(..origins.len())];
        match fastrand::u8(0..3) {
            0 => turmoil::partition("proxy", origin),
            _ => turmoil::repair("proxy", origin),
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..100))).await;
    }
}

/// A proxy in front of some origins, whose requests have five seconds.
fn proxy(sim: &mut Sim<'static>, origins: &'static [&'static str], workers: usize) -> Rc<Cell<Option<Handles>>> {
    let text = |instances: &str| {
        format!(
            "http: {{ stream_idle_timeout: 3s }}\nservices: {{ orders: {{ instances: [{instances}], timeout: 5s }} }}"
        )
    };
    crate::proxy::proxy(sim, Setup { origins, workers, text: Rc::new(text) })
}

/// Sends a request on a connection of its own and reads to the end.
async fn ask(host: &str, request: &[u8]) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&exchange(host, request).await?).into_owned())
}

/// The same, reading while it sends: whoever does not may wait for ever for an endpoint that answers meanwhile.
async fn exchange(host: &str, request: &[u8]) -> io::Result<Vec<u8>> {
    let (mut reading, mut writing) = TcpStream::connect((host, PORT)).await?.into_split();
    let mut answer = Vec::new();
    // An answer that came before the whole request was taken ends the sending, not the reading.
    let (_, read) = tokio::join!(writing.write_all(request), reading.read_to_end(&mut answer));
    read.map(|_| answer)
}
