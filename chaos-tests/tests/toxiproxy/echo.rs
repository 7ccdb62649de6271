//! Servers behind proxies: one gives back what it gets and counts it, one sends what it is asked for and closes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chaos_tests::pattern;

/// Sends as many bytes of the pattern as the four bytes that it gets say, and closes. It runs until the process ends.
pub fn source() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut length = [0; 4];
                if stream.read_exact(&mut length).is_ok() {
                    // However much the other side takes.
                    stream.write_all(&pattern(u32::from_be_bytes(length) as usize)).ok();
                }
            });
        }
    });
    address
}

/// Gives back what it gets. It runs until the process ends.
#[derive(Debug)]
pub struct Echo {
    /// Where it listens.
    pub address: SocketAddr,
    received: Arc<AtomicUsize>,
}

impl Echo {
    /// Starts one. A client that sends no more is sent no more.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        count.fetch_add(n, Ordering::Relaxed);
                        if stream.write_all(&buffer[..n]).is_err() {
                            break;
                        }
                    }
                    stream.shutdown(Shutdown::Write).ok();
                });
            }
        });
        Self { address, received }
    }

    /// Bytes that it has got.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::Relaxed)
    }
}
