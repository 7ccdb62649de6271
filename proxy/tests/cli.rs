//! The commands, as they are typed: the real binary, its output and its exit codes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn outrigger(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(args).env_remove("NO_COLOR").env_remove("CONSUL_HTTP_ADDR").stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn ends_with(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stdout: {}\nstderr: {}", stdout(output), stderr(output));
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

const BAD: &str = "services:\n  orders: { tiemout: 5s, registry: nope }\nworkers: many\n";

const SHOP: &str = "services:
  web: { instances: ['127.0.0.1:1'] }
  orders: { instances: ['127.0.0.1:2'], timeout: 2s }
routes:
  - { host: shop, service: web }
  - { host: shop, path: /cart, service: orders, retries: { max: 0 } }
";

#[test]
fn check_tells_every_error_at_once_with_its_line() {
    let bad = file(BAD);
    let output = outrigger(&["check", path(&bad)]);
    ends_with(&output, 3);
    assert_eq!(stdout(&output), "");
    let told = stderr(&output);
    let name = path(&bad);
    assert!(
        told.contains(&format!("{name}:2:13: services.orders.tiemout: unknown key `tiemout`; did you mean `timeout`?")),
        "{told}"
    );
    assert!(told.contains("\n    orders: { tiemout: 5s, registry: nope }\n              ^\n"), "{told}");
    assert!(told.contains(&format!("{name}:2:36: services.orders.registry: found `nope`")), "{told}");
    assert!(told.contains(&format!("{name}:3:10: workers: found `many`")), "{told}");
    assert!(told.ends_with("outrigger: 3 errors\n"), "{told}");
    assert!(!told.contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn check_reads_standard_input_and_writes_json() {
    let mut child = command(&["check", "--json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(BAD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    ends_with(&output, 3);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["valid"], &report["file"]), (&Value::Bool(false), &Value::from("<stdin>")));
    assert_eq!(report["errors"].as_array().unwrap().len(), 3);
    assert_eq!(report["errors"][0]["path"], "services.orders.tiemout");
    assert_eq!((&report["errors"][0]["line"], &report["errors"][0]["column"]), (&Value::from(2), &Value::from(13)));
}

#[test]
fn check_of_a_file_that_is_not_there_is_invalid() {
    let output = outrigger(&["check", "/nonexistent.yaml"]);
    ends_with(&output, 3);
    assert!(stderr(&output).contains("/nonexistent.yaml: cannot be opened"), "{}", stderr(&output));
}

#[test]
fn every_example_is_good() {
    let mut seen = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let output = outrigger(&["check", path.to_str().unwrap()]);
            ends_with(&output, 0);
            assert!(stdout(&output).contains(": good ("), "{}", stdout(&output));
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen}");
}

#[test]
fn check_route_says_which_and_why() {
    let shop = file(SHOP);
    let output = outrigger(&["check", "--route", "GET http://shop:8080/cart/1?x=1", path(&shop)]);
    ends_with(&output, 0);
    let told = stdout(&output);
    assert!(told.contains("routes[1]  any method, shop, path /cart  -> orders  takes the request"), "{told}");
    assert!(told.contains("would take it, but comes later"), "{told}");
    assert!(told.ends_with("=> orders: routes[1] takes it\n"), "{told}");

    let answer = |asked: &str| {
        let output = outrigger(&["check", "--json", "--route", asked, path(&shop)]);
        ends_with(&output, 0);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (report["service"].as_str().map(str::to_owned), report["why"].as_str().unwrap().to_owned())
    };
    assert_eq!(answer("shop").0.as_deref(), Some("web"));
    assert_eq!(answer("POST http://web.local/x").0.as_deref(), Some("web"));
    assert_eq!(answer("GET http://nobody/").0, None);
    assert_eq!(answer("GET http://10.0.0.1/").0, None);
    let (service, why) = answer("GET http://shop/cart/%2e./admin");
    assert_eq!(service, None);
    assert!(why.contains("refused with 400"), "{why}");
    ends_with(&outrigger(&["check", "--route", "GET  ", path(&shop)]), 2);
}

#[test]
fn check_route_looks_at_headers_and_the_query_and_says_which_of_them_differs() {
    let config = file(
        "services: {cart: {instances: ['h:1']}, canary: {instances: ['h:1']}}
routes:
- {host: shop, path: /cart, service: cart}
- {host: shop, path: /cart, headers: {x-canary: \"1\"}, query: {x: {present: true}}, service: canary}
- {host: shop, path: {regex: '/v[0-9]+/cart'}, service: canary}
",
    );
    let told = |arguments: &[&str]| {
        let output = outrigger(&[&["check"], arguments, &[path(&config)]].concat());
        ends_with(&output, 0);
        stdout(&output)
    };
    let canary = told(&["--route", "GET http://shop/cart?x=1", "-H", "X-Canary: 1"]);
    assert!(
        canary.starts_with("GET shop/cart?x=1\n") && canary.ends_with("=> canary: routes[1] takes it\n"),
        "{canary}"
    );
    assert!(canary.contains("any method, shop, path /cart, header x-canary = 1, query x"), "{canary}");
    let header = told(&["--route", "GET http://shop/cart?x=1", "-H", "x-canary:2"]);
    assert!(
        header.contains("the header `x-canary` differs") && header.ends_with("=> cart: routes[0] takes it\n"),
        "{header}"
    );
    let query = told(&["--route", "GET http://shop/cart?y", "--header", "x-canary: 1"]);
    assert!(query.contains("the query's `x` differs"), "{query}");
    assert!(told(&["--route", "GET http://shop/v12/cart"]).ends_with("=> canary: routes[2] takes it\n"));
    ends_with(&outrigger(&["check", "-H", "x: 1", path(&config)]), 2);
    ends_with(&outrigger(&["check", "--route", "GET http://shop/", "-H", "nothing", path(&config)]), 2);
}

#[test]
fn check_explain_says_where_each_value_came_from() {
    let shop = file(SHOP);
    let output = outrigger(&["check", "--explain=orders", path(&shop)]);
    ends_with(&output, 0);
    let told = stdout(&output);
    assert!(told.starts_with("orders: 127.0.0.1:2 weight 1\n"), "{told}");
    let line = |key: &str| {
        let line = told.lines().find(|l| l.trim().starts_with(key)).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("timeout"), "timeout 2s services.orders, line 3");
    assert_eq!(line("connect_timeout"), "connect_timeout 250ms built in");
    assert!(told.contains("retries.max  0  routes[1], line 6"), "{told}");
    assert!(!told.contains("web"), "{told}");
    assert!(stdout(&outrigger(&["check", "--explain", path(&shop)])).contains("web: "));
    let unknown = outrigger(&["check", "--explain=nobody", path(&shop)]);
    ends_with(&unknown, 1);
    assert!(stderr(&unknown).contains("declared are: orders, web"), "{}", stderr(&unknown));
}

#[test]
fn schema_is_json_schema() {
    let output = outrigger(&["schema"]);
    ends_with(&output, 0);
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"));
    assert_eq!(schema["properties"]["ready_grace"]["default"], "10s");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = outrigger(&["completions", shell]);
        ends_with(&output, 0);
        assert!(stdout(&output).contains("check"), "{shell}");
    }
    ends_with(&outrigger(&["completions", "csh"]), 2);
}

fn help_with_examples(command: &[&str]) -> String {
    let output = outrigger(&[command, &["--help"]].concat());
    ends_with(&output, 0);
    let help = stdout(&output);
    let called = format!("outrigger {}", command.join(" "));
    let examples = help.split_once("Example").map_or("", |(_, examples)| examples);
    assert!(examples.contains(&called), "{command:?}: {help}");
    help
}

#[test]
fn help_has_examples_for_every_command_and_the_exit_codes() {
    let help = stdout(&outrigger(&["--help"]));
    assert!(help.contains("Exit codes:") && help.contains("3  invalid configuration"), "{help}");
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let commands: Vec<_> =
        commands.lines().filter_map(|l| l.split_whitespace().next()).filter(|c| *c != "help").collect();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        let help = help_with_examples(&[command]);
        let further = help.split_once("Commands:").map_or("", |(_, rest)| rest.split("Options:").next().unwrap());
        for further in further.lines().filter_map(|line| line.split_whitespace().next()).filter(|c| *c != "help") {
            help_with_examples(&[command, further]);
        }
    }
    assert_eq!(stdout(&outrigger(&["--version"])), format!("outrigger {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_a_bad_file_with_3() {
    for wrong in [&["nonsense"][..], &["lb"], &["check"], &["run", "--listen", "nowhere"], &["lb", "x"], &[]] {
        ends_with(&outrigger(wrong), 2);
    }
    let told = stderr(&outrigger(&["lb", "127.0.0.1:3001", "127.0.0.1:3002,wieght=3"]));
    assert!(told.contains("expected `,weight=N`"), "{told}");
    let told = stderr(&outrigger(&["run", "--listen", "localhost:80"]));
    assert!(told.contains("did you mean `127.0.0.1:80`?"), "{told}");
    let bad = file(BAD);
    let output = outrigger(&["run", "--config", path(&bad)]);
    ends_with(&output, 3);
    assert!(stderr(&output).contains("3 errors"), "{}", stderr(&output));
    let output = outrigger(&["lb", "h:1", "h:1"]);
    ends_with(&output, 3);
    assert!(stderr(&output).contains("found h:1 again"), "{}", stderr(&output));
    let output = outrigger(&["run", "--consul", "ftp://x"]);
    ends_with(&output, 3);
    assert!(stderr(&output).contains("registries.consul.address"), "{}", stderr(&output));
}

/// Answers one request with this, and gives the request back.
fn answer_once(answer: String) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, served)
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const SERVICES: &str = r#"{"generation":7,"services":[{"name":"orders","standing":"known","source":"consul at http://c:8500",
"age_ms":1234,"last_error":"timed out","new_key":1,"endpoints":[{"id":3,"instance":"dc1/node/orders-1","address":"10.0.0.1:80",
"weight":1,"health":"passing","in_flight":0,"connections":2,"attempts":10,"failures":4,"overtaken":3,"answers":9,
"p50_ms":2.05,"p99_ms":17.4,"score_ms":1.26,"state":"in","share":1.0,"since_ms":61000},
{"id":4,"instance":"i2","address":"10.0.0.2:80","weight":1,"health":"passing","check":"passing","in_flight":0,"connections":0,
"attempts":10,"failures":4,"score_ms":null,"state":"ejected","share":0.0,"why":"ejected (latency)",
"due":0.5,"got":0.021,"deviates":"it takes longer than others"}],
"breaker":"open","all_failing":true,
"left_out":[{"instance":"dc1/node/orders-2","reason":"critical"}],
"learned":[{"route":"routes[1]","method":"GET","samples":812,"p50_ms":1.24,"p99_ms":8.0,"per_try_ms":24.0,"per_try":"why",
"hedge_ms":null,"hedge":"off"}]},
{"name":"new","standing":"awaited","source":"consul","age_ms":null,"last_error":null,"endpoints":[],"left_out":[]}]}"#;

#[test]
fn services_shows_what_a_proxy_answers() {
    let (url, served) = answer_once(http("200 OK", SERVICES));
    let output = outrigger(&["services", "--admin", &url]);
    ends_with(&output, 0);
    let told = stdout(&output);
    assert!(told.starts_with("orders (known), consul at http://c:8500, confirmed 1 s ago\n"), "{told}");
    assert!(told.contains("last error: timed out"), "{told}");
    let first = told.lines().find(|line| line.contains("10.0.0.1:80")).unwrap();
    let words: Vec<&str> = first.split_whitespace().collect();
    let row = [
        "dc1/node/orders-1",
        "10.0.0.1:80",
        "1",
        "-",
        "passing",
        "-",
        "0",
        "2",
        "10",
        "4",
        "3",
        "2.0",
        "ms",
        "17.4",
        "ms",
        "1.3",
        "ms",
        "its",
        "share",
    ];
    assert_eq!(words, row, "{told}");
    assert!(told.contains("  1       2.1 %, not 50.0 %: it takes longer than others  passing "), "{told}");
    let ejected = told.lines().find(|line| line.contains("10.0.0.2:80")).unwrap();
    assert!(ejected.contains("  passing   passing  0 ") && ejected.ends_with("  none: ejected (latency)"), "{told}");
    assert!(told.contains("the circuit breaker is open: every request fails at once"), "{told}");
    assert!(told.contains("the checks of all instances fail"), "{told}");
    assert!(told.contains("left out: dc1/node/orders-2 (critical)"), "{told}");
    assert!(told.contains("  GET routes[1]  812    1.2 ms  8.0 ms  24.0 ms (why)   - (off)\n"), "{told}");
    assert!(told.contains("new (awaited), consul, never confirmed\n  no endpoints"), "{told}");
    assert!(served.join().unwrap().starts_with("GET /api/v1/services HTTP/1.1\r\n"));

    let (url, _served) = answer_once(http("200 OK", SERVICES));
    let output = outrigger(&["services", "--json", "--admin", &url]);
    ends_with(&output, 0);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["generation"], 7);
}

