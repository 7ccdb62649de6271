use super::*;

#[test]
fn a_request_that_could_not_be_parsed_is_not_logged_as_one_for_the_root() {
    let now = timer::now();
    for (line, logged) in [("GET / HTTP/1.1", ("GET", "/")), ("GET / HTTP/9.9", ("-", "-")), ("\0", ("-", "-"))] {
        let mut head = crate::http::Head::default();
        let _refused = crate::http::parse::request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes(), &mut head);
        let client = Rc::new(crate::request::client(([127, 0, 0, 1], 80).into(), &[]));
        let request = Request {
            id: crate::request::fields::RequestId::of(&head, &client, || 7),
            head: Rc::new(head),
            body: Rc::new(crate::request::body::Upload::empty(now)),
            client,
            entrance: None,
            asked: None,
            interim: None,
            upgrade: false,
        };
        let entry = RequestRecord::new(now).entry(&request);
        assert_eq!((entry.method.as_str(), entry.path.as_str()), logged, "{line:?}");
    }
}
