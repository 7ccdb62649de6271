//! An answer that ends with its connection is whole where that has been ended, and not where it was reset.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::flow::real;
use super::*;

const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

/// A stage with an instance that does this with its only connection. Its end is a reset.
fn stage(instance: impl FnOnce(&mut TcpStream) + Send + 'static) -> Stage {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        instance(&mut stream);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    Stage::new(&format!("services: {{ orders: {{ instances: ['{address}'], hold: off, retries: {{ max: 0 }} }} }}"), 1)
}

#[test]
fn an_answer_that_is_reset_while_its_client_does_not_read_is_not_whole() {
    real(async {
        let (tell, told) = std::sync::mpsc::channel();
        let stage = stage(move |stream| {
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(&[BEGUN, &[b'x'; 2_000]].concat()).unwrap();
            told.recv().unwrap();
        });
        let mut client = stage.client_with_room([192, 0, 2, 7], 64);
        client.write_all(GET).await.unwrap();
        // The client's side is full: what else comes is taken off the instance.
        let mut first = [0; 1];
        client.read_exact(&mut first).await.unwrap();
        tell.send(()).unwrap();
        // Until the proxy has met the reset. Where it has not, it meets it later, which was never wrong.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (rest, _) = read_all(&mut client, timer::now()).await;
        assert!(rest.contains("xxx") && !rest.contains("\r\n0\r\n\r\n"), "{rest}");
    });
}

#[test]
fn an_answer_whose_reset_is_met_by_the_upload_is_not_whole() {
    real(async {
        let (tell, told) = std::sync::mpsc::channel();
        let stage = stage(move |stream| {
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(&[BEGUN, b"partial"].concat()).unwrap();
            told.recv().unwrap();
        });
        let (mut from, mut to) = tokio::io::split(connect(&stage));
        let upload = async {
            to.write_all(b"POST /cart HTTP/1.1\r\nHost: orders\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
            while to.write_all(&[b'y'; 65_536]).await.is_ok() {}
        };
        let answer = async {
            let mut came = Vec::new();
            while !came.windows(7).any(|bytes| bytes == b"partial") {
                assert_ne!(from.read_buf(&mut came).await.unwrap(), 0);
            }
            // Until the instance's side is full, and the upload waits to write.
            tokio::time::sleep(Duration::from_millis(500)).await;
            tell.send(()).unwrap();
            from.read_to_end(&mut came).await.unwrap();
            String::from_utf8(came).unwrap()
        };
        let answer = tokio::select! {
            answer = answer => answer,
            () = async { upload.await; std::future::pending().await } => unreachable!(),
        };
        assert!(!answer.contains("\r\n0\r\n\r\n"), "{answer}");
    });
}