const ORDERS: &str = r#"{"name":"orders","standing":"known","source":"consul at http://c:8500","age_ms":1234,"last_error":null,
"breaker":"closed","endpoints":[
{"id":3,"instance":"dc1/node/orders-1","address":"10.123.123.121:8080","weight":3,"health":"passing","check":"passing",
"in_flight":2,"connections":4,"attempts":123456,"failures":0,"overtaken":12,"answers":900,"p50_ms":2.048,"p99_ms":17.4,
"score_ms":1.26,"state":"in","share":1.0,"why":null,"since_ms":61000},
{"id":4,"instance":"dc1/node/orders-2","address":"10.123.123.122:8080","weight":1,"health":"passing","in_flight":0,"connections":0,
"attempts":40,"failures":4,"overtaken":0,"p50_ms":null,"p99_ms":null,"score_ms":null,"state":"ejected","share":0.0,
"why":"ejected (failures in a row): tried again in 14.5 s","since_ms":3100}],"left_out":[],
"learned":[{"route":"routes[1]","method":"GET","samples":812,"p50_ms":1.24,"p99_ms":8.0,"per_try_ms":24.0,
"per_try":"3 times the p99, within floor and ceiling","hedge_ms":null,"hedge":"a worker needs 30 answers and has 12"}]}"#;

