use super::*;

#[test]
fn every_name_is_found_in_any_case() {
    for (text, known) in Name::ALL {
        assert_eq!(Name::of(text), *known, "{}", known.text());
        assert_eq!(Name::of(&text.to_ascii_uppercase()), *known, "{}", known.text());
    }
    assert_eq!(Name::of(b""), Name::Other);
    assert_eq!(Name::of(b"x-whatever"), Name::Other);
    assert_eq!(Name::of(b"hos"), Name::Other);
}

#[test]
fn a_head_is_at_most_what_its_ranges_can_reach() {
    let mut head = Head::default();
    assert!(head.push(b"a", &vec![b'x'; MAX_HEAD - 1]).is_ok());
    assert_eq!(head.push(b"b", b"y").err(), Some(Bad::TooLarge));
}

#[test]
fn a_head_that_is_held_elsewhere_does_not_go_back_to_the_pool() {
    let pool = HeadPool::new(4);
    let head = pool.take();
    let held = Rc::clone(&head);
    pool.give(head);
    assert!(!Rc::ptr_eq(&held, &pool.take()));
    let address = Rc::as_ptr(&held);
    pool.give(held);
    assert_eq!(Rc::as_ptr(&pool.take()), address);
}

fn parsed(lines: &str) -> Head {
    let mut head = Head::default();
    crate::http::parse::request(format!("GET / HTTP/1.1|{lines}||").replace('|', "\r\n").as_bytes(), &mut head)
        .unwrap();
    head
}

#[test]
fn only_spaces_and_tabs_are_blank() {
    assert_eq!(trim_blanks(b"\t a \t b \t"), b"a \t b");
    assert_eq!(trim_blanks(b"\t \t"), b"");
    assert_eq!(trim_blanks(b""), b"");
    for odd in ["\u{b}", "\u{c}", "\r", "\n", "\0", "\u{a0}", "\u{2003}"] {
        let item = format!("{odd}a{odd}");
        assert_eq!(trim_blanks(item.as_bytes()), item.as_bytes(), "{odd:?}");
        assert_eq!(list(item.as_bytes()).next(), Some(item.as_bytes()), "{odd:?}");
    }
}

#[test]
fn a_list_is_found_over_all_its_lines_in_any_case() {
    let head = parsed("Connection: , a ,\tKeep-Alive|Via: close|connection:CLOSE,");
    assert!(head.lists(Name::Connection, b"keep-alive"));
    assert!(head.lists(Name::Connection, b"close"));
    assert!(head.lists(Name::Connection, b"a"));
    assert!(!head.lists(Name::Connection, b"keep"));
    assert!(!head.lists(Name::Connection, b""));
    assert!(!head.lists(Name::Te, b"close"));
    let items: Vec<_> = list(b", a ,,b\t, c d ,").collect();
    assert_eq!(items, [&b"a"[..], b"b", b"c d"]);
}

#[test]
fn lines_are_found_by_name_in_their_order() {
    let head = parsed("Host: a|X-Odd: 1|x-odd: 2|HOST: b|Date:|Via: v");
    assert_eq!(head.first(Name::Host), Some(&b"a"[..]));
    assert_eq!(head.all(Name::Host).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(head.only(Name::Host), None);
    assert_eq!(head.only(Name::Via), Some(&b"v"[..]));
    assert_eq!(head.only(Name::Te), None);
    assert_eq!(head.named(b"X-ODD"), Some(&b"1"[..]));
    assert_eq!(head.named(b"x-od"), None);
    assert_eq!(head.first(Name::Date), Some(&b""[..]));
    assert_eq!(head.len(), 6);
    let names: Vec<_> = head.fields().map(|(_, name, _)| name).collect();
    assert_eq!(names, [&b"Host"[..], b"X-Odd", b"x-odd", b"HOST", b"Date", b"Via"]);
}

#[test]
fn a_cleared_head_has_nothing_of_the_one_before() {
    let mut head = parsed("Host: a");
    head.clear();
    assert!(head.is_empty());
    assert_eq!((head.method(), head.target(), head.reason(), head.status()), (&b""[..], &b""[..], &b""[..], 0));
    head.set_status(204, b"No Content", Version::Http10).unwrap();
    head.push(b"A", b"").unwrap();
    head.push(b"B", b"c").unwrap();
    assert_eq!((head.status(), head.reason(), head.version()), (204, &b"No Content"[..], Version::Http10));
    assert_eq!(head.named(b"b"), Some(&b"c"[..]));
    head.clear();
    head.set_request(b"GET", b"*", Version::Http2).unwrap();
    assert_eq!((head.method(), head.target(), head.version()), (&b"GET"[..], &b"*"[..], Version::Http2));
    assert_eq!((head.status(), head.reason()), (0, &b""[..]));
}

#[test]
fn a_head_that_grew_large_is_not_kept() {
    let pool = HeadPool::new(4);
    let mut head = pool.take();
    Rc::get_mut(&mut head).unwrap().push(b"a", &[b'x'; 9 * 1024]).unwrap();
    let address = Rc::as_ptr(&head);
    let held = pool.take();
    pool.give(head);
    assert_eq!(pool.free.borrow().len(), 0, "{address:?}");
    pool.give(held);
    assert_eq!(pool.free.borrow().len(), 1);
}
