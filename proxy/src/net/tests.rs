use super::*;

#[tokio::test]
async fn a_connection_that_was_closed_a_moment_ago_is_not_surely_idle() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut io = Io::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    assert!(io.is_idle() && io.is_surely_idle());
    drop(peer);
    // Nothing is awaited here, so the worker has not been told; on loopback the end has arrived all the same.
    assert!(io.is_idle(), "without a system call nobody can know");
    assert!(!io.is_surely_idle());
}

#[tokio::test]
async fn a_connection_with_something_unasked_for_on_it_is_not_surely_idle() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut io = Io::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut peer, b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
    assert!(!io.is_surely_idle());
}

#[tokio::test]
async fn what_is_accepted_sends_small_pieces_at_once() {
    for bound in bind_group("127.0.0.1:0".parse().unwrap(), 1, false).unwrap() {
        let listener = Listener::register(bound).unwrap();
        let address = listener.inner.local_addr().unwrap();
        let (accepted, _client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let Stream::Tcp(stream) = accepted.unwrap().0.stream else { panic!("a TCP connection") };
        assert!(stream.nodelay().unwrap());
    }
}
