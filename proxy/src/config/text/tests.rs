use proptest::prelude::*;

use super::{Address, Cidr, HostPattern, InstanceAddress, Method, Path, Target};
use crate::units::tests::{refused, through};

#[test]
fn addresses() {
    assert_eq!(through::<Address>("127.0.0.1:0"), "127.0.0.1:0");
    assert_eq!(through::<Address>("[::1]:80"), "[::1]:80");
    refused::<Address>(&["localhost:80", ":80", "80"], "did you mean `127.0.0.1:80`?");
    refused::<Address>(&["", "a:80", "1.2.3.4", "1.2.3.4:70000", "::1:80"], "expected an IP address and a port");
}

#[test]
fn blocks() {
    assert_eq!(through::<Cidr>("10.0.0.0/8"), "10.0.0.0/8");
    assert_eq!(through::<Cidr>("10.0.0.1"), "10.0.0.1/32");
    assert_eq!(through::<Cidr>("fd00::/8"), "fd00::/8");
    refused::<Cidr>(&["", "10/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "a/8"], "expected a block of addresses");
}

#[test]
fn targets() {
    for same in ["10.0.0.1:80", "db-1:3001", "db_1.internal:65535", "[::1]:3001"] {
        assert_eq!(through::<Target>(same), same);
    }
    assert_eq!(through::<Target>("DB:1"), "db:1");
    refused::<Target>(&["::1:3001"], "stands in brackets");
    refused::<Target>(&["db"], "the port is missing");
    refused::<Target>(&["db:0", "db:65536", "db:x", "db:"], "a port is 1 to 65535");
    refused::<Target>(
        &["", ":80", "a b:80", "-a:80", "[db]:80", "http://db:80", "a..b:80"],
        "expected a host and a port",
    );
}

#[test]
fn instances() {
    for same in ["10.0.0.1:80", "https://api.example:8443", "https://[::1]:3001"] {
        assert_eq!(through::<InstanceAddress>(same), same);
    }
    assert_eq!(through::<InstanceAddress>("https://api.example"), "https://api.example:443");
    assert_eq!(through::<InstanceAddress>("https://API.example/"), "https://api.example:443");
    assert_eq!(through::<InstanceAddress>("https://[::1]"), "https://[::1]:443");
    assert_eq!(through::<InstanceAddress>("http://db:80"), "db:80");
    refused::<InstanceAddress>(&["db", "http://db"], "the port is missing");
    refused::<InstanceAddress>(&["https://api.example/v1", "https://", "https://a/b:1"], "expected a host and a port");
    refused::<InstanceAddress>(&["ftp://db:80", "https://https://a"], "expected a host and a port");
}

#[test]
fn hosts_paths_and_methods() {
    assert_eq!(through::<HostPattern>("Shop.Example."), "shop.example");
    assert_eq!(through::<HostPattern>("*.example"), "*.example");
    assert_eq!(through::<HostPattern>("[0:0::1]"), "[::1]");
    refused::<HostPattern>(&["*"], "leave `host` out");
    refused::<HostPattern>(&["shop:80"], "without a port");
    refused::<HostPattern>(&["http://shop", "shop/"], "without a scheme or a path");
    refused::<HostPattern>(&["", "a b", "a.*", "*a.b", "*.*.a"], "expected a host");

    assert_eq!(through::<Path>("/cart/%2F//"), "/cart/%2F//");
    refused::<Path>(&["", "cart", "*"], "starts with `/`");
    refused::<Path>(&["/a?b", "/a#b", "/a b", "/\u{e4}", "/a{b}"], "can never match");
    refused::<Path>(&["/a/..", "/./a"], "segment");

    assert_eq!(through::<Method>("PURGE"), "PURGE");
    assert_eq!(through::<Method>("purge"), "purge");
    refused::<Method>(&["get"], "did you mean `GET`?");
    refused::<Method>(&["", "A B"], "expected a method");
    refused::<Method>(&["CONNECT"], "never routed");
}

proptest! {
    #[test]
    fn no_text_is_too_odd(text in ".{0,20}") {
        through::<Target>(&text);
        through::<InstanceAddress>(&text);
        through::<HostPattern>(&text);
        through::<Path>(&text);
        through::<Cidr>(&text);
    }
}