#[test]
fn services_of_one_name_shows_which_endpoint_fails_and_which_is_slow_in_80_columns() {
    let (url, served) = answer_once(http("200 OK", ORDERS));
    let output = outrigger(&["services", "orders", "--admin", &url]);
    ends_with(&output, 0);
    let expected = "\
orders (known), consul at http://c:8500, confirmed 1 s ago
  ENDPOINT             ATTEMPTS  FAILED  OVERTAKEN  P50     P99      SCORE
  10.123.123.121:8080  123456    0       12         2.0 ms  17.4 ms  1.3 ms
     in for 61 s, gets its share
     dc1/node/orders-1: weight 3, registry passing, check passing; 2 in flight,
      4 connections
  10.123.123.122:8080  40        4       0          -       -        -
     ejected for 3 s, gets none: ejected (failures in a row): tried again in
      14.5 s
     dc1/node/orders-2: weight 1, registry passing; 0 in flight, 0 connections
  ANSWERS TO     KNOWN  P50     P99     NEXT TRY  HEDGED
  GET routes[1]  812    1.2 ms  8.0 ms  24.0 ms   -
     next try: 3 times the p99, within floor and ceiling; hedged: a worker needs
      30 answers and has 12
";
    assert_eq!(stdout(&output), expected);
    assert!(stdout(&output).lines().all(|line| line.chars().count() <= 80));
    assert!(served.join().unwrap().starts_with("GET /api/v1/services/orders HTTP/1.1\r\n"));
}

#[test]
fn services_says_why_it_got_no_answer() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = outrigger(&["services", "--admin", &format!("http://{nobody}")]);
    ends_with(&output, 1);
    assert!(stderr(&output).contains("is the proxy running"), "{}", stderr(&output));
    for (answer, why) in [
        (http("404 Not Found", "no such page"), "answered 404 Not Found: no such page"),
        (http("200 OK", "<html>"), "answered something else"),
        ("nonsense\r\n\r\n".to_owned(), "broke off"),
        (String::new(), "broke off"),
    ] {
        let (url, _served) = answer_once(answer);
        let output = outrigger(&["services", "--admin", &url]);
        ends_with(&output, 1);
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    let output = outrigger(&["services", "--admin", "https://x"]);
    ends_with(&output, 1);
    assert!(stderr(&output).contains("expected a URL like"), "{}", stderr(&output));
}

const AVAILABILITY: &str = r#"{"window":"1h","new_key":1,"services":[
{"name":"orders","declared":true,"seconds":3600,"requests":1000,"before":0.99,"after":0.9999999,"success":998,
"failure":1,"attempts":1012,"first":{"good":989,"failed":10,"overtaken":1},"carried":2,"started":1010,"first_good":989,
"rescued":{"retry":3,"other_endpoint":0,"hedge":4},"unknown":1,"degraded":1,"lost":{"timeout":1},"refused":{"breaker_open":1},
"abandoned":4,"client_errors":5,"in_flight":3},
{"name":"idle","declared":false,"seconds":12,"requests":0,"before":null,"after":null,"success":0,"failure":0,
"attempts":0,"first":{},"carried":0,"started":0,"first_good":0,"rescued":{},"unknown":0,"degraded":0,"lost":{},"refused":{},
"abandoned":0,"client_errors":0,"in_flight":0}],
"product":{"over":"declared","services":1,"before":0.99,"after":0.9999999}}"#;

#[test]
fn availability_shows_what_a_proxy_answers() {
    let (url, served) = answer_once(http("200 OK", AVAILABILITY));
    let output = outrigger(&["availability", "--window", "1h", "--admin", &url]);
    ends_with(&output, 0);
    let expected = "\
The last 1h (3600 s of it so far)

SERVICE                        REQUESTS  BEFORE     AFTER      ATTEMPTS  RESCUED BY        LOST TO
orders                         1000      99.0000 %  99.9999 %  1.012     hedge 4, retry 3  timeout 1
idle *                         0         -          -          -         -                 -
product of 1 declared service            99.0000 %  99.9999 %

SERVICE  STARTED  FIRST GOOD  RESCUED  UNKNOWN  DEGRADED  LOST  REFUSED  CLIENT'S    IN FLIGHT
orders   1010+2   989         7        1        1         1     1        9 (4 left)  3
idle     0        0           0        0        0         0     0        0           0
orders refused by: breaker open 1
";
    assert_eq!(stdout(&output), expected);
    assert!(served.join().unwrap().starts_with("GET /api/v1/availability?window=1h HTTP/1.1\r\n"));

    let (url, _served) = answer_once(http("200 OK", AVAILABILITY));
    let output = outrigger(&["availability", "--json", "--admin", &url]);
    ends_with(&output, 0);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["product"]["services"], 1);
    ends_with(&outrigger(&["availability", "--window", "2h"]), 2);
}

const RECORD: &str = r#"{"id":"a/1","time_ms":1700000000123,"asked":true,"method":"GET","host":"orders","path":"/","client":null,
"service":"orders","route":null,"policy":null,"deadline":null,"new_key":1,
"events":[{"at_ms":0.5,"what":"budget","tokens":0.0,"granted":false,"for_a":"retry"},{"at_ms":0.5,"what":"no_more","why":"budget_empty"}],
"attempts":[{"endpoint":"10.0.0.1:80","start":"first","started_ms":0.1,"connected_ms":0.2,"ended_ms":0.5,"ending":{"failed":"upstream_closed"}}],
"omitted":0,"returned":{"at_ms":0.6,"status":502,"verdict":"failure","reason":"upstream_closed","rescued_by":null}}"#;

#[test]
fn explain_tells_the_life_of_a_request() {
    let (url, served) = answer_once(http("200 OK", RECORD));
    let output = outrigger(&["explain", "a/1", "--admin", &url]);
    ends_with(&output, 0);
    let told = stdout(&output);
    assert!(told.contains("to orders by its name: 502, failure (upstream_closed) after 0.6 ms\n"), "{told}");
    let budget = told.find("budget: 0.0 tokens, refused (retry)").unwrap();
    assert!(told.find("#1 failed: upstream_closed").unwrap() < budget, "{told}");
    assert!(told.contains("0.5 ms  no further attempt: the service's budget is empty\n"), "{told}");
    assert!(served.join().unwrap().starts_with("GET /api/v1/explain/a%2F1 HTTP/1.1\r\n"));

    let (url, _served) = answer_once(http("200 OK", RECORD));
    let output = outrigger(&["explain", "a/1", "--json", "--admin", &url]);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["new_key"], 1);
}

#[test]
fn explain_lists_what_can_be_explained() {
    let list = r#"{"requests":[{"id":"x\u001b[2J","time_ms":1700000000123,"kept":"failed","method":"POST","service":"orders",
"status":504,"verdict":"failure","reason":"timeout","attempts":2,"duration_ms":1001.5,"new_key":1}]}"#;
    let (url, _served) = answer_once(http("200 OK", list));
    let output = outrigger(&["explain", "--admin", &url]);
    ends_with(&output, 0);
    let told = stdout(&output);
    let line = "2023-11-14T22:13:20.123Z  x?[2J  orders   POST    504     timeout  2         1001.5 ms  it failed";
    assert!(told.contains(line), "{told}");

    let (url, _served) = answer_once(http("404 Not Found", r#"{"error":"no record of this request"}"#));
    let output = outrigger(&["explain", "nobody", "--admin", &url]);
    ends_with(&output, 1);
    assert!(stderr(&output).contains("answered 404 Not Found: no record of this request\n"), "{}", stderr(&output));
}
